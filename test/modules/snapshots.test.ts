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

const seal = createSeal([{ id: 'test', bytes: new Uint8Array(32) }])
const now = new Date('2027-03-01T12:00:00Z')
const at = (seconds: number): Date => new Date(now.getTime() + seconds * 1_000)

let gateway: TestGateway
let processes: Database[]
let stores: ReturnType<typeof snapshotStore>[]
let bankAccountKey: string

beforeAll(async () => {
  gateway = await startGateway()
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

const seen = (amount: string, fetchedAt: Date, disclosedType: Snapshot['disclosedType'] = null) => ({
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
const claim = async (store = 0, freshAfter = at(0), exactType: Snapshot['disclosedType'] = null): Promise<Claim> => {
  const wanted = [{ bankAccountKey, disclosureKey: 'bank/number', freshAfter, exactType }]
  return (await stores[store]!.claim(wanted, now, 60_000))[0]!
}
const amountOf = ({ snapshot }: Claim): string | undefined => snapshot?.balances[0]?.amount
const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
const forget = () => gateway.database.query('truncate snapshot, disclosure')

describe('what several processes keep of one account', () => {
  test('a claim goes to one of many at once, and is free again once something is kept', async () => {
    await forget()
    const claims = await Promise.all(stores.map((_store, index) => claim(index)))
    expect(claims.filter(({ isClaimed }) => isClaimed)).toHaveLength(1)
    await stores[0]!.save([seen('1.00', at(1))])
    expect(await claim(1)).toMatchObject({ isClaimed: false })
    expect((await claim(2, at(2))).isClaimed).toBe(true)
  })

  test('what was fetched earlier and comes later does not take the place of what is newer, nor free its claim', async () => {
    await forget()
    await claim()
    await stores[0]!.save([seen('2.00', at(2))])
    expect((await claim(1, at(3))).isClaimed).toBe(true)
    await stores[2]!.save([seen('1.00', at(1))])
    expect(amountOf(await claim(2, at(3)))).toBe('2.00')
    // Nor does the same, with a range that was drawn from it meanwhile.
    await stores[2]!.save([seen('2.00', at(2), 'INTERIM_AVAILABLE')])
    const after = await claim(2, at(3))
    expect(after).toMatchObject({ isClaimed: false, snapshot: { disclosedType: 'INTERIM_AVAILABLE' } })
  })

  test('of many amounts at once as many are taken as the limit allows, and whoever gets none claims nothing', async () => {
    await forget()
    const claims = await Promise.all(stores.map((_store, index) => claim(index, at(0), 'INTERIM_AVAILABLE')))
    expect(claims.filter(({ isCharged }) => isCharged)).toHaveLength(EXACT_DISCLOSURES_PER_WINDOW)
    expect(claims.filter(({ isClaimed }) => isClaimed)).toHaveLength(1)
    expect(claims.some(({ isClaimed, isCharged }) => isClaimed && !isCharged)).toBe(false)
  })

  test('an amount that was told from what is kept costs nothing to tell again, and another kind does', async () => {
    await forget()
    await claim(0, at(0), 'INTERIM_AVAILABLE')
    await stores[0]!.save([seen('1.00', at(1), 'INTERIM_AVAILABLE')])
    expect(await claim(1, at(0), 'INTERIM_AVAILABLE')).toMatchObject({ isCharged: false, isClaimed: false })
    expect(await claim(1, at(0), 'INTERIM_BOOKED')).toMatchObject({ isCharged: false, isClaimed: false })
    const rows = await gateway.database.query('select exact_at, exact_type from disclosure')
    expect(rows).toEqual([{ exact_at: [now], exact_type: 'INTERIM_AVAILABLE' }])
  })

  test('an amount that was not disclosed is given back once, and frees the kind', async () => {
    await forget()
    await claim(0, at(0), 'INTERIM_AVAILABLE')
    const disclosures = disclosureStore(processes[0]!)
    const unused = [{ disclosureKey: 'bank/number', at: now }]
    await Promise.all([disclosures.refundExact(unused), disclosures.refundExact(unused)])
    const disclosed = await disclosures.findHistories(['bank/number'])
    expect(disclosed.get('bank/number')).toMatchObject({ exactAt: [], thresholdAt: [] })
    await stores[0]!.release([bankAccountKey])
    expect(await claim(1, at(0), 'INTERIM_BOOKED')).toMatchObject({ isCharged: true, isClaimed: true })
  })

  test('what nobody shares any more is not kept, however it comes', async () => {
    await forget()
    await claim()
    await gateway.database.query("update consent set status = 'REVOKED'")
    await stores[0]!.save([seen('1.00', at(1))])
    expect((await claim(1, at(0))).snapshot).toBeUndefined()
    await gateway.database.query("update consent set status = 'ACTIVE'")
  })

  test('claims of which nothing came are forgotten, and what is kept is not', async () => {
    await forget()
    await claim()
    expect(await stores[0]!.deleteStaleClaims()).toBe(0)
    const over = "update snapshot set claimed_until = now() - interval '61 minutes'"
    await gateway.database.query(over)
    expect(await stores[0]!.deleteStaleClaims()).toBe(1)
    await claim()
    await stores[0]!.save([seen('1.00', at(1))])
    await gateway.database.query(over)
    expect(await stores[0]!.deleteStaleClaims()).toBe(0)
  })
})

describe('looks of one moment', () => {
  /** Snapshots of one account, with a bank that does as it is told. */
  async function looks(atBank: () => Promise<readonly (Snapshot | GatewayError)[]>) {
    await forget()
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
        world: createWorld(log, {} as OutboundHttp),
        seal,
        metrics: createMetrics(),
        consents: { callBank: atBank as () => Promise<never>, addCurrencies: () => Promise.resolve() },
        signals: { coherence: () => 1, onSignal: () => undefined } as unknown as Signals,
      },
      disclosureStore(processes[0]!),
    )
    const told: string[] = []
    return {
      told,
      settled: () => snapshots.waitUntilIdle(),
      use: (name: string, look: Partial<BalanceFetch> = {}): Promise<unknown> =>
        snapshots.read(
          {
            access: { grant: { connectionId: 'one' } } as unknown as AccountAccess,
            maxAgeMs: 60_000,
            customer: null,
            exactType: null,
            ledgerWritten: undefined,
            ...look,
          },
          account,
          ({ snapshot, freshness }) => {
            told.push(name)
            return { value: `${snapshot.balances[0]!.amount} ${freshness}`, snapshot }
          },
          () => undefined,
        ),
    }
  }

  test('each is told of nothing, and has no bank asked, before the ledger holds that it asked', async () => {
    let calls = 0
    const { use, told, settled } = await looks(() => {
      calls++
      return Promise.resolve([seen('1.00', new Date()).snapshot])
    })
    const [own, others] = [Promise.withResolvers(), Promise.withResolvers()]
    const first = use('first', { ledgerWritten: own.promise })
    await wait(100)
    expect([calls, told]).toEqual([0, []])
    own.resolve(true)
    expect(await first).toBe('1.00 LIVE')

    await settled()
    await forget()
    const failed = Promise.reject(new GatewayError('INTERNAL'))
    failed.catch(() => undefined)
    const [recorded, waiting, refused] = [
      use('recorded', { ledgerWritten: Promise.resolve() }),
      use('waiting', { ledgerWritten: others.promise }),
      use('refused', { ledgerWritten: failed }),
    ]
    refused.catch(() => undefined)
    expect(await recorded).toBe('1.00 LIVE')
    await wait(100)
    expect(told).toEqual(['first', 'recorded'])
    others.resolve(true)
    expect(await waiting).toBe('1.00 CACHED')
    await expect(refused).rejects.toMatchObject({ code: 'INTERNAL' })
    expect([calls, told]).toEqual([2, ['first', 'recorded', 'waiting']])
    await settled()
  })

  describe('a look that fails', () => {
    const customer = { ip: '192.0.2.1', userAgent: null }
    const newer = (): Snapshot => seen('2.00', new Date()).snapshot
    /** A look that will fail with `code`, after which the bank answers; what was kept before is two minutes old. */
    async function failing(code: ErrorCode) {
      const late = Promise.withResolvers<GatewayError>()
      let calls = 0
      const { use, settled } = await looks(async () => {
        calls++
        return [calls === 1 ? seen('1.00', new Date()).snapshot : calls === 2 ? await late.promise : newer()]
      })
      await use('kept')
      await settled()
      await gateway.database.query("update snapshot set fetched_at = now() - interval '2 minutes'")
      const first = use('first')
      first.catch(() => undefined)
      await expect.poll(() => calls).toBe(2)
      return {
        use,
        settled,
        calls: () => calls - 2,
        async fail(): Promise<void> {
          // Whoever asked by now waits for their turn.
          await wait(20)
          late.resolve(new GatewayError(code))
          await expect(first).rejects.toMatchObject({ code })
        },
      }
    }

    test('is shared by all who waited for it and would have had the same', async () => {
      const { use, fail, calls, settled } = await failing('BANK_TIMEOUT')
      const waiting = [use('one'), use('two'), use('three', { ledgerWritten: Promise.resolve() })]
      const failed = Promise.reject(new GatewayError('INTERNAL'))
      failed.catch(() => undefined)
      const unrecorded = use('four', { ledgerWritten: failed })
      void Promise.allSettled([...waiting, unrecorded])
      await fail()
      for (const one of waiting) await expect(one).rejects.toMatchObject({ code: 'BANK_TIMEOUT' })
      await expect(unrecorded).rejects.toMatchObject({ code: 'INTERNAL' })
      expect(calls()).toBe(0)
      await settled()
    })

    test('is not shared by whoever comes when it is over', async () => {
      const { use, fail, calls, settled } = await failing('BANK_TIMEOUT')
      const recorded = Promise.withResolvers()
      const waiting = use('waiting', { ledgerWritten: recorded.promise })
      waiting.catch(() => undefined)
      await fail()
      const later = use('later')
      await wait(20)
      recorded.resolve(true)
      await expect(waiting).rejects.toMatchObject({ code: 'BANK_TIMEOUT' })
      expect(await later).toBe('2.00 LIVE')
      expect(calls()).toBe(1)
      await settled()
    })

    test.each<[string, ErrorCode, Partial<BalanceFetch>, string, number]>([
      ['for whom what is kept is young enough', 'BANK_TIMEOUT', { maxAgeMs: 600_000 }, '1.00 CACHED', 0],
      ['whose customer is there', 'BANK_QUOTA_EXHAUSTED', { customer }, '2.00 LIVE', 1],
      [
        'whose own access is in order',
        'RECONNECT_REQUIRED',
        { access: { grant: { connectionId: 'two' } } as unknown as AccountAccess },
        '2.00 LIVE',
        1,
      ],
    ])('is not shared by one %s', async (_who, code, look, answer, more) => {
      const { use, fail, calls, settled } = await failing(code)
      const other = use('other', look)
      await fail()
      expect(await other).toBe(answer)
      expect(calls()).toBe(more)
      await settled()
    })
  })
})
