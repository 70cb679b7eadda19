import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { App } from '../../src/app.ts'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { DAY_MS } from '../../src/kernel/clock.ts'
import { OutboundError } from '../../src/kernel/outbound-error.ts'
import type { OutboundRequest, OutboundResponse } from '../../src/kernel/outbound-http.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import {
  askRanges,
  elsewhere,
  hangs,
  isBalances,
  NEXT_RANGE_MS,
  SCOPES,
  wait,
  type Row,
} from '../support/balance-reads.ts'
import { patientTimers } from '../support/patient-time.ts'

/** The customers of one bank, with two accounts each: they need more calls at once than a bank gets at first. */
const CROWD_SIZE = 14
let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway({ crowd: CROWD_SIZE + 1 })
})
afterEach(() => {
  gateway.intercept = undefined
  // Closes the circuit breakers that a test left open.
  gateway.forward(10 * 60_000)
})
afterAll(() => gateway.close())

const ask = (token: Token) => askRanges(gateway, token)
const ofBank = ({ rows }: { rows: Row[] }, id: string): Row[] => rows.filter(({ bank }) => bank.id === id)
/** A read of Ada's accounts at Rheinbank, and not one of a certification run. */
const isOfAda = (request: OutboundRequest): boolean => isBalances(request) && request.url.includes('8f1c2a44')
const atRhein = ({ url }: OutboundRequest): boolean => url.includes('/psd2/')
/** A connection that is refused. */
const refused = (): Promise<OutboundResponse> =>
  Promise.reject(new OutboundError('OUTBOUND_UNREACHABLE', 'CONNECTION_REFUSED'))
const later = () => gateway.forward(NEXT_RANGE_MS)
/** Moves to 02:00 UTC of the next day, so that the hours of a test lie within one day whenever it runs. */
const tomorrow = () => gateway.forward(DAY_MS - (Date.now() % DAY_MS) + 2 * 3_600_000)
const fresh = (...banks: string[]) => gateway.customer('ada', banks, { scopes: SCOPES })
const crowd = (index: number) => gateway.customer(`crowd${index}`, ['rheinbank'], { scopes: SCOPES })

describe('a bank that hangs', () => {
  test('a bank that hangs delays its own results only, and those until its deadline only', async () => {
    const token = await fresh('northbank', 'rheinbank')
    gateway.intercept = (request) => (isBalances(request) && atRhein(request) ? hangs() : undefined)
    const result = await ask(token)
    expect(ofBank(result, 'northbank').every(({ balance }) => balance.__typename === 'BalanceBand')).toBe(true)
    expect(ofBank(result, 'rheinbank').map(({ balance }) => balance.reason)).toEqual(['BANK_TIMEOUT', 'BANK_TIMEOUT'])
    expect(result.tookMs).toBeLessThan(1_500 + 500)
  })

  test('all readers of an account whose bank hangs share one call and its error', async () => {
    const token = await crowd(CROWD_SIZE)
    let calls = 0
    gateway.intercept = (request) => {
      if (!isBalances(request) || !atRhein(request)) return undefined
      calls++
      return hangs()
    }
    const asked = Array.from({ length: 20 }, async (_one, index) => {
      await wait(index * 20)
      return ask(token)
    })
    for (const { rows, tookMs } of await Promise.all(asked)) {
      expect(rows.map(({ balance }) => balance.reason)).toEqual(['BANK_TIMEOUT', 'BANK_TIMEOUT'])
      expect(tookMs).toBeLessThan(1_500 + 500)
    }
    expect(calls).toBe(2)
    // A later read does not share it.
    gateway.intercept = undefined
    expect((await ask(token)).rows.map(({ balance }) => balance.freshness)).toEqual(['LIVE', 'LIVE'])
  })

  test('calls to a bank that hangs occupy no slots of calls to another bank', async () => {
    const slow = await Promise.all(Array.from({ length: CROWD_SIZE }, (_one, index) => crowd(index)))
    const quick = await gateway.customer('dan', ['northbank'], { scopes: SCOPES })
    let calls = 0
    gateway.intercept = (request) => {
      if (!isBalances(request) || !atRhein(request)) return undefined
      calls++
      return hangs()
    }
    const stuck = slow.map(ask)
    const beside = await ask(quick)
    expect(calls).toBeLessThan(2 * CROWD_SIZE)
    expect(ofBank(beside, 'northbank').every(({ balance }) => balance.__typename === 'BalanceBand')).toBe(true)
    expect(beside.tookMs).toBeLessThan(1_000)
    await Promise.all(stuck)
    // The bank responds again.
    gateway.intercept = undefined
    gateway.forward(10 * 60_000)
    const again = await gateway.renew(slow[0]!)
    await expect.poll(async () => (await ask(again)).rows[0]!.balance.freshness).toBe('LIVE')
  })
})

describe('a bank that cannot be reached', () => {
  test('a bank is not called after five consecutive calls without a response, until a probe call succeeds', async () => {
    const token = await fresh('rheinbank')
    let calls = 0
    gateway.intercept = (request) => {
      if (!isBalances(request) || !atRhein(request)) return undefined
      calls++
      return refused()
    }
    for (let round = 0; round < 4; round++) await ask(token)
    const after = calls
    const open = await ask(token)
    expect(calls).toBe(after)
    expect(open.rows.every(({ balance }) => balance.reason === 'BANK_UNAVAILABLE')).toBe(true)
    expect(open.tookMs).toBeLessThan(1_000)

    gateway.forward(8_000)
    await ask(token)
    // One call probed for both accounts. It failed, so the circuit breaker stays open, and for longer.
    expect(calls - after).toBeLessThanOrEqual(2)
    gateway.intercept = undefined
    gateway.forward(30_000)
    await ask(token)
    const alive = await ask(token)
    expect(alive.rows.every(({ balance }) => balance.__typename === 'BalanceBand')).toBe(true)
  })

  test('a bank that fails for one account is still called for the others', async () => {
    const dan = await gateway.customer('dan', ['rheinbank'], { scopes: ['accounts:read', 'balances:band'] })
    for (let round = 0; round < 10; round++) await ask(dan)
    const ada = await ask(await fresh('rheinbank'))
    expect(ada.rows.every(({ balance }) => balance.__typename === 'BalanceBand')).toBe(true)
  })

  test('the band that was disclosed last is returned as STALE if the bank cannot be reached', async () => {
    const token = await fresh('rheinbank')
    await ask(token)
    later()
    const again = await gateway.renew(token)
    gateway.intercept = (request) => (isBalances(request) ? refused() : undefined)
    const result = await ask(again)
    expect(result.rows.every(({ balance }) => balance.freshness === 'STALE')).toBe(true)
  })
})

describe('a bank that limits its callers', () => {
  test('a bank that responds with 429 is not called before the time that it named', async () => {
    const token = await gateway.customer('bo', ['northbank'], { scopes: ['accounts:read', 'balances:band'] })
    let calls = 0
    gateway.intercept = (request) => {
      if (!isBalances(request)) return undefined
      calls++
      return Promise.resolve({ status: 429, headers: { 'retry-after': '120' }, text: '' })
    }
    expect((await ask(token)).rows.map(({ balance }) => balance.reason)).toContain('BANK_RATE_LIMITED')
    const after = calls
    await ask(token)
    expect(calls).toBe(after)
    gateway.intercept = undefined
    gateway.forward(121_000)
    expect((await ask(token)).rows.every(({ balance }) => balance.__typename === 'BalanceBand')).toBe(true)
  })
})

describe('one fetch for everybody', () => {
  /** Reads the bands of the customer of the newest consent, in a given process. */
  async function createBandReader() {
    const [row] = await gateway.database.query<{ customer_id: string }>(
      "select customer_id from consent where status = 'ACTIVE' order by created_at desc limit 1",
    )
    const caller = {
      kind: 'CUSTOMER',
      customerId: row!.customer_id,
      clientId: 'chatterbox',
      scopes: new Set(SCOPES),
    } as never
    return async (
      { services: { accounts } }: App,
      requestId: string,
    ): Promise<{ kind: string; freshness?: string }[]> => {
      const context = { caller, requestId, presence: 'CUSTOMER_PRESENCE_REQUIRED', customer: null } as const
      const rows = await accounts.list(caller, context)
      const readBand = async (row: (typeof rows)[number]) => {
        const query = { row, type: 'INTERIM_AVAILABLE', currencies: null, maxAgeMs: 60_000 } as const
        return (await accounts.balances(query, 'BAND', context))[0]!
      }
      return Promise.all(rows.map(readBand))
    }
  }

  test('a hundred identical concurrent requests make one call for each account', async () => {
    // A circuit breaker that an earlier test left half open would permit one call only.
    await ask(await fresh('rheinbank'))
    later()
    const token = await fresh('rheinbank')
    gateway.sent.length = 0
    const results = await Promise.all(Array.from({ length: 100 }, () => ask(token)))
    for (const result of results)
      expect(result.rows.every(({ balance }) => balance.__typename === 'BalanceBand')).toBe(true)
    expect(gateway.sent.filter(isOfAda)).toHaveLength(2)
  })

  test('many reads of one account in one operation share one call', async () => {
    later()
    const token = await fresh('rheinbank')
    gateway.sent.length = 0
    const types = ['INTERIM_AVAILABLE', 'INTERIM_BOOKED', 'EXPECTED', 'INTERIM_AVAILABLE']
    const fields = types.map((type, index) => `of${index}: balances(type: ${type}, detail: BAND) { __typename }`)
    const query = `{ customer { accounts(first: 5) { nodes { ${fields.join(' ')} } } } }`
    const result = await gateway.askUnattended(token, query)
    const { nodes } = (result.data!['customer'] as { accounts: { nodes: Record<string, { __typename: string }[]>[] } })
      .accounts
    expect(nodes).toHaveLength(2)
    for (const node of nodes)
      expect(Object.values(node).map(([balance]) => balance!.__typename)).toEqual([
        'BalanceBand',
        'BalanceBand',
        expect.stringMatching('Balance'),
        'BalanceBand',
      ])
    expect(gateway.sent.filter(isOfAda)).toHaveLength(2)
  })

  test('two processes that read an account concurrently fetch it once, and both return its band', async () => {
    await fresh('rheinbank')
    later()
    const second = await elsewhere(gateway)
    const readBands = await createBandReader()
    gateway.sent.length = 0
    const results = await Promise.all([
      readBands(gateway.app, 'req_1'),
      readBands(second.app, 'req_2'),
      readBands(gateway.app, 'req_3'),
    ])
    expect(results.flat().map(({ kind }) => kind)).toEqual(Array.from({ length: 6 }, () => 'BAND'))
    expect(gateway.sent.filter(isOfAda)).toHaveLength(2)
    await second.close()
  })

  test('two processes that wait for a bank that hangs both respond by its deadline', async () => {
    await fresh('rheinbank')
    later()
    const second = await elsewhere(gateway)
    gateway.intercept = (request) => (isBalances(request) && atRhein(request) ? hangs() : undefined)
    const readBands = await createBandReader()
    const began = patientTimers.monotonicMs()
    const tookMs = await Promise.all(
      [gateway.app, second.app, gateway.app].map(async (app, index) => {
        const results = await readBands(app, `req_${index}`)
        expect(results.map(({ freshness }) => freshness)).toEqual(['STALE', 'STALE'])
        return patientTimers.monotonicMs() - began
      }),
    )
    expect(Math.max(...tookMs)).toBeLessThan(1_500 + 500)
    await second.close()
  })

  test('a process that finds a newer snapshot than its claim saw reads that one, and does not call the bank', async () => {
    later()
    const token = await fresh('rheinbank')
    await ask(token)
    await gateway.app.services.accounts.waitUntilIdle()
    later()
    const again = await gateway.renew(token)
    gateway.sent.length = 0
    // Another process saves a snapshot while the statement runs that found the old one.
    const other = new pg.Client({ connectionString: gateway.database.url })
    await other.connect()
    await other.query('begin')
    await other.query('update snapshot set fetched_at = $1', [new Date()])
    const asked = ask(again)
    // PostgreSQL shows the beginning of a long statement only.
    const blocked =
      "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%with requested as%'"
    await expect.poll(() => gateway.database.query(blocked)).toHaveLength(1)
    await other.query('commit')
    await other.end()
    expect((await asked).rows[0]!.balance.__typename).toBe('BalanceBand')
    expect(gateway.sent.filter(isOfAda)).toEqual([])
  })

  test('a process that ends while it fetches delays the fetches of others until its claim ends', async () => {
    later()
    const token = await fresh('rheinbank')
    await gateway.database.query(
      "insert into snapshot (bank_account_key, claimed_until) select distinct bank_id || '/' || ref_digest, now() + interval '100 days' from account on conflict (bank_account_key) do update set claimed_until = excluded.claimed_until",
    )
    expect((await ask(token)).rows[0]!.balance.freshness).toBe('STALE')
    await gateway.database.query("update snapshot set claimed_until = now() - interval '1 second'")
    expect((await ask(token)).rows[0]!.balance.freshness).toBe('LIVE')
  })
})

describe('a bank that counts the calls for an account', () => {
  test('an account whose daily quota is used up is not called for until the next day, and other accounts are', async () => {
    tomorrow()
    const token = await fresh('rheinbank')
    await ask(token)
    later()
    const next = await gateway.renew(token)
    let calls = 0
    const isUsedUp = (url: string): boolean => /accounts\/8f1c2a44-0001[^/]*\/balances$/.test(url)
    gateway.intercept = ({ url }) => {
      if (!isUsedUp(url)) return undefined
      calls++
      const text = JSON.stringify({ tppMessages: [{ category: 'ERROR', code: 'ACCESS_EXCEEDED' }] })
      return Promise.resolve({ status: 429, headers: {}, text })
    }
    const outcomes = ({ rows }: { rows: Row[] }) =>
      rows.map(({ balance }) => balance.reason ?? balance.freshness).sort()
    for (let round = 0; round < 3; round++) await ask(next)
    expect(calls).toBe(1)
    later()
    const again = await gateway.renew(next)
    // The last band is returned with the reason; the other account is fetched.
    expect(outcomes(await ask(again))).toEqual(['LIVE', 'STALE'])
    expect(calls).toBe(1)
    gateway.forward(26 * 3_600_000)
    await ask(await gateway.renew(again))
    expect(calls).toBe(2)
  })
})
