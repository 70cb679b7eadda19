import { generateKeyPairSync } from 'node:crypto'
import { SignJWT } from 'jose'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { AGREE, answerOf, BANK, consentPages, DETAILS, GO, SHARING, SIGN_IN } from '../support/consent-pages.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { holdJob } from '../support/scheduled-jobs.ts'

let gateway: TestGateway
let pages: ReturnType<typeof consentPages>
beforeAll(async () => {
  gateway = await startGateway()
  pages = consentPages(gateway)
})
afterAll(() => gateway.close())
beforeEach(() => {
  gateway.intercept = undefined
})

describe('an opt-in that fails', () => {
  test('a bank that cannot be reached leads back to the platform with temporarily_unavailable', async () => {
    gateway.intercept = (request) =>
      request.url.includes('account-access-consents')
        ? Promise.resolve({ status: 502, headers: {}, text: '<h1>Bad gateway</h1>' })
        : undefined
    const browser = createBrowser()
    const { page, state } = await pages.begin(browser)
    expect(answerOf(await pages.walk(browser, page, BANK, SHARING, GO))).toMatchObject({
      error: 'temporarily_unavailable',
      state,
    })
  })

  test('a bank that fails after the sign-in leads back to the platform and leaves no active consent', async () => {
    const browser = createBrowser()
    const { page, state } = await pages.begin(browser)
    const accounts = await pages.walk(browser, page, BANK, SHARING, GO, SIGN_IN)
    gateway.intercept = (request) =>
      request.url.endsWith('/aisp/accounts')
        ? Promise.resolve({ status: 200, headers: {}, text: '{"Data":{"Account":[{"Acc' })
        : undefined
    const back = await pages.walk(browser, accounts, AGREE)
    expect(answerOf(back)).toMatchObject({ error: 'temporarily_unavailable', state })
    const [row] = await gateway.database.query<{ status: string }>(
      'select status from consent order by created_at desc limit 1',
    )
    expect(row!.status).toBe('REJECTED')
  })

  test("the bank's callback works once, and only in the browser that started the interaction", async () => {
    const browser = createBrowser()
    const callback = await pages.untilCallback(browser)
    const thief = await createBrowser().open(callback.url, pages.isPlatform)
    expect(thief.status).toBe(400)
    expect(thief.text).toContain('no longer valid')
    const rightful = await browser.open(callback.url, pages.isPlatform)
    expect(answerOf(rightful)['code']).toBeDefined()
    const before = await gateway.database.query('select 1 from consent')
    const again = await browser.open(callback.url, pages.isPlatform)
    expect(again.text).toContain('Continue to Chatterbox')
    expect(await gateway.database.query('select 1 from consent')).toHaveLength(before.length)
  })

  test('a bank response for one interaction is refused by another interaction of the same browser', async () => {
    const browser = createBrowser()
    const callback = await pages.untilCallback(browser)
    const other = await pages.begin(browser)
    const uid = /\/interaction\/([^/"]+)\//.exec(other.page.text)![1]!
    const mixed = await browser.open(
      `${gateway.issuer}/interaction/${uid}/return${new URL(callback.url).search}`,
      pages.isPlatform,
    )
    expect(mixed.status).toBe(400)
    expect(answerOf(await browser.open(callback.url, pages.isPlatform))['code']).toBeDefined()
  })

  test('ten concurrent returns with one code create one consent', async () => {
    const browser = createBrowser()
    const callback = await pages.untilCallback(browser)
    const since = new Date()
    const results = await Promise.all(Array.from({ length: 10 }, () => browser.open(callback.url, pages.isPlatform)))
    expect(results.filter((result) => answerOf(result)['code'] !== undefined)).toHaveLength(1)
    // Others end meanwhile, because nobody redeems their codes.
    const active = await gateway.database.query(
      "select 1 from consent where status = 'ACTIVE' and activated_at >= $1",
      [since],
    )
    expect(active).toHaveLength(1)
  })

  test('a callback with an invented state, no state or an incomplete response gets an error page and nothing else', async () => {
    for (const query of [
      'state=made-up&code=x',
      'code=x',
      'response=a.b.c',
      `response=x.${Buffer.from('{"state":"<script>"}').toString('base64url')}.y`,
    ]) {
      const page = await createBrowser().open(`${gateway.issuer}/bank/callback?${query}`)
      expect(page.status).toBe(400)
      expect(page.text).not.toContain('<script>')
      expect(page.text).toContain('no longer valid')
      // For an address of no visit, the gateway cannot tell whether there ever was one.
      expect(page.text).not.toContain('Nothing was shared')
    }
  })

  test('a bank response that was modified in transit is refused', async () => {
    const browser = createBrowser()
    const callback = await pages.untilCallback(browser)
    const stolen = new URL(callback.url)
    const response = stolen.searchParams.get('response')!
    const [head, body, signature] = response.split('.')
    const claims = JSON.parse(Buffer.from(body!, 'base64url').toString()) as Record<string, unknown>
    stolen.searchParams.set(
      'response',
      [head, Buffer.from(JSON.stringify({ ...claims, code: 'another' })).toString('base64url'), signature].join('.'),
    )
    expect(answerOf(await browser.open(stolen.href, pages.isPlatform))).toMatchObject({
      error: 'temporarily_unavailable',
    })
  })

  test.each([
    ['no authorization_details of our type', { details: { type: 'payment_initiation' } }],
    ['an action that does not exist', { details: { ...DETAILS, actions: ['transactions:read'] } }],
    ['a purpose that cannot be said', { details: { ...DETAILS, purposes: ['ADVERTISING'] } }],
    ['an action that is not in its scope', { scope: 'openid accounts:read' }],
    ['a member that nobody asked for', { details: { ...DETAILS, merchants: true } }],
  ])('a request with %s is refused when it is pushed', async (_what, change) => {
    await expect(pages.begin(createBrowser(), change)).rejects.toThrow(/invalid_authorization_details/)
  })

  test('an action that the client is not registered for cannot be requested, so no customer is asked for it', async () => {
    const { clients } = gateway.app.services
    const { scopes } = (await clients.find('chatterbox'))!
    await clients.update('admin', 'chatterbox', { scopes: scopes.filter((scope) => scope !== 'balances:exact') })
    await expect(pages.begin(createBrowser())).rejects.toThrow(/invalid_authorization_details/)
    await clients.update('admin', 'chatterbox', { scopes })
  })

  test('an abandoned interaction is rejected after its time limit, together with its consent', async () => {
    const browser = createBrowser()
    // At the bank in time: the end of its own consent, which the gateway asks of it later, would otherwise come first at times.
    const callback = await pages.untilCallback(browser)
    await holdJob(gateway, 'abandoned-opt-ins')
    gateway.forward(31 * 60_000)
    expect(await gateway.app.services.consents.jobs.rejectAbandoned()).toBeGreaterThan(0)
    expect(await gateway.database.query("select 1 from consent where status = 'PENDING'")).toEqual([])
    const late = await browser.open(callback.url, pages.isPlatform)
    expect([late.status, late.text.includes('Nothing was shared')]).toEqual([410, true])
  })

  test('a form post to a consent page from another site or interaction is refused', async () => {
    const browser = createBrowser()
    const { page } = await pages.begin(browser)
    const other = await pages.begin(createBrowser())
    const uid = /\/interaction\/([^/"]+)\//.exec(other.page.text)![1]!
    const foreign = await browser.open(`${gateway.issuer}/interaction/${uid}`)
    expect(foreign.status).toBe(400)
    const action = new URL(/action="([^"]+)"/.exec(page.text)![1]!, gateway.issuer).href
    const submit = (origin: string) =>
      fetch(action, {
        method: 'POST',
        redirect: 'manual',
        headers: { origin, cookie: browser.cookiesFor(action) },
        body: new URLSearchParams({ decision: 'go', bank: 'northbank' }),
      })
    for (const origin of ['https://evil.example', 'null', `${gateway.issuer}.evil.example`])
      expect((await submit(origin)).status).toBe(403)
    expect((await submit(gateway.issuer)).status).toBe(303)
  })

  test('an ID token that was modified, signed by another key or issued to another client names no customer', async () => {
    const ada = await gateway.customer('ada', ['northbank'])
    const other = await gateway.customer('ada', ['northbank'], { clientId: 'chatterbox-bearer' })
    const [head, body, signature] = ada.idToken!.split('.')
    const claims = JSON.parse(Buffer.from(body!, 'base64url').toString()) as Record<string, unknown>
    const changed = [
      head,
      Buffer.from(JSON.stringify({ ...claims, sub: 'somebody' })).toString('base64url'),
      signature,
    ].join('.')
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const forged = await new SignJWT(claims).setProtectedHeader({ alg: 'ES256', typ: 'JWT' }).sign(privateKey)
    const none = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${body}.`
    for (const idTokenHint of [changed, forged, none, other.idToken!, 'nonsense']) {
      const outcome = await pages.begin(createBrowser(), { idTokenHint }).then(
        ({ page }) => (page.text.includes('Choose your bank') ? 'LET IN' : 'refused'),
        () => 'refused',
      )
      expect(outcome).toBe('refused')
    }
  })
})
