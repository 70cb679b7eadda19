import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser, type Browser, type Page } from '../../src/entrypoints/cli/browser.ts'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { holdRows } from '../support/locked-rows.ts'
import { visits } from '../support/interactions.ts'

let gateway: TestGateway
let at: ReturnType<typeof visits>
beforeAll(async () => {
  gateway = await startGateway()
  at = visits(gateway)
})
afterAll(() => gateway.close())

const SIGN_OUT = '/sharing/sign-out'

/** Presses the button of the page's form that leads to `action`. */
async function press(browser: Browser, page: Page, action: string): Promise<Page> {
  expect(page.text).toContain(`action="${action}"`)
  return browser.open(`${gateway.issuer}${action}`, () => false, new URLSearchParams())
}

const post = (path: string, cookie: string, headers: Record<string, string> = { origin: gateway.issuer }) =>
  fetch(`${gateway.issuer}${path}`, { method: 'POST', redirect: 'manual', headers: { cookie, ...headers } })

/** A request to the authorization server, which reads and writes the session of these cookies. */
const sendWith = (cookie: string): Promise<Response> =>
  fetch(`${gateway.issuer}/oauth/authorize?client_id=chatterbox&request_uri=urn:any`, {
    redirect: 'manual',
    headers: { cookie },
  })

const stopLinks = ({ text }: Page): string[] =>
  [...text.matchAll(/href="(\/sharing\/[^"]+\/stop)"/g)].map(([, l]) => l!)

const sessions = async (): Promise<number> =>
  (await gateway.database.query("select 1 from oauth_artifact where kind = 'Session' and consumed_at is null")).length

describe('“Sign out of this browser”', () => {
  test('“Sign out of this browser” ends the session in every tab and on the server, and no consent', async () => {
    const browser = createBrowser()
    const token = await gateway.customer('ada', ['northbank'], { browser })
    const page = await at.sharing(browser)
    const stolen = browser.cookiesFor(`${gateway.issuer}/sharing`)
    const before = await sessions()
    const out = await press(browser, page, SIGN_OUT)
    expect(out.text).toContain('You are signed out')
    expect(out.text).toContain('Signing out does not stop any sharing')
    expect(await sessions()).toBe(before - 1)
    expect(browser.cookiesFor(`${gateway.issuer}/sharing`)).not.toContain('guichet_session')
    // Another tab, or a copy of the cookie that was taken before.
    const other = await fetch(`${gateway.issuer}/sharing`, { headers: { cookie: stolen } })
    expect(other.status).toBe(401)
    for (const link of stopLinks(page)) {
      const answer = await post(link, stolen)
      expect(answer.status).toBe(401)
    }
    expect((await gateway.ask(token, '{ customer { id } }')).errors).toBeUndefined()
  })

  test('“Sign out of this browser” ends the session even if a concurrent request sends its cookie', async () => {
    const browser = createBrowser()
    await gateway.customer('ada', ['northbank'], { browser })
    const page = await at.sharing(browser)
    const copy = browser.cookiesFor(`${gateway.issuer}/sharing`)
    const held = await holdRows(gateway, "select 1 from oauth_artifact where kind = 'Session' for update")
    const signingOut = press(browser, page, SIGN_OUT)
    await held.waiting(1)
    const underWay = sendWith(copy)
    await held.waiting(2)
    await held.release()
    await Promise.all([signingOut, underWay])
    expect((await fetch(`${gateway.issuer}/sharing`, { headers: { cookie: copy } })).status).toBe(401)
  })

  test('“Sign out of this browser” is on each page that a session opens', async () => {
    const browser = createBrowser()
    await gateway.customer('bo', ['northbank'], { browser })
    const page = await at.sharing(browser)
    const stop = await browser.open(`${gateway.issuer}${stopLinks(page)[0]!}`)
    for (const { text } of [page, stop]) expect(text).toContain(`action="${SIGN_OUT}"`)
  })

  test('“Sign out of this browser” cannot be pressed by another site', async () => {
    const browser = createBrowser()
    await gateway.customer('bo', ['northbank'], { browser })
    const cookies = browser.cookiesFor(`${gateway.issuer}/sharing`)
    for (const origin of ['https://evil.example', 'null'])
      expect((await post(SIGN_OUT, cookies, { origin })).status).toBe(403)
    expect((await at.sharing(browser)).status).toBe(200)
  })

  test('“Sign out of this browser” shows the same page twice and without a session', async () => {
    const browser = createBrowser()
    await gateway.customer('bo', ['northbank'], { browser })
    const cookies = browser.cookiesFor(`${gateway.issuer}/sharing`)
    const answers = await Promise.all([post(SIGN_OUT, cookies), post(SIGN_OUT, cookies), post(SIGN_OUT, '')])
    expect(answers.map(({ status }) => status)).toEqual([303, 303, 303])
    expect((await at.sharing(browser)).status).toBe(401)
  })
})

describe('a session', () => {
  const withdraw = (token: Token) =>
    gateway.ask(token, 'mutation { withdrawConsents(input: { all: true }) { consents { id } } }')

  test('a session ends when its customer stops the last consent on the page, which still shows the receipt', async () => {
    const browser = createBrowser()
    await gateway.customer('finn', ['northbank', 'rheinbank'], { browser })
    const copy = browser.cookiesFor(`${gateway.issuer}/sharing`)
    const [first, second] = stopLinks(await at.sharing(browser))
    const stopped = await browser.submit(await browser.open(`${gateway.issuer}${first!}`), [])
    expect(stopped.text).toContain('Sharing has stopped')
    expect((await at.sharing(browser)).status).toBe(200)
    const last = await browser.submit(await browser.open(`${gateway.issuer}${second!}`), [])
    expect(last.text).toMatch(/Sharing has stopped[\s\S]*<dt>You<\/dt>\s*<dd>done<\/dd>/)
    expect(last.text).toContain('You no longer share anything, so this browser was signed out')
    // Loaded again it says the same to this browser, and nothing to another.
    expect((await browser.open(last.url)).text).toContain('Sharing has stopped')
    expect((await createBrowser().open(last.url)).status).toBe(401)
    expect((await at.sharing(browser)).status).toBe(401)
    expect((await fetch(`${gateway.issuer}/sharing`, { headers: { cookie: copy } })).status).toBe(401)
  })

  test('a session ends when its customer stops all sharing in the chat', async () => {
    const browser = createBrowser()
    const token = await gateway.customer('cleo', ['rheinbank'], { browser })
    expect((await at.sharing(browser)).status).toBe(200)
    await withdraw(token)
    await eventually('the end of the session', async () => (await at.sharing(browser)).status === 401)
  })

  test('a session that its customer ends in the chat stays ended, even if a concurrent request sends its cookie', async () => {
    const browser = createBrowser()
    const token = await gateway.customer('cleo', ['rheinbank'], { browser })
    const copy = browser.cookiesFor(`${gateway.issuer}/sharing`)
    const held = await holdRows(gateway, "select 1 from oauth_artifact where kind = 'Session' for update")
    await withdraw(token)
    await held.waiting(1)
    const underWay = sendWith(copy)
    await held.waiting(2)
    await held.release()
    await underWay
    expect((await fetch(`${gateway.issuer}/sharing`, { headers: { cookie: copy } })).status).toBe(401)
  })

  test('a session continues if the platform, and not its customer, ended the last consent', async () => {
    const browser = createBrowser()
    const token = await gateway.customer('dan', ['northbank'], { browser })
    await gateway.app.services.consents.revokeByOauthGrant(token.grantId!, 'CLIENT')
    const page = await at.sharing(browser)
    expect([page.status, page.text.includes('You share nothing at the moment')]).toEqual([200, true])
  })

  test('a new session starts with the next sign-in at a bank after a session has ended', async () => {
    const browser = createBrowser()
    await withdraw(await gateway.customer('cleo', ['rheinbank'], { browser }))
    await gateway.customer('cleo', ['rheinbank'], { browser })
    expect((await at.sharing(browser)).status).toBe(200)
  })
})

describe('the stop page', () => {
  test.each([
    ['CUSTOMER_AT_GATEWAY', 'You stopped sharing Northbank with Chatterbox on'],
    ['CUSTOMER_AT_BANK', 'Sharing Northbank with Chatterbox was stopped at the bank on'],
    ['CLIENT', 'Chatterbox ended the sharing of Northbank on'],
    ['ADMIN', 'The operator of Guichet ended the sharing of Northbank with Chatterbox on'],
    ['SYSTEM', 'Guichet ended the sharing of Northbank with Chatterbox on'],
  ] as const)(
    'the stop page of an ended consent (%s) shows when and by whom it ended, and has no form',
    async (by, words) => {
      const browser = createBrowser()
      const ended = await gateway.customer('ada', ['northbank'], { browser })
      await gateway.customer('ada', ['rheinbank'], { browser, idTokenHint: ended.idToken })
      const [{ id } = { id: '' }] = await gateway.database.query<{ id: string }>(
        'select id from consent where oauth_grant_id = $1',
        [ended.grantId],
      )
      await gateway.app.services.consents.revoke(id, by)
      for (const page of ['stop', 'stopped']) {
        const { text } = await browser.open(`${gateway.issuer}/sharing/${id}/${page}`)
        expect(text).toMatch(new RegExp(`${words} \\d{4}-\\d\\d-\\d\\d at \\d\\d:\\d\\d UTC`))
        expect(text).not.toMatch(/<form[^>]*\/stop"|\?<\/h1>/)
      }
      // A form of a tab that was open before ends nothing twice and says the same.
      const answer = await post(`/sharing/${id}/stop`, browser.cookiesFor(`${gateway.issuer}/sharing`))
      expect(answer.headers.get('location')).toBe(`/sharing/${id}/stopped`)
    },
  )

  test('the stop page of an expired consent shows the expiry, before and after it is stored', async () => {
    const browser = createBrowser()
    const token = await gateway.customer('bo', ['northbank'], { browser })
    const [{ id } = { id: '' }] = await gateway.database.query<{ id: string }>(
      "update consent set expires_at = now() - interval '1 minute' where oauth_grant_id = $1 returning id",
      [token.grantId],
    )
    const look = async () => (await browser.open(`${gateway.issuer}/sharing/${id}/stop`)).text
    expect(await look()).toContain('The time for which you shared Northbank with Chatterbox was over on')
    expect((await at.sharing(browser)).text).not.toContain(`/sharing/${id}/stop`)
    await gateway.app.services.consents.jobs.endExpired()
    expect(await look()).toContain('The time for which you shared Northbank with Chatterbox was over on')
  })

  test('the stop page shows what continues: another bank, or another consent for the same bank', async () => {
    const browser = createBrowser()
    const first = await gateway.customer('ada', ['northbank'], { browser, clientId: 'chatterbox-bearer' })
    await gateway.customer('ada', ['northbank'], { browser, clientId: 'chatterbox-bearer', idTokenHint: first.idToken })
    await gateway.customer('ada', ['rheinbank'], { browser, clientId: 'chatterbox-bearer', idTokenHint: first.idToken })
    const [{ id, platform } = { id: '', platform: '' }] = await gateway.database.query<{
      id: string
      platform: string
    }>(
      `select consent.id, organization.name as platform from consent join client on client.id = client_id
       join organization on organization.id = organization_id where oauth_grant_id = $1`,
      [first.grantId],
    )
    const stop = await browser.open(`${gateway.issuer}/sharing/${id}/stop`)
    expect(stop.text).toContain(`You still share Northbank and Rheinbank with ${platform} under other agreements`)
    const stopped = await browser.submit(stop, [])
    expect(stopped.text).toContain(`You still share Northbank and Rheinbank with ${platform} under other agreements`)
    expect(stopped.text).not.toMatch(/no longer sees anything|was signed out/)
  })
})
