import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/kernel/clock.ts'
import { GatewayError, type ErrorCode } from '../../src/kernel/errors.ts'
import { createLog } from '../../src/kernel/log.ts'
import { parseDecimal, type CurrencyCode } from '../../src/kernel/money.ts'
import type { OutboundHttp } from '../../src/kernel/outbound-http.ts'
import { createMetrics } from '../../src/kernel/metrics.ts'
import { createWorld } from '../../src/kernel/world.ts'
import { EXACT_DISCLOSURES_PER_WINDOW } from '../../src/modules/accounts/disclosure.ts'
import { disclosureStore } from '../../src/modules/accounts/disclosure-store.ts'
import type { Snapshot } from '../../src/modules/accounts/model.ts'
import { createSnapshots } from '../../src/modules/accounts/snapshots.ts'
import { snapshotStore, type Claim } from '../../src/modules/accounts/store.ts'
import type { AccountAccess, SharedAccount } from '../../src/modules/consents/index.ts'
import type { BalanceFetch } from '../../src/modules/accounts/balance-fetch.ts'
import type { Signals } from '../../src/storage/signals.ts'
import { openDatabase, type Database } from '../../src/storage/database.ts'
import { createSeal } from '../../src/storage/seal.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { patientTimers } from '../support/patient-time.ts'

const seal = createSeal([{ id: 'test', bytes: new Uint8Array(32) }])
const now = new Date('2027-03-01T12:00:00Z')
const at = (seconds: number): Date => new Date(now.getTime() + seconds * 1_000)

let gateway: TestGateway
let processes: Database[]
let stores: ReturnType<typeof snapshotStore>[]
let bankAccountKey: string

beforeAll(async () => {
  // Without a worker, whose jobs delete snapshots and claims as well.
  gateway = await startGateway({ env: { GUICHET_ROLE: 'gateway' } })
  await gateway.customer('ada', ['northbank'])
  const [row] = await gateway.database.query<{ id: string }>("select bank_id || '/' || ref_digest as id from account")
  bankAccountKey = row!.id
  processes = Array.from({ length: 8 }, () => openDatabase(gateway.database.url, 2))
  stores = processes.map((database) => snapshotStore(database, seal))
})
afterAll(async () => {
  await Promise.all(processes.map((database) => database.close()))
  await gateway.close()
})

const snapshotWrite = (amount: string, fetchedAt: Date, disclosedType: Snapshot['disclosedType'] = null) => ({
  bankAccountKey,
  snapshot: {
    balances: [
      {
        type: 'INTERIM_AVAILABLE' as const,
        amount: parseDecimal(amount)!,
        currency: 'GBP' as CurrencyCode,
        creditLineIncluded: null,
        creditLimit: null,
      },
    ],
    invalidTypes: [],
    bands: {},
    fetchedAt,
    disclosedType,
  },
})
const claim = async (store = 0, freshAfter = at(0), exactType: Snapshot['disclosedType'] = null) => {
  const requests = [{ bankAccountKey, disclosureKey: 'bank/number', freshAfter, exactType, leaseMs: 60_000 }]
  const [found] = await stores[store]!.claim(requests, now)
  return { ...found!, isClaimed: found!.claimedUntil !== null }
}
const amountOf = ({ snapshot }: Claim): string | undefined => snapshot?.balances[0]?.amount
const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
const deleteAll = () => gateway.database.query('truncate snapshot, disclosure')

describe('the saved snapshot of an account that several processes use', () => {
  test('one of many processes gets the claim, and saving a snapshot ends it', async () => {
    await deleteAll()
    const claims = await Promise.all(stores.map((_store, index) => claim(index)))
    expect(claims.filter(({ isClaimed }) => isClaimed)).toHaveLength(1)
    await stores[0]!.save([snapshotWrite('1.00', at(1))])
    expect(await claim(1)).toMatchObject({ isClaimed: false })
    expect((await claim(2, at(2))).isClaimed).toBe(true)
  })

  test('a snapshot that is saved late replaces no newer one and ends no other claim', async () => {
    await deleteAll()
    await claim()
    await stores[0]!.save([snapshotWrite('2.00', at(2))])
    expect((await claim(1, at(3))).isClaimed).toBe(true)
    await stores[2]!.save([snapshotWrite('1.00', at(1))])
    expect(amountOf(await claim(2, at(3)))).toBe('2.00')
    // Nor does the same snapshot, saved again with what was disclosed of it.
    await stores[2]!.save([snapshotWrite('2.00', at(2), 'INTERIM_AVAILABLE')])
    const after = await claim(2, at(3))
    expect(after).toMatchObject({ isClaimed: false, snapshot: { disclosedType: 'INTERIM_AVAILABLE' } })
  })

  test('concurrent processes reserve no more disclosures than the limit, and claim nothing without a reservation', async () => {
    await deleteAll()
    const claims = await Promise.all(stores.map((_store, index) => claim(index, at(0), 'INTERIM_AVAILABLE')))
    expect(claims.filter(({ isDisclosureReserved }) => isDisclosureReserved)).toHaveLength(EXACT_DISCLOSURES_PER_WINDOW)
    expect(claims.filter(({ isClaimed }) => isClaimed)).toHaveLength(1)
    expect(claims.some(({ isClaimed, isDisclosureReserved }) => isClaimed && !isDisclosureReserved)).toBe(false)
  })

  test('each claim of one statement has the lease of its own bank', async () => {
    await deleteAll()
    const requests = [5_000, 13_600].map((leaseMs) => ({
      bankAccountKey: `bank/${leaseMs}`,
      disclosureKey: 'bank/number',
      freshAfter: at(0),
      exactType: null,
      leaseMs,
    }))
    const [short, long] = await stores[0]!.claim(requests, now)
    expect(long!.claimedUntil!.getTime() - short!.claimedUntil!.getTime()).toBe(8_600)
  })

  test('a process releases its own claim only, and none that replaced it', async () => {
    await deleteAll()
    const { claimedUntil } = await claim()
    await gateway.database.query("update snapshot set claimed_until = now() - interval '1 second'")
    const next = await claim(1)
    await stores[0]!.releaseClaims([{ bankAccountKey, claimedUntil: claimedUntil! }])
    expect((await claim(2)).isClaimed).toBe(false)
    await stores[1]!.releaseClaims([{ bankAccountKey, claimedUntil: next.claimedUntil! }])
    expect((await claim(2)).isClaimed).toBe(true)
  })

  test('exact values that were disclosed from the saved snapshot are not reserved again, and another type is refused', async () => {
    await deleteAll()
    await claim(0, at(0), 'INTERIM_AVAILABLE')
    await stores[0]!.save([snapshotWrite('1.00', at(1), 'INTERIM_AVAILABLE')])
    expect(await claim(1, at(0), 'INTERIM_AVAILABLE')).toMatchObject({ isDisclosureReserved: false, isClaimed: false })
    expect(await claim(1, at(0), 'INTERIM_BOOKED')).toMatchObject({ isDisclosureReserved: false, isClaimed: false })
    const rows = await gateway.database.query('select exact_at, exact_type from disclosure')
    expect(rows).toEqual([{ exact_at: [now], exact_type: 'INTERIM_AVAILABLE' }])
  })

  test('a reservation is released once, after which another type may be disclosed', async () => {
    await deleteAll()
    const { claimedUntil } = await claim(0, at(0), 'INTERIM_AVAILABLE')
    const disclosures = disclosureStore(processes[0]!)
    const unused = [{ disclosureKey: 'bank/number', at: now }]
    await Promise.all([disclosures.releaseExact(unused), disclosures.releaseExact(unused)])
    const disclosed = await disclosures.findHistories(['bank/number'])
    expect(disclosed.get('bank/number')).toMatchObject({ exactAt: [], thresholdAt: [] })
    await stores[0]!.releaseClaims([{ bankAccountKey, claimedUntil: claimedUntil! }])
    expect(await claim(1, at(0), 'INTERIM_BOOKED')).toMatchObject({ isDisclosureReserved: true, isClaimed: true })
  })

  test('a snapshot of an account that no active consent covers is not saved', async () => {
    await deleteAll()
    await claim()
    await gateway.database.query("update consent set status = 'REVOKED'")
    await stores[0]!.save([snapshotWrite('1.00', at(1))])
    expect((await claim(1, at(0))).snapshot).toBeUndefined()
    await gateway.database.query("update consent set status = 'ACTIVE'")
  })

  test('a claim without a snapshot is deleted an hour after it ended, and a snapshot is not', async () => {
    await deleteAll()
    await claim()
    expect(await stores[0]!.deleteStaleClaims()).toBe(0)
    const endClaim = "update snapshot set claimed_until = now() - interval '61 minutes'"
    await gateway.database.query(endClaim)
    expect(await stores[0]!.deleteStaleClaims()).toBe(1)
    await claim()
    await stores[0]!.save([snapshotWrite('1.00', at(1))])
    await gateway.database.query(endClaim)
    expect(await stores[0]!.deleteStaleClaims()).toBe(0)
  })
})

describe('reads of one moment', () => {
  /** Reads of one account, with a bank that returns what `callBank` does. */
  async function createReads(callBank: () => Promise<readonly (Snapshot | GatewayError)[]>) {
    await deleteAll()
    const [row] = await gateway.database.query<{ customer_id: string }>('select customer_id from account')
    const account = {
      bankAccountKey: bankAccountKey,
      disclosureKey: bankAccountKey,
      id: 'account',
      customerId: row!.customer_id,
      currencies: ['GBP'],
    } as unknown as SharedAccount
    const log = createLog('error', systemClock.now, () => undefined)
    const snapshots = createSnapshots(
      {
        database: processes[0]!,
        world: { ...createWorld(log, {} as OutboundHttp), timers: patientTimers },
        seal,
        metrics: createMetrics(),
        banks: { readDeadlineMs: () => 1_400 },
        consents: { callBank: callBank as () => Promise<never>, addCurrencies: () => Promise.resolve() },
        signals: { coherence: () => 1, onSignal: () => undefined } as unknown as Signals,
      },
      disclosureStore(processes[0]!),
    )
    const notified: string[] = []
    return {
      notified,
      waitUntilIdle: () => snapshots.waitUntilIdle(),
      read: (name: string, balanceFetch: Partial<BalanceFetch> = {}): Promise<unknown> =>
        snapshots.read(
          {
            access: { grant: { connectionId: 'one' } } as unknown as AccountAccess,
            maxAgeMs: 60_000,
            customer: null,
            exactType: null,
            ledgerWritten: undefined,
            ...balanceFetch,
          },
          account,
          ({ snapshot, freshness }) => {
            notified.push(name)
            return { value: `${snapshot.balances[0]!.amount} ${freshness}`, snapshot }
          },
          () => undefined,
        ),
    }
  }

  test('no bank is called and nothing is disclosed before the read is in the ledger', async () => {
    let calls = 0
    const { read, notified, waitUntilIdle } = await createReads(() => {
      calls++
      return Promise.resolve([snapshotWrite('1.00', new Date()).snapshot])
    })
    const [own, others] = [Promise.withResolvers(), Promise.withResolvers()]
    const first = read('first', { ledgerWritten: own.promise })
    await wait(100)
    expect([calls, notified]).toEqual([0, []])
    own.resolve(true)
    expect(await first).toBe('1.00 LIVE')

    await waitUntilIdle()
    await deleteAll()
    const failed = Promise.reject(new GatewayError('INTERNAL'))
    failed.catch(() => undefined)
    const [recorded, waiting, refused] = [
      read('recorded', { ledgerWritten: Promise.resolve() }),
      read('waiting', { ledgerWritten: others.promise }),
      read('refused', { ledgerWritten: failed }),
    ]
    refused.catch(() => undefined)
    expect(await recorded).toBe('1.00 LIVE')
    await wait(100)
    expect(notified).toEqual(['first', 'recorded'])
    others.resolve(true)
    expect(await waiting).toBe('1.00 CACHED')
    await expect(refused).rejects.toMatchObject({ code: 'INTERNAL' })
    expect([calls, notified]).toEqual([2, ['first', 'recorded', 'waiting']])
    await waitUntilIdle()
  })

  describe('an error of the bank', () => {
    const customer = { ip: '192.0.2.1', userAgent: null }
    const newSnapshot = (): Snapshot => snapshotWrite('2.00', new Date()).snapshot
    /** A fetch that will fail with `code`, after which the bank returns balances. What is saved is two minutes old. */
    async function failing(code: ErrorCode) {
      const late = Promise.withResolvers<GatewayError>()
      let calls = 0
      const { read, waitUntilIdle } = await createReads(async () => {
        calls++
        return [
          calls === 1 ? snapshotWrite('1.00', new Date()).snapshot : calls === 2 ? await late.promise : newSnapshot(),
        ]
      })
      await read('saved')
      await waitUntilIdle()
      await gateway.database.query("update snapshot set fetched_at = now() - interval '2 minutes'")
      const first = read('first')
      first.catch(() => undefined)
      await expect.poll(() => calls).toBe(2)
      return {
        read,
        waitUntilIdle,
        calls: () => calls - 2,
        async fail(): Promise<void> {
          // Lets the reads so far join the fetch.
          await wait(20)
          late.resolve(new GatewayError(code))
          await expect(first).rejects.toMatchObject({ code })
        },
      }
    }

    test('a temporary error is shared by all reads that waited for the fetch', async () => {
      const { read, fail, calls, waitUntilIdle } = await failing('BANK_TIMEOUT')
      const waiting = [read('one'), read('two'), read('three', { ledgerWritten: Promise.resolve() })]
      const failed = Promise.reject(new GatewayError('INTERNAL'))
      failed.catch(() => undefined)
      const unrecorded = read('four', { ledgerWritten: failed })
      void Promise.allSettled([...waiting, unrecorded])
      await fail()
      for (const one of waiting) await expect(one).rejects.toMatchObject({ code: 'BANK_TIMEOUT' })
      await expect(unrecorded).rejects.toMatchObject({ code: 'INTERNAL' })
      expect(calls()).toBe(0)
      await waitUntilIdle()
    })

    test('an error is not shared with a read that begins after it', async () => {
      const { read, fail, calls, waitUntilIdle } = await failing('BANK_TIMEOUT')
      const recorded = Promise.withResolvers()
      const waiting = read('waiting', { ledgerWritten: recorded.promise })
      waiting.catch(() => undefined)
      await fail()
      const later = read('later')
      await wait(20)
      recorded.resolve(true)
      await expect(waiting).rejects.toMatchObject({ code: 'BANK_TIMEOUT' })
      expect(await later).toBe('2.00 LIVE')
      expect(calls()).toBe(1)
      await waitUntilIdle()
    })

    test.each<[string, ErrorCode, Partial<BalanceFetch>, string, number]>([
      ['for which the saved snapshot is young enough', 'BANK_TIMEOUT', { maxAgeMs: 600_000 }, '1.00 CACHED', 0],
      ['whose customer is present', 'BANK_QUOTA_EXHAUSTED', { customer }, '2.00 LIVE', 1],
      [
        'at another connection',
        'RECONNECT_REQUIRED',
        { access: { grant: { connectionId: 'two' } } as unknown as AccountAccess },
        '2.00 LIVE',
        1,
      ],
    ])('an error is not shared with a read %s', async (_which, code, balanceFetch, result, callCount) => {
      const { read, fail, calls, waitUntilIdle } = await failing(code)
      const other = read('other', balanceFetch)
      await fail()
      expect(await other).toBe(result)
      expect(calls()).toBe(callCount)
      await waitUntilIdle()
    })
  })
})
