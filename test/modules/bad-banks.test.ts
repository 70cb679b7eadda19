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

/** So many customers with two accounts each want more calls at once than a bank gets at first. */
const LANE = 14
let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway({ crowd: LANE + 1 })
})
afterEach(() => {
  gateway.intercept = undefined
  // Whatever a test left open at the banks is closed again.
  gateway.forward(10 * 60_000)
})
afterAll(() => gateway.close())

const ask = (token: Token) => askRanges(gateway, token)
const ofBank = ({ rows }: { rows: Row[] }, id: string): Row[] => rows.filter(({ bank }) => bank.id === id)
/** Ada's accounts at Rheinbank; the nightly trial has its own. */
const isOfAda = (request: OutboundRequest): boolean => isBalances(request) && request.url.includes('8f1c2a44')
const atRhein = ({ url }: OutboundRequest): boolean => url.includes('/psd2/')
/** Nobody answers at all. */
const silent = (): Promise<OutboundResponse> =>
  Promise.reject(new OutboundError('OUTBOUND_UNREACHABLE', 'CONNECTION_REFUSED'))
const later = () => gateway.forward(NEXT_RANGE_MS)
/** Two in the night of the next day (UTC): some hours then lie within one day, whenever the test runs. */
const tomorrow = () => gateway.forward(DAY_MS - (Date.now() % DAY_MS) + 2 * 3_600_000)
const fresh = (...banks: string[]) => gateway.customer('ada', banks, { scopes: SCOPES })
const crowd = (index: number) => gateway.customer(`crowd${index}`, ['rheinbank'], { scopes: SCOPES })

describe('a bank that hangs', () => {
  test('a bank that hangs costs its own answers only, and no more than its deadline', async () => {
    const token = await fresh('northbank', 'rheinbank')
    gateway.intercept = (request) => (isBalances(request) && atRhein(request) ? hangs() : undefined)
    const answer = await ask(token)
    expect(ofBank(answer, 'northbank').every(({ balance }) => balance.__typename === 'BalanceBand')).toBe(true)
    expect(ofBank(answer, 'rheinbank').map(({ balance }) => balance.reason)).toEqual(['BANK_TIMEOUT', 'BANK_TIMEOUT'])
    expect(answer.tookMs).toBeLessThan(1_500 + 500)
  })

  test('a bank that hangs costs nobody else more who asks about the same account meanwhile: what came of the look is theirs as well', async () => {
    const token = await crowd(LANE)
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
    // Whoever comes later does not share it.
    gateway.intercept = undefined
    expect((await ask(token)).rows.map(({ balance }) => balance.freshness)).toEqual(['LIVE', 'LIVE'])
  })

  test('a bank that hangs fills its own lane and nobody else’s', async () => {
    const slow = await Promise.all(Array.from({ length: LANE }, (_one, index) => crowd(index)))
    const quick = await gateway.customer('dan', ['northbank'], { scopes: SCOPES })
    let calls = 0
    gateway.intercept = (request) => {
      if (!isBalances(request) || !atRhein(request)) return undefined
      calls++
      return hangs()
    }
    const stuck = slow.map(ask)
    const beside = await ask(quick)
    expect(calls).toBeLessThan(2 * LANE)
    expect(ofBank(beside, 'northbank').every(({ balance }) => balance.__typename === 'BalanceBand')).toBe(true)
    expect(beside.tookMs).toBeLessThan(1_000)
    await Promise.all(stuck)
    // And is well again, for whoever comes next.
    gateway.intercept = undefined
    gateway.forward(10 * 60_000)
    const again = await gateway.renew(slow[0]!)
    await expect.poll(async () => (await ask(again)).rows[0]!.balance.freshness).toBe('LIVE')
  })
})

describe('a bank that is dead', () => {
  test('a bank that is dead is not called any more once five calls in a row met silence, and is found alive by one that tries', async () => {
    const token = await fresh('rheinbank')
    let calls = 0
    gateway.intercept = (request) => {
      if (!isBalances(request) || !atRhein(request)) return undefined
      calls++
      return silent()
    }
    for (let round = 0; round < 4; round++) await ask(token)
    const after = calls
    const open = await ask(token)
    expect(calls).toBe(after)
    expect(open.rows.every(({ balance }) => balance.reason === 'BANK_UNAVAILABLE')).toBe(true)
    expect(open.tookMs).toBeLessThan(1_000)

    gateway.forward(8_000)
    await ask(token)
    // One of the two accounts was tried for both; it failed, so it stays open, and for longer.
    expect(calls - after).toBeLessThanOrEqual(2)
    gateway.intercept = undefined
    gateway.forward(30_000)
    await ask(token)
    const alive = await ask(token)
    expect(alive.rows.every(({ balance }) => balance.__typename === 'BalanceBand')).toBe(true)
  })

  test('for one account alone does not count as dead for the others', async () => {
    const dan = await gateway.customer('dan', ['rheinbank'], { scopes: ['accounts:read', 'balances:band'] })
    for (let round = 0; round < 10; round++) await ask(dan)
    const ada = await ask(await fresh('rheinbank'))
    expect(ada.rows.every(({ balance }) => balance.__typename === 'BalanceBand')).toBe(true)
  })

  test('a bank that is dead tells the range that was shown last, as STALE', async () => {
    const token = await fresh('rheinbank')
    await ask(token)
    later()
    const again = await gateway.renew(token)
    gateway.intercept = (request) => (isBalances(request) ? silent() : undefined)
    const answer = await ask(again)
    expect(answer.rows.every(({ balance }) => balance.freshness === 'STALE')).toBe(true)
  })
})

describe('a bank that asks for patience', () => {
  test('a bank that asks for patience is left alone for as long as it said', async () => {
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

describe('one look for all', () => {
  /** Asks a process itself for the ranges of whoever agreed last. */
  async function lookOf() {
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

  test('a hundred identical questions at once make one set of calls', async () => {
    // A breaker that an earlier test left half open would let one call through and no other.
    await ask(await fresh('rheinbank'))
    later()
    const token = await fresh('rheinbank')
    gateway.sent.length = 0
    const answers = await Promise.all(Array.from({ length: 100 }, () => ask(token)))
    for (const answer of answers)
      expect(answer.rows.every(({ balance }) => balance.__typename === 'BalanceBand')).toBe(true)
    expect(gateway.sent.filter(isOfAda)).toHaveLength(2)
  })

  test('many questions about one account in one document are all answered, by one call', async () => {
    later()
    const token = await fresh('rheinbank')
    gateway.sent.length = 0
    const types = ['INTERIM_AVAILABLE', 'INTERIM_BOOKED', 'EXPECTED', 'INTERIM_AVAILABLE']
    const fields = types.map((type, index) => `of${index}: balances(type: ${type}, detail: BAND) { __typename }`)
    const query = `{ customer { accounts(first: 5) { nodes { ${fields.join(' ')} } } } }`
    const answer = await gateway.askUnattended(token, query)
    const { nodes } = (answer.data!['customer'] as { accounts: { nodes: Record<string, { __typename: string }[]>[] } })
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

  test('two processes that are asked at the same moment look once, and both answer', async () => {
    await fresh('rheinbank')
    later()
    const second = await elsewhere(gateway)
    const look = await lookOf()
    gateway.sent.length = 0
    const answers = await Promise.all([
      look(gateway.app, 'req_1'),
      look(second.app, 'req_2'),
      look(gateway.app, 'req_3'),
    ])
    expect(answers.flat().map(({ kind }) => kind)).toEqual(Array.from({ length: 6 }, () => 'BAND'))
    expect(gateway.sent.filter(isOfAda)).toHaveLength(2)
    await second.close()
  })

  test('two processes that are asked at the same moment about a bank that hangs both answer by its deadline', async () => {
    await fresh('rheinbank')
    later()
    const second = await elsewhere(gateway)
    gateway.intercept = (request) => (isBalances(request) && atRhein(request) ? hangs() : undefined)
    const look = await lookOf()
    const began = patientTimers.monotonicMs()
    const tookMs = await Promise.all(
      [gateway.app, second.app, gateway.app].map(async (app, index) => {
        const answers = await look(app, `req_${index}`)
        expect(answers.map(({ freshness }) => freshness)).toEqual(['STALE', 'STALE'])
        return patientTimers.monotonicMs() - began
      }),
    )
    expect(Math.max(...tookMs)).toBeLessThan(1_500 + 500)
    await second.close()
  })

  test('whoever holds an older snapshot than was kept meanwhile reads again, and does not ask the bank', async () => {
    later()
    const token = await fresh('rheinbank')
    await ask(token)
    await gateway.app.services.accounts.waitUntilIdle()
    later()
    const again = await gateway.renew(token)
    gateway.sent.length = 0
    // Another process keeps what it saw while the statement is under way that found it too old.
    const other = new pg.Client({ connectionString: gateway.database.url })
    await other.connect()
    await other.query('begin')
    await other.query('update snapshot set fetched_at = $1', [new Date()])
    const asked = ask(again)
    // By its beginning: PostgreSQL shows no more than that of a long statement.
    const blocked =
      "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%with requested as%'"
    await expect.poll(() => gateway.database.query(blocked)).toHaveLength(1)
    await other.query('commit')
    await other.end()
    expect((await asked).rows[0]!.balance.__typename).toBe('BalanceBand')
    expect(gateway.sent.filter(isOfAda)).toEqual([])
  })

  test('a process that ends while it looks keeps another from looking for seconds, and not for good', async () => {
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

describe('a bank that counts', () => {
  test('a bank that has counted enough of one account is asked about it no more until tomorrow, and about others as before', async () => {
    tomorrow()
    const token = await fresh('rheinbank')
    await ask(token)
    later()
    const next = await gateway.renew(token)
    let calls = 0
    const spent = (url: string): boolean => /accounts\/8f1c2a44-0001[^/]*\/balances$/.test(url)
    gateway.intercept = ({ url }) => {
      if (!spent(url)) return undefined
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
    // What was told last is told, with the reason; the other account is asked for anew.
    expect(outcomes(await ask(again))).toEqual(['LIVE', 'STALE'])
    expect(calls).toBe(1)
    gateway.forward(26 * 3_600_000)
    await ask(await gateway.renew(again))
    expect(calls).toBe(2)
  })
})
