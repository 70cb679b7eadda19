import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser, parseForm, type Browser, type Page } from '../../src/entrypoints/cli/browser.ts'
import { answerOf, BANK, CANCEL, consentPages, GO, SHARING, type Fields } from '../support/consent-pages.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { startTwoHostBank, type TwoHostBank } from '../support/two-host-bank.ts'

let gateway: TestGateway
let pages: ReturnType<typeof consentPages>
let scriptBank: TwoHostBank
beforeAll(async () => {
  gateway = await startGateway()
  pages = consentPages(gateway)
  scriptBank = await startTwoHostBank('scriptbank', 'Script Bank', gateway.issuer, 'OAUTH')
  scriptBank.authorizationEndpoint = 'javascript:alert(document.domain)'
  const { banks } = gateway.app.services
  const connector = await banks.register('rheinbank-partner', {
    standard: 'BERLIN_GROUP',
    registration: scriptBank.registration,
  })
  await gateway.database.query("update connector set status = 'ACTIVE' where id = $1", [connector.id])
})
afterAll(async () => {
  await scriptBank.close()
  await gateway.close()
})

const visitIn = ({ text }: Page): string => /\/interaction\/([\w-]+)\//.exec(text)![1]!
const isRedirectPage = (url: URL): boolean => /^\/interaction\/[\w-]+\/to-(bank|platform)$/.test(url.pathname)

/** One page as this browser gets it, without going on. */
async function load(browser: Browser, address: string): Promise<{ status: number; headers: Headers; text: string }> {
  const answer = await fetch(address, { redirect: 'manual', headers: { cookie: browser.cookiesFor(address) } })
  return { status: answer.status, headers: answer.headers, text: await answer.text() }
}

/** Walks up to the redirect page and not over it. */
async function untilRedirect(browser: Browser, ...steps: Fields[]): Promise<string> {
  const { page } = await pages.begin(browser)
  const last = await pages.walk(browser, page, ...steps.slice(0, -1))
  return (await browser.submit(last, steps.at(-1)!, isRedirectPage)).url
}

const linkIn = (text: string): string | undefined =>
  /<a class="button" href="([^"]+)" rel="noreferrer">/.exec(text)?.[1]
const refreshIn = (text: string): string | undefined => /http-equiv="refresh" content="0;url=([^"]+)"/.exec(text)?.[1]

describe('a form of our pages', () => {
  test("every form of the gateway's pages gets a redirect to a page of the gateway", async () => {
    const browser = createBrowser()
    const send = async (page: Page, fields: Fields): Promise<string> => {
      const action = new URL(parseForm(page).action, gateway.issuer).href
      const answer = await fetch(action, {
        method: 'POST',
        redirect: 'manual',
        headers: { cookie: browser.cookiesFor(action) },
        body: new URLSearchParams([
          ...parseForm(page).fields.map(([name, value]): [string, string] => [name, value]),
          ...fields,
        ]),
      })
      expect(answer.status).toBe(303)
      return new URL(answer.headers.get('location')!, action).origin
    }
    for (const steps of [[BANK], [BANK, SHARING], [BANK, SHARING, GO]])
      for (const last of [steps.at(-1)!, CANCEL]) {
        const page = await pages.walk(browser, (await pages.begin(browser)).page, ...steps.slice(0, -1))
        expect(await send(page, last)).toBe(gateway.issuer)
      }
    await gateway.customer('ada', ['northbank'], { browser })
    const [, stop] = /href="(\/sharing\/[^"]+\/stop)"/.exec((await browser.open(`${gateway.issuer}/sharing`)).text)!
    expect(await send(await browser.open(`${gateway.issuer}${stop!}`), [])).toBe(gateway.issuer)
  })

  test("a form of the gateway's pages can be submitted only to the gateway", async () => {
    const browser = createBrowser()
    const { page } = await pages.begin(browser)
    for (const path of ['', '/sharing?bank=northbank', '/leave?bank=northbank&days=30']) {
      const { headers } = await load(browser, `${gateway.issuer}/interaction/${visitIn(page)}${path}`)
      expect(headers.get('content-security-policy')).toMatch(/; form-action 'self'; /)
    }
    for (const steps of [[BANK, SHARING, GO], [CANCEL]]) {
      const { headers } = await load(browser, await untilRedirect(browser, ...steps))
      expect(headers.get('content-security-policy')).toMatch(/; form-action 'self'; /)
    }
  })
})

describe('a redirect page', () => {
  test('a redirect page names its destination, goes there by itself or by a link, and sends no referrer', async () => {
    const browser = createBrowser()
    const { headers, text, status } = await load(browser, await untilRedirect(browser, BANK, SHARING, GO))
    expect(status).toBe(200)
    expect(text).toContain(`<strong>${new URL(gateway.sandbox.banks.northbank).host}</strong>`)
    expect(linkIn(text)).toMatch(new RegExp(`^${gateway.sandbox.banks.northbank}/authorize\\?`))
    expect(refreshIn(text)).toBe(linkIn(text))
    expect(headers.get('referrer-policy')).toBe('no-referrer')
    expect(headers.get('cache-control')).toBe('no-store')
  })

  test('a redirect page leads back to the platform, which gets the response', async () => {
    const browser = createBrowser()
    const { text } = await load(browser, await untilRedirect(browser, CANCEL))
    expect(text).toContain('Going to Chatterbox')
    const address = linkIn(text)!.replaceAll('&#38;', '&')
    expect(address.startsWith(`${gateway.sandbox.platform}/callback?`)).toBe(true)
    expect(answerOf({ url: address } as Page)).toMatchObject({ error: 'access_denied', iss: gateway.issuer })
  })

  test('a redirect page shows nothing to another browser, even if that has its own interaction', async () => {
    const address = await untilRedirect(createBrowser(), BANK, SHARING, GO)
    const thief = createBrowser()
    await pages.begin(thief)
    for (const browser of [createBrowser(), thief]) {
      const { status, text } = await load(browser, address)
      expect(status).toBe(400)
      expect(text).not.toMatch(/authorize|Northbank/)
    }
  })

  test('a redirect page has one destination, which its URL cannot change, and none before the interaction ends', async () => {
    const browser = createBrowser()
    const { page } = await pages.begin(browser)
    for (const direction of ['to-bank', 'to-platform']) {
      const query = new URLSearchParams({
        url: 'https://evil.example',
        address: 'https://evil.example',
        to: '//evil.example',
      })
      const one = await load(browser, `${gateway.issuer}/interaction/${visitIn(page)}/${direction}?${query.toString()}`)
      expect([one.status, one.headers.get('location')]).toEqual([303, `/interaction/${visitIn(page)}`])
      expect(one.text).not.toContain('evil')
    }
    const address = await untilRedirect(browser, BANK, SHARING, GO)
    expect((await load(browser, `${address}?url=https://evil.example`)).text).not.toContain('evil')
  })

  test('a redirect page that is loaded again continues only by its link, to the same URL', async () => {
    const browser = createBrowser()
    const address = await untilRedirect(browser, BANK, SHARING, GO)
    const [first, second] = [await load(browser, address), await load(browser, address)]
    expect(refreshIn(first.text)).toBeDefined()
    expect(refreshIn(second.text)).toBeUndefined()
    expect(linkIn(second.text)).toBe(linkIn(first.text))
  })

  test("if a bank's sign-in URL is a script, the redirect page leads to the platform instead", async () => {
    const browser = createBrowser()
    const { page, state } = await pages.begin(browser)
    const bank: Fields = [
      ['bank', 'scriptbank'],
      ['decision', 'go'],
    ]
    const back = await pages.walk(browser, page, bank, SHARING, GO)
    expect(answerOf(back)).toMatchObject({ error: 'temporarily_unavailable', state })
    expect((await load(browser, `${gateway.issuer}/interaction/${visitIn(page)}/to-bank`)).text).not.toContain(
      'javascript',
    )
  })

  test('a redirect page is stored without its URL, which contains a code', async () => {
    const browser = createBrowser()
    const { text } = await load(browser, await untilRedirect(browser, BANK, SHARING, GO))
    const state = new URL(linkIn(text)!.replaceAll('&#38;', '&')).searchParams.get('request')!
    const rows = JSON.stringify(await gateway.database.query('select * from oauth_artifact'))
    expect(rows).toContain('RedirectTarget')
    expect(rows).not.toContain(state)
    expect(rows).not.toContain('/authorize?')
  })

  test('the redirect page to the platform expires with the authorization code', async () => {
    const browser = createBrowser()
    const address = await untilRedirect(browser, CANCEL)
    gateway.forward(80_000)
    const { status, headers } = await load(browser, address)
    expect([status, headers.get('location')]).toEqual([
      303,
      address.slice(gateway.issuer.length, -'/to-platform'.length),
    ])
    const over = await browser.open(address, () => false)
    expect([over.status, linkIn(over.text)]).toEqual([410, undefined])
  })
})
