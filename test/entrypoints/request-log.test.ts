import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { HOUR_MS } from '../../src/kernel/clock.ts'
import { AGREE, answerOf, BANK, consentPages, GO, SHARING, SIGN_IN } from '../support/consent-pages.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { listen } from '../support/event-stream.ts'
import { agreeToAll } from '../support/interactions.ts'
import { holdJob } from '../support/scheduled-jobs.ts'

interface Line {
  event: string
  level: string
  requestId?: string
  route?: string
  method?: string
  status?: number
  durationMs?: number
  code?: string
  consentId?: string
  clientId?: string
}

let gateway: TestGateway
let pages: ReturnType<typeof consentPages>
let token: Token
let customerId: string
beforeAll(async () => {
  gateway = await startGateway()
  pages = consentPages(gateway)
  token = await gateway.customer('ada', ['northbank'])
  customerId = (await gateway.database.query<{ id: string }>('select id from customer'))[0]!.id
})
afterAll(() => gateway.close())
beforeEach(() => {
  gateway.intercept = undefined
  gateway.log.length = 0
})
const linesOf = (event: string): Line[] =>
  gateway.log.map((line) => JSON.parse(line) as Line).filter((line) => line.event === event)
const requests = (requestId: string | null): Line[] => linesOf('request').filter((line) => line.requestId === requestId)

describe('one line for each request', () => {
  const send = (path: string, init: RequestInit = {}) =>
    fetch(`${gateway.issuer}${path}`, { redirect: 'manual', ...init })
  const json = { 'content-type': 'application/json' }

  test.each<[what: string, path: string, init: RequestInit, route: string, status: number, code?: string]>([
    [
      'a query',
      '/graphql',
      { method: 'POST', headers: json, body: '{"query":"{ banks { nodes { id } } }"}' },
      '/graphql',
      200,
    ],
    ['a query in an address', '/graphql?query=%7B__typename%7D', {}, '/graphql', 200],
    ['no JSON', '/graphql', { method: 'POST', headers: json, body: '{' }, '/graphql', 400, 'MALFORMED_REQUEST'],
    [
      'a bad token',
      '/graphql',
      {
        method: 'POST',
        headers: { ...json, authorization: 'Bearer x' },
        body: '{"query":"{ banks { nodes { id } } }"}',
      },
      '/graphql',
      401,
      'UNAUTHENTICATED',
    ],
    ['a page', '/', {}, '/', 200],
    ['a visit that is over', '/interaction/COFFEE/return', {}, '/interaction/{uid}/return', 400, 'INTERACTION_EXPIRED'],
    ['a bank that sends nobody back', '/bank/callback?state=COFFEE', {}, '/bank/callback', 400, 'INTERACTION_EXPIRED'],
    [
      'a token request',
      '/oauth/token',
      { method: 'POST', body: new URLSearchParams({ x: 'COFFEE' }) },
      '/oauth/token',
      400,
    ],
    ['a resumed visit', '/oauth/authorize/COFFEE', {}, '/oauth/authorize/{uid}', 303],
    ['an address of nothing', '/COFFEE?COFFEE', {}, 'unmatched', 404, 'NOT_FOUND'],
    ['a wrong method', '/graphql', { method: 'DELETE' }, 'unmatched', 405, 'METHOD_NOT_ALLOWED'],
    [
      'an event for no connector',
      '/bank-events/COFFEE',
      { method: 'POST', headers: { 'content-type': 'application/secevent+jwt' }, body: 'COFFEE' },
      '/bank-events/{connectorId}',
      404,
      'NOT_FOUND',
    ],
  ])(
    '%s leaves exactly one line with id, route, status and duration',
    async (_what, path, init, route, status, code) => {
      const level = path.startsWith('/bank-events/') ? 'debug' : 'info'
      const answer = await send(path, init)
      await answer.text()
      const id = answer.headers.get('x-request-id')
      const [line] = await eventually('the line', () => Promise.resolve(requests(id).length > 0 && requests(id)))
      expect(requests(id)).toHaveLength(1)
      expect(line).toMatchObject({ route, status, level, method: init.method ?? 'GET' })
      expect(line!.durationMs).toBeTypeOf('number')
      expect(line!.code).toBe(code)
      expect(gateway.log.filter((other) => other.includes(id!))).toHaveLength(1)
      expect(gateway.log.join()).not.toContain('COFFEE')
    },
  )

  test('a forged event is counted, and its line at debug has the connector’s route and why it was refused', async () => {
    const [{ id }] = (await gateway.database.query<{ id: string }>(
      "select id from connector where status = 'ACTIVE'",
    )) as [{ id: string }]
    const answer = await send(`/bank-events/${id}`, {
      method: 'POST',
      headers: { 'content-type': 'application/secevent+jwt' },
      body: 'COFFEE.COFFEE.COFFEE',
    })
    const line = await eventually('the line', () => Promise.resolve(requests(answer.headers.get('x-request-id'))[0]))
    expect(line).toMatchObject({
      status: 400,
      code: 'EVENT_REJECTED',
      route: '/bank-events/{connectorId}',
      level: 'debug',
    })
    expect(gateway.log.join()).not.toContain('COFFEE')
    expect(linesOf('event.refused')).toEqual([])
  })

  test('an internal error leaves one log line at level error with its stack locations', async () => {
    const broken = gateway.app.services.banks
    const bank = broken.connectableBanks
    broken.connectableBanks = () => Promise.reject(new Error('COFFEE 4.50'))
    try {
      const browser = createBrowser()
      const { page } = await pages.begin(browser).catch(() => ({ page: undefined }))
      expect(page?.status ?? 500).toBe(500)
    } finally {
      broken.connectableBanks = bank
    }
    const failed = linesOf('request').filter(({ level }) => level === 'error')
    expect(failed).toHaveLength(1)
    expect(failed[0]).toMatchObject({ code: 'INTERNAL', status: 500 })
    expect(JSON.stringify(failed)).toContain('Error')
    expect(gateway.log.join()).not.toContain('COFFEE')
  })

  test('a query of a customer logs no operation text, customer ID or token', async () => {
    const answer = await gateway.ask(token, '{ customer { accounts { nodes { displayName } } } }')
    expect(answer.errors).toBeUndefined()
    const line = await eventually('the line', () => Promise.resolve(linesOf('request').at(-1)))
    expect(Object.keys(line).sort()).toEqual([
      'at',
      'durationMs',
      'event',
      'level',
      'method',
      'requestId',
      'route',
      'status',
    ])
    for (const secret of ['displayName', customerId, token.accessToken])
      expect(
        linesOf('request')
          .map((one) => JSON.stringify(one))
          .join(),
      ).not.toContain(secret)
  })

  test('a stream leaves a line when it opens and one when it ends', async () => {
    const stream = await listen(gateway.issuer, token, 'subscription { alertReceived { id } }')
    expect(stream.status).toBe(200)
    const opened = await eventually('the opening', () => Promise.resolve(linesOf('request').at(-1)))
    expect(opened).toMatchObject({ route: '/graphql', status: 200 })
    expect(linesOf('stream.ended')).toEqual([])
    stream.close()
    const ended = await eventually('the end', () => Promise.resolve(linesOf('stream.ended')[0]))
    expect(ended).toMatchObject({ requestId: opened.requestId, route: '/graphql' })
    expect(ended.durationMs).toBeTypeOf('number')
    expect(requests(opened.requestId!)).toHaveLength(1)
  })

  test('requests of health checks are logged at level debug only', async () => {
    for (const path of ['/livez', '/readyz']) await send(path)
    expect(linesOf('request').map(({ level }) => level)).toEqual(['debug', 'debug'])
  })
})

describe('an opt-in that ends without an ACTIVE consent', () => {
  const rejected = (): Line[] => linesOf('consent.rejected')
  /** The one line, which has the id of the request that caused it. */
  async function oneLine(cause: string): Promise<Line> {
    const line = await eventually('the line', () => Promise.resolve(rejected()[0]))
    expect(rejected()).toHaveLength(1)
    expect(line.requestId).toMatch(/^req_/)
    const [request] = await eventually('its request', () =>
      Promise.resolve(requests(line.requestId!).length > 0 && requests(line.requestId!)),
    )
    expect(`${request!.method} ${request!.route}`).toBe(cause)
    return line
  }

  test('an opt-in whose bank is unreachable leaves one log line with the request ID', async () => {
    gateway.intercept = (request) =>
      request.url.includes('account-access-consents')
        ? Promise.resolve({ status: 502, headers: {}, text: '<h1>COFFEE</h1>' })
        : undefined
    const browser = createBrowser()
    const { page } = await pages.begin(browser)
    expect(answerOf(await pages.walk(browser, page, BANK, SHARING, GO))['error']).toBe('temporarily_unavailable')
    const line = await oneLine('POST /interaction/{uid}/leave')
    expect(line).toMatchObject({ code: 'BANK_UNAVAILABLE', level: 'info' })
    expect(line.consentId).toMatch(/^cons_/)
  })

  test('an opt-in whose bank fails after the sign-in leaves one log line with the request ID', async () => {
    const browser = createBrowser()
    const { page } = await pages.begin(browser)
    const accounts = await pages.walk(browser, page, BANK, SHARING, GO, SIGN_IN)
    gateway.intercept = (request) =>
      request.url.endsWith('/aisp/accounts')
        ? Promise.resolve({ status: 200, headers: {}, text: '{"Data":{"Account":[{"COFFEE' })
        : undefined
    await pages.walk(browser, accounts, agreeToAll(accounts))
    const line = await oneLine('GET /interaction/{uid}/return')
    expect(line.code).toBe('BANK_RESPONSE_INVALID')
    expect(gateway.log.join()).not.toContain('COFFEE')
  })

  test('an opt-in that the customer refuses at the bank leaves one log line with the request ID', async () => {
    const browser = createBrowser()
    const { page } = await pages.begin(browser)
    const accounts = await pages.walk(browser, page, BANK, SHARING, GO, SIGN_IN)
    await pages.walk(browser, accounts, [['decision', 'cancel']])
    expect(await oneLine('GET /interaction/{uid}/return')).toMatchObject({ code: 'BANK_REFUSED' })
  })

  test("an opt-in that the customer declines on the gateway's page leaves one log line with the request ID", async () => {
    const browser = createBrowser()
    const { page } = await pages.begin(browser)
    await pages.walk(browser, page, [['decision', 'stop']])
    expect(await oneLine('POST /interaction/{uid}/bank')).toMatchObject({ code: 'INTERACTION_ENDED' })
  })

  test('an opt-in that the customer replaces by another bank leaves one log line with the request ID', async () => {
    const browser = createBrowser()
    const { page } = await pages.begin(browser)
    await pages.walk(browser, page, BANK, SHARING, GO)
    const uid = /\/interaction\/([^/"]+)\//.exec(page.text)![1]!
    await browser.open(`${gateway.issuer}/interaction/${uid}/sharing?bank=rheinbank`)
    const again = await browser.open(`${gateway.issuer}/interaction/${uid}/leave?bank=rheinbank&share=balances&days=90`)
    await pages.walk(browser, again, GO)
    expect(await oneLine('POST /interaction/{uid}/leave')).toMatchObject({ code: 'REPLACED' })
  })

  test('an opt-in that the customer abandons leaves one log line without a request ID', async () => {
    const browser = createBrowser()
    const { page } = await pages.begin(browser)
    await pages.walk(browser, page, BANK, SHARING, GO)
    await holdJob(gateway, 'abandoned-opt-ins')
    gateway.forward(HOUR_MS)
    await gateway.app.services.consents.jobs.rejectAbandoned()
    const lines = rejected().filter(({ code }) => code === 'ABANDONED')
    expect(lines.length).toBeGreaterThan(0)
    expect(new Set(lines.map(({ consentId }) => consentId)).size).toBe(lines.length)
    expect(lines.every(({ requestId }) => requestId === undefined)).toBe(true)
  })

  test('an opt-in whose code the platform does not redeem leaves one log line without a request ID', async () => {
    const browser = createBrowser()
    const { page } = await pages.begin(browser)
    expect(answerOf(await pages.walk(browser, page, BANK, SHARING, GO, SIGN_IN, AGREE))).toHaveProperty('code')
    const [consent] = await gateway.database.query<{ id: string }>(
      "select id from consent where status = 'ACTIVE' order by activated_at desc limit 1",
    )
    gateway.forward(150_000)
    const { id } = consent!
    await eventually('its end', async () => {
      const ended = await gateway.database.query("select 1 from consent where id = $1 and status = 'REVOKED'", [id])
      return ended.length === 1
    })
    const line = await eventually('the line', () => Promise.resolve(linesOf('consent.code_not_redeemed')[0]))
    expect(linesOf('consent.code_not_redeemed')).toHaveLength(1)
    expect(line).toMatchObject({ level: 'info', consentId: id, clientId: 'chatterbox' })
    expect(line).not.toHaveProperty('requestId')
    expect(rejected()).toEqual([])
  })
})
