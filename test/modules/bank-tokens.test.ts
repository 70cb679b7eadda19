import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { App } from '../../src/app.ts'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import type { OutboundRequest, OutboundResponse } from '../../src/kernel/outbound-http.ts'
import { connectionStore } from '../../src/modules/consents/connection-store.ts'
import { openDatabase } from '../../src/storage/database.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { askRanges, elsewhere, hangs, isBalances, NEXT_RANGE_MS, SCOPES } from '../support/balance-reads.ts'
import { holdJob } from '../support/scheduled-jobs.ts'

/** More customers of one bank than there are database connections. */
const CROWD = 14
let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway({ crowd: CROWD + 1, lines: ['northbank'] })
})
afterEach(() => {
  gateway.intercept = undefined
  gateway.lines.northbank!.fault = { kind: 'NONE' }
  // Closes the circuit breakers that a test opened.
  gateway.forward(10 * 60_000)
})
afterAll(() => gateway.close())

const ask = (token: Token) => askRanges(gateway, token)
const later = () => gateway.forward(NEXT_RANGE_MS)
const fresh = (...banks: string[]) => gateway.customer('ada', banks, { scopes: SCOPES })
const crowd = (index: number) => gateway.customer(`crowd${index}`, ['rheinbank'], { scopes: SCOPES })

describe('bank tokens', () => {
  /** The response of the bank without an interception. */
  const passed = async ({ url, method, headers, body }: OutboundRequest): Promise<OutboundResponse> => {
    const answer = await fetch(url, { method, headers: headers ?? {}, ...(body !== undefined && { body }) })
    return { status: answer.status, headers: Object.fromEntries(answer.headers), text: await answer.text() }
  }
  const isRefresh = ({ url, body }: OutboundRequest): boolean =>
    url.endsWith('/token') && (body ?? '').includes('refresh_token')

  test('due bank tokens are renewed once, even if many processes need them at the same time', async () => {
    const token = await fresh('northbank')
    const second = await elsewhere(gateway)
    const [row] = await gateway.database.query<{ id: string; customer_id: string; account_id: string }>(
      "select c.id, c.customer_id, s.account_id from consent c join consent_account s on s.consent_id = c.id where c.status = 'ACTIVE' order by c.created_at desc limit 1",
    )
    expect(token.accessToken).toBeTruthy()
    await gateway.database.query("update connection set token_expires_at = now() - interval '1 minute'")
    gateway.sent.length = 0
    const caller = { customerId: row!.customer_id, clientId: 'chatterbox' } as never
    const look = async ({ services: { consents } }: App) => {
      const { grants } = await consents.findShared(caller)
      return consents.callBank(
        [grants[0]!.open('accounts:read', row!.account_id, new Date())!],
        (bank, access, [ref]) => bank.balances(access, ref!, null),
      )
    }
    await Promise.all([look(gateway.app), look(second.app), look(gateway.app), look(second.app)])
    expect(gateway.sent.filter(isRefresh)).toHaveLength(1)
    await second.close()
  })

  test('a slow renewal of bank tokens costs a fetch no more than its deadline, and its tokens are stored', async () => {
    const token = await crowd(CROWD)
    later()
    const again = await gateway.renew(token)
    await gateway.database.query("update connection set token_expires_at = now() - interval '1 minute'")
    let refreshes = 0
    const answered = Promise.withResolvers<undefined>()
    gateway.intercept = (request) => {
      if (!isRefresh(request)) return undefined
      refreshes++
      return answered.promise.then(() => passed(request))
    }
    for (let round = 0; round < 2; round++) {
      const { rows, tookMs } = await ask(again)
      expect(rows[0]!.balance.reason).toBe('BANK_TIMEOUT')
      expect(tookMs).toBeLessThan(1_500 + 500)
    }
    answered.resolve(undefined)
    await expect.poll(async () => (await ask(again)).rows[0]!.balance.freshness).toBe('LIVE')
    expect(refreshes).toBe(1)
  })

  test('bank tokens that arrive while the process stops are stored', async () => {
    await fresh('northbank')
    const line = gateway.lines['northbank']!
    const renewals = (): number => line.requests.filter((request) => request === 'POST /token').length
    const [row] = await gateway.database.query<{ customer_id: string; account_id: string }>(
      "select c.customer_id, s.account_id from consent c join consent_account s on s.consent_id = c.id where c.status = 'ACTIVE' order by c.created_at desc limit 1",
    )
    const tokenOf = async ({ services: { consents } }: App): Promise<string> => {
      const { grants } = await consents.findShared({ customerId: row!.customer_id, clientId: 'chatterbox' })
      return consents.callBank(
        [grants[0]!.open('accounts:read', row!.account_id, new Date())!],
        (_bank, { accessToken }) => Promise.resolve(accessToken),
      )
    }
    await gateway.database.query("update connection set token_expires_at = now() - interval '1 minute'")
    const second = await elsewhere(gateway)
    await second.app.start()
    line.requests.length = 0
    // First the metadata of the bank are delayed, then the tokens.
    line.fault = { kind: 'DELAY', ms: 1_000 }
    await expect(tokenOf(second.app)).rejects.toMatchObject({ code: 'BANK_TIMEOUT' })
    await second.app.stop()
    await second.close()
    line.fault = { kind: 'NONE' }
    expect(await tokenOf(gateway.app)).toBeTruthy()
    expect(renewals()).toBe(1)
  })

  test('the next request renews bank tokens whose renewal failed', async () => {
    const token = await crowd(4)
    await gateway.database.query("update connection set token_expires_at = now() - interval '1 minute'")
    gateway.intercept = (request) =>
      isRefresh(request) ? Promise.resolve({ status: 503, headers: {}, text: '' }) : undefined
    expect((await ask(token)).rows[0]!.balance.reason).toBe('BANK_UNAVAILABLE')
    gateway.intercept = undefined
    expect((await ask(token)).rows[0]!.balance.freshness).toBe('LIVE')
  })

  test('bank tokens that were renewed, or are being renewed, cannot be claimed', async () => {
    const database = openDatabase(gateway.database.url, 2)
    const store = connectionStore(database)
    const [{ id }] = (await gateway.database.query<{ id: string }>('select id from connection limit 1')) as [
      { id: string },
    ]
    const [old] = await store.findMany([id])
    await gateway.database.query("update connection set token_expires_at = token_expires_at + interval '1 hour'")
    expect(await store.claimRenewal(old!, 60_000)).toBeUndefined()
    const [row] = await store.findMany([id])
    const until = await store.claimRenewal(row!, 60_000)
    expect(until).toBeDefined()
    expect(await store.claimRenewal(row!, 60_000)).toBeUndefined()
    await store.releaseRenewal(id, until!)
    const again = await store.claimRenewal(row!, 60_000)
    expect(again).toBeDefined()
    await store.releaseRenewal(id, again!)
    await database.close()
  })

  test('if a process ends during a renewal, another renews the bank tokens once the claim has expired', async () => {
    const token = await crowd(1)
    later()
    const again = await gateway.renew(token)
    const due = "update connection set token_expires_at = now() - interval '1 minute', refresh_claimed_until = now() + "
    await gateway.database.query(`${due} interval '100 days'`)
    const { rows, tookMs } = await ask(again)
    expect(rows[0]!.balance.reason).toBe('BANK_TIMEOUT')
    expect(tookMs).toBeLessThan(1_500 + 500)
    await gateway.database.query(`${due} interval '-1 second'`)
    await expect.poll(async () => (await ask(again)).rows[0]!.balance.freshness).toBe('LIVE')
  })

  test('a slow token endpoint holds no database connection for any number of waiting customers', async () => {
    const tokens = await Promise.all(Array.from({ length: CROWD }, (_one, index) => crowd(index)))
    later()
    const again = await Promise.all(tokens.map((token) => gateway.renew(token)))
    const other = await gateway.customer('bo', ['northbank'], { scopes: SCOPES })
    await gateway.database.query(
      "update connection set token_expires_at = now() - interval '1 minute' where connector_id in (select id from connector where bank_id = 'rheinbank')",
    )
    let hanging = 0
    gateway.intercept = (request) => {
      if (!isRefresh(request)) return undefined
      hanging++
      return hangs()
    }
    const inUse = () =>
      gateway.database.query(
        "select 1 from pg_stat_activity where datname = current_database() and state <> 'idle' and pid <> pg_backend_pid()",
      )
    const stuck = again.map(ask)
    await eventually('a renewal of each bank token', () => Promise.resolve(hanging === CROWD))
    await eventually('a database that nobody uses', async () => (await inUse()).length === 0)
    expect((await ask(other)).tookMs).toBeLessThan(1_000)
    for (const { tookMs } of await Promise.all(stuck)) expect(tookMs).toBeLessThan(1_500 + 500)
  })

  describe('that the bank refuses before their time', () => {
    const tokenIn = ({ headers }: OutboundRequest): string => headers?.['authorization'] ?? ''
    const refusal: OutboundResponse = { status: 401, headers: {}, text: '' }
    test.each(['rheinbank', 'northbank'])(
      'bank tokens that the bank rejects before their expiry are renewed without an error: %s',
      async (bank) => {
        later()
        const token = await fresh(bank)
        let first: string | undefined
        let renewals = 0
        gateway.intercept = (request) => {
          if (isRefresh(request)) renewals++
          if (!isBalances(request)) return undefined
          first ??= tokenIn(request)
          return tokenIn(request) === first ? Promise.resolve(refusal) : undefined
        }
        const { rows } = await ask(token)
        expect(rows.map(({ balance }) => balance.freshness)).toEqual(['LIVE', 'LIVE'])
        expect(renewals).toBe(1)
      },
    )

    test('bank tokens that are rejected early are renewed once, and not again if the bank rejects the new ones too', async () => {
      later()
      const token = await crowd(2)
      let [calls, renewals] = [0, 0]
      gateway.intercept = (request) => {
        if (isRefresh(request)) renewals++
        if (!isBalances(request)) return undefined
        calls++
        return Promise.resolve(refusal)
      }
      const refused = async (by: Token): Promise<void> =>
        expect((await ask(by)).rows.map(({ balance }) => balance.reason)).toEqual([
          'RECONNECT_REQUIRED',
          'RECONNECT_REQUIRED',
        ])
      const last = "update connection set token_expires_at = now() + interval '100 days'"
      await gateway.database.query(last)
      for (let round = 0; round < 3; round++) await refused(token)
      expect([renewals, calls]).toEqual([1, 8])
      await gateway.database.query(last)
      for (const minutes of [6, 5]) {
        gateway.forward(minutes * 60_000)
        await refused(await gateway.renew(token))
      }
      expect(renewals).toBe(2)
    })

    test('bank tokens do not count as rejected if the bank rejects only one account', async () => {
      later()
      const token = await crowd(3)
      let renewals = 0
      gateway.intercept = (request) => {
        if (isRefresh(request)) renewals++
        return request.url.endsWith('-1/balances') ? Promise.resolve(refusal) : undefined
      }
      expect((await ask(token)).rows.map(({ balance }) => balance.reason)).toEqual(
        expect.arrayContaining(['RECONNECT_REQUIRED', undefined]),
      )
      expect(renewals).toBe(0)
    })
  })

  test('if the bank rejects its refresh token, the customer is asked to reconnect and the renewal is not repeated', async () => {
    const token = await fresh('northbank')
    await gateway.database.query("update connection set token_expires_at = now() - interval '1 minute'")
    let refreshes = 0
    gateway.intercept = (request) => {
      if (!isRefresh(request)) return undefined
      refreshes++
      return Promise.resolve({
        status: 400,
        headers: { 'content-type': 'application/json' },
        text: '{"error":"invalid_grant"}',
      })
    }
    for (let round = 0; round < 3; round++)
      expect((await ask(token)).rows.map(({ balance }) => balance.reason)).toEqual([
        'RECONNECT_REQUIRED',
        'RECONNECT_REQUIRED',
      ])
    expect(refreshes).toBe(1)
  })

  test('each renewal uses the refresh token that an FDX bank issued last, and none is used twice', async () => {
    const [issued, used]: [string[], string[]] = [[], []]
    gateway.intercept = (request) => {
      if (!request.url.startsWith(gateway.sandbox.banks.westbank) || !request.url.endsWith('/token')) return undefined
      return passed(request).then((response) => {
        const { refresh_token: next } = JSON.parse(response.text) as { refresh_token?: string }
        if (next !== undefined) issued.push(next)
        if (isRefresh(request)) used.push(new URLSearchParams(request.body).get('refresh_token')!)
        return response
      })
    }
    let token = await gateway.customer('fay', ['westbank'], { scopes: SCOPES })
    for (let renewal = 1; renewal <= 3; renewal++) {
      await gateway.database.query("update connection set token_expires_at = now() - interval '1 minute'")
      later()
      token = await gateway.renew(token)
      await ask(token)
      await eventually('the renewal', () => Promise.resolve(used.length >= renewal))
    }
    expect(used).toEqual(issued.slice(0, 3))
    expect(new Set(issued).size).toBe(4)
  })
})

describe('bank tokens that nobody uses', () => {
  beforeAll(() => holdJob(gateway, 'idle-tokens'))
  const tokensOf = async (): Promise<{ id: string; due: Date }[]> =>
    gateway.database.query(
      'select id, renewal_due_at as due from connection where sealed_access is not null order by id',
    )
  const renewIdle = (): Promise<number> => gateway.app.services.consents.jobs.renewIdleTokens()

  test('they are renewed a week after they expired, once by two processes, and not again for a week', async () => {
    await fresh('northbank')
    await renewIdle()
    expect(await renewIdle()).toBe(0)
    gateway.forward(8 * 86_400_000)
    const count = (await tokensOf()).length
    gateway.sent.length = 0
    const second = await elsewhere(gateway)
    const renewed = await Promise.all([renewIdle(), second.app.services.consents.jobs.renewIdleTokens()])
    await second.close()
    const refreshes = gateway.sent.filter(({ body }) => (body ?? '').includes('refresh_token'))
    expect(refreshes.length).toBeGreaterThan(0)
    expect(renewed[0] + renewed[1]).toBe(refreshes.length)
    expect((await tokensOf()).length).toBeLessThanOrEqual(count)
    expect(await renewIdle()).toBe(0)
  })

  test('a bank that does not respond is tried again after a day, and delays no other bank', async () => {
    await fresh('northbank')
    await crowd(0)
    gateway.forward(8 * 86_400_000)
    gateway.intercept = ({ url }) =>
      url.startsWith(gateway.sandbox.banks.northbank) || url.startsWith(gateway.lines.northbank!.url)
        ? Promise.reject(new Error('unreachable'))
        : undefined
    expect(await renewIdle()).toBeGreaterThan(0)
    expect(await renewIdle()).toBe(0)
    gateway.intercept = undefined
    gateway.forward(86_400_000 + 600_000)
    expect(await renewIdle()).toBeGreaterThan(0)
  })
})
