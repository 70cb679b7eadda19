import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { parseDecimal, type CurrencyCode } from '../../src/kernel/money.ts'
import { EXACT_DISCLOSURES_PER_WINDOW, THRESHOLD_CHECKS_PER_WINDOW } from '../../src/modules/accounts/disclosure.ts'
import { disclosureStore } from '../../src/modules/accounts/disclosure-store.ts'
import { snapshotStore, type Claim } from '../../src/modules/accounts/store.ts'
import { openDatabase, type Database } from '../../src/storage/database.ts'
import { createSeal } from '../../src/storage/seal.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

const seal = createSeal([{ id: 'test', bytes: new Uint8Array(32) }])
const KEY = 'bank/number'
const midnight = new Date('2027-03-02T00:00:00Z')
const at = (minutes: number): Date => new Date(midnight.getTime() + minutes * 60_000)
const DAY = 24 * 60
type Kind = 'INTERIM_BOOKED' | 'INTERIM_AVAILABLE'

let database: TestDatabase
let processes: Database[]
beforeAll(async () => {
  database = await createTestDatabase()
  processes = Array.from({ length: 8 }, () => openDatabase(database.url, 2))
})
afterAll(async () => {
  await Promise.all(processes.map((one) => one.close()))
  await database.drop()
})
beforeEach(() => database.query('truncate snapshot, disclosure'))

/** Claims an exact disclosure of the account in one process, under one of the IDs that the bank gives it. */
async function claim(process: number, now: Date, exactType: Kind, id = 'id'): Promise<Claim> {
  const wanted = { bankAccountKey: `bank/${id}`, disclosureKey: KEY, freshAfter: now, exactType, leaseMs: 60_000 }
  return (await snapshotStore(processes[process]!, seal).claim([wanted], now))[0]!
}
const disclosed = async () => (await disclosureStore(processes[0]!).findHistories([KEY])).get(KEY)!

describe('the limits of one account across several processes', () => {
  test('at the end of a window, concurrent requests for two balance types disclose only one of them', async () => {
    for (let round = 0; round < 20; round++) {
      await database.query('truncate snapshot, disclosure')
      await claim(0, at(-DAY), 'INTERIM_BOOKED')
      const claims = await Promise.all(
        processes.map(async (_one, index) => {
          const kind: Kind = index % 2 === 0 ? 'INTERIM_BOOKED' : 'INTERIM_AVAILABLE'
          // Clocks differ by some milliseconds, so the window has ended for some processes only.
          const now = new Date(midnight.getTime() + (index % 3) - 1)
          return { kind, isDisclosureReserved: (await claim(index, now, kind, `id-${index}`)).isDisclosureReserved }
        }),
      )
      const kinds = new Set(claims.filter(({ isDisclosureReserved }) => isDisclosureReserved).map(({ kind }) => kind))
      expect(kinds.size).toBe(1)
    }
  })

  test('an account with several IDs has one limit, within one statement and across several', async () => {
    const store = snapshotStore(processes[0]!, seal)
    const wanted = Array.from({ length: 6 }, (_, index) => ({
      bankAccountKey: `bank/id-${index}`,
      disclosureKey: KEY,
      freshAfter: at(0),
      exactType: 'INTERIM_BOOKED' as const,
      leaseMs: 60_000,
    }))
    const claims = await store.claim(wanted, at(0))
    expect(claims.filter(({ isDisclosureReserved }) => isDisclosureReserved)).toHaveLength(EXACT_DISCLOSURES_PER_WINDOW)
    expect(
      claims.every(({ claimedUntil, isDisclosureReserved }) => (claimedUntil !== null) === isDisclosureReserved),
    ).toBe(true)
    await database.query('truncate snapshot, disclosure')
    const many = await Promise.all(processes.map((_one, index) => claim(index, at(0), 'INTERIM_BOOKED', `id-${index}`)))
    expect(many.filter(({ isDisclosureReserved }) => isDisclosureReserved)).toHaveLength(EXACT_DISCLOSURES_PER_WINDOW)
  })

  test('a snapshot never discloses exact balances of a second type', async () => {
    const store = snapshotStore(processes[0]!, seal)
    await claim(0, at(0), 'INTERIM_BOOKED')
    const balance = { amount: parseDecimal('1.00')!, currency: 'EUR' as CurrencyCode, creditLineIncluded: null }
    await database.query('update snapshot set fetched_at = $1, disclosed_type = $2, sealed = $3', [
      at(1),
      'INTERIM_BOOKED',
      await seal.seal('snapshot:bank/id', {
        balances: [{ ...balance, type: 'INTERIM_BOOKED', creditLimit: null }],
        invalidTypes: [],
        bands: {},
      }),
    ])
    // Even if the row of its limit is gone.
    await database.query('truncate disclosure')
    const wanted = { bankAccountKey: 'bank/id', disclosureKey: KEY, freshAfter: at(0), leaseMs: 60_000 }
    const [other] = await store.claim([{ ...wanted, exactType: 'INTERIM_AVAILABLE' }], at(2))
    expect(other).toMatchObject({ isDisclosureReserved: false, claimedUntil: null })
  })

  test('setting the clock back resets no limit', async () => {
    for (let taken = 0; taken < EXACT_DISCLOSURES_PER_WINDOW; taken++) await claim(0, at(taken), 'INTERIM_BOOKED')
    const earlier = at(-3 * DAY)
    expect(await claim(1, earlier, 'INTERIM_BOOKED')).toMatchObject({ isDisclosureReserved: false })
    expect(await claim(1, earlier, 'INTERIM_AVAILABLE')).toMatchObject({ isDisclosureReserved: false })
    // Nor does a time in the far future count for longer than a window: the cleanup sets it to the present.
    const disclosures = disclosureStore(processes[0]!)
    await disclosures.deleteExpired(earlier)
    expect(await claim(1, at(-2 * DAY - 1), 'INTERIM_AVAILABLE')).toMatchObject({ isDisclosureReserved: false })
    expect(await claim(1, at(-2 * DAY), 'INTERIM_AVAILABLE')).toMatchObject({ isDisclosureReserved: true })
  })

  test('the cleanup deletes only disclosures that no longer count', async () => {
    await claim(0, at(-5), 'INTERIM_BOOKED')
    const disclosures = disclosureStore(processes[0]!)
    expect(await disclosures.deleteExpired(at(DAY - 6))).toBe(0)
    expect(await disclosures.deleteExpired(at(DAY - 5))).toBe(1)
  })

  test('a process whose clock is behind does not cause the cleanup to delete disclosures that count', async () => {
    const disclosures = disclosureStore(processes[0]!)
    await claim(0, at(0), 'INTERIM_BOOKED')
    await claim(1, at(-10), 'INTERIM_BOOKED')
    expect(await disclosures.deleteExpired(at(DAY - 5))).toBe(0)
    await database.query('truncate snapshot, disclosure')
    await disclosures.reserveThreshold(KEY, at(0))
    await disclosureStore(processes[1]!).reserveThreshold(KEY, at(-10))
    expect(await disclosures.deleteExpired(at(DAY - 5))).toBe(0)
  })

  test('a release removes its own reservation and no other', async () => {
    for (const minutes of [0, 1, 1, 2]) await claim(0, at(minutes), 'INTERIM_BOOKED')
    await disclosureStore(processes[0]!).releaseExact([
      { disclosureKey: KEY, at: at(1) },
      { disclosureKey: KEY, at: at(7) },
    ])
    expect((await disclosed()).exactAt).toEqual([at(0), at(1), at(2)])
    await disclosureStore(processes[0]!).releaseExact([
      { disclosureKey: KEY, at: at(1) },
      { disclosureKey: KEY, at: at(0) },
    ])
    expect((await disclosed()).exactAt).toEqual([at(2)])
  })

  test('many concurrent threshold comparisons have six outcomes, also across midnight', async () => {
    const taken = await Promise.all(
      processes.flatMap((one, index) =>
        [at(-1), at(1)].map((now) => disclosureStore(one).reserveThreshold(KEY, index % 2 ? now : at(0))),
      ),
    )
    expect(taken.filter(Boolean)).toHaveLength(THRESHOLD_CHECKS_PER_WINDOW)
    await disclosureStore(processes[0]!).releaseThreshold(KEY, (await disclosed()).thresholdAt[0]!)
    expect(await disclosureStore(processes[1]!).reserveThreshold(KEY, at(2))).toBe(true)
    expect(await disclosureStore(processes[1]!).reserveThreshold(KEY, at(2))).toBe(false)
  })
})
