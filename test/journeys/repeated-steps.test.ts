import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser, parseForm, type Browser, type Page } from '../../src/entrypoints/cli/browser.ts'
import { AGREE, answerOf, BANK, CANCEL, GO, SHARING, SIGN_IN, type Fields } from '../support/consent-pages.ts'
import { digest } from '../../src/kernel/ids.ts'
import { holdRows } from '../support/locked-rows.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { isResume, RHEINBANK, visits } from '../support/interactions.ts'

let gateway: TestGateway
let at: ReturnType<typeof visits>
beforeAll(async () => {
  gateway = await startGateway()
  at = visits(gateway)
})
afterAll(() => gateway.close())
afterEach(() => {
  gateway.intercept = undefined
})

const AT_ONCE = 12
const isCallback = (url: URL): boolean => url.pathname === '/bank/callback'
const uidIn = ({ text }: Page): string => /\/interaction\/([\w-]+)\//.exec(text)![1]!

/** A visit that stops at the bank's callback, with the pages that its browser has seen. */
async function untilCallback(browser: Browser = createBrowser(), answer: Fields = []) {
  const { page, redeem, state } = await at.pages.begin(browser)
  const sharing = await at.pages.walk(browser, page, [...answer, ...BANK])
  const leaving = await at.pages.walk(browser, sharing, SHARING)
  const atBank = await at.pages.walk(browser, leaving, GO, SIGN_IN)
  const callback = (await browser.submit(atBank, AGREE, isCallback)).url
  return { browser, pages: [page, sharing, leaving] as const, callback, redeem, state, uid: uidIn(page) }
}

/** A visit whose customer is back at the platform, which has not redeemed its code yet. */
async function untilCode() {
  const visit = await untilCallback()
  const { code } = answerOf(await visit.browser.open(visit.callback, at.pages.isPlatform))
  expect(code).toBeDefined()
  return { ...visit, code: code! }
}

const open = (browser: Browser, address: string): Promise<Page> => browser.open(address, at.pages.isPlatform)

/** The code that a page or an address leads to the platform with. */
function codeIn(page: Page): string | undefined {
  if (at.pages.isPlatform(new URL(page.url))) return answerOf(page)['code']
  const link = /<a class="button" href="([^"]+)" rel="noreferrer">/.exec(page.text)?.[1]
  return link && (new URL(link.replaceAll('&#38;', '&')).searchParams.get('code') ?? undefined)
}

const words = ({ text }: Page): string =>
  text
    .replace(/<style>.*?<\/style>|<[^>]+>/gs, ' ')
    .replace(/\s+/g, ' ')
    .trim()

async function activeSince(since: Date): Promise<number> {
  return (await gateway.database.query("select 1 from consent where status = 'ACTIVE' and created_at >= $1", [since]))
    .length
}

async function post(browser: Browser, page: Page, fields: Fields): Promise<Page> {
  return browser.submit(page, fields, at.pages.isPlatform)
}

/** Every page of a visit that a browser can go back to or post once more. */
const addressesOf = ({ uid, pages: [, sharing, leaving] }: { uid: string; pages: readonly Page[] }): string[] => [
  `${gateway.issuer}/interaction/${uid}`,
  sharing!.url,
  leaving!.url,
  `${gateway.issuer}/interaction/${uid}/to-bank`,
  `${gateway.issuer}/interaction/${uid}/to-platform`,
  `${gateway.issuer}/oauth/authorize/${uid}`,
]

describe('a return from the bank', () => {
  test('a return from the bank that is reloaded while the bank responds leads to the platform with the same code', async () => {
    const since = new Date()
    const { browser, callback } = await untilCallback()
    const bank = gateway.holdNext('/aisp/accounts')
    const first = open(browser, callback)
    await bank.reached
    const second = open(browser, callback)
    await fetch(`${gateway.issuer}/livez`)
    bank.letGo()
    const codes = (await Promise.all([first, second])).map(codeIn)
    expect(codes[0]).toBeDefined()
    expect(codes[1]).toBe(codes[0])
    expect(await activeSince(since)).toBe(1)
  })

  test('concurrent loads of the return from the bank all lead to the platform, and create one consent', async () => {
    const since = new Date()
    const { browser, callback, redeem } = await untilCallback()
    const pages = await Promise.all(Array.from({ length: AT_ONCE }, () => open(browser, callback)))
    const codes = pages.map(codeIn)
    expect(pages.filter(({ text }) => text.includes('Nothing was shared'))).toEqual([])
    expect(new Set(codes).size).toBe(1)
    expect(await activeSince(since)).toBe(1)
    await redeem(codes[0]!)
  })

  test('a return from the bank that is reloaded before the code is redeemed leads there with the same code', async () => {
    const { browser, callback, code } = await untilCode()
    expect(codeIn(await open(browser, callback))).toBe(code)
  })

  test('a return from the bank that is reloaded after the code is redeemed shows what is shared, and no code', async () => {
    const { browser, callback, code, redeem } = await untilCode()
    await redeem(code)
    const again = await open(browser, callback)
    expect(again.status).toBe(200)
    expect(words(again)).toMatch(/You share Northbank with Chatterbox until \d{4}-\d\d-\d\d/)
    expect(again.text).not.toContain('code=')
  })

  test('a return from the bank that ends after “Not now” leads to the platform without a code', async () => {
    const { browser, callback, pages, state } = await untilCallback()
    const bank = gateway.holdNext('/aisp/accounts')
    const back = open(browser, callback)
    await bank.reached
    const cancelled = await post(browser, pages[0], CANCEL)
    bank.letGo()
    expect(answerOf(cancelled)).toMatchObject({ error: 'access_denied', state })
    expect(codeIn(await back)).toBeUndefined()
    expect((await back).text).not.toContain('did not work')
    expect(await at.newest()).toMatchObject({ status: 'REJECTED' })
  })

  test('a return from the bank in another browser gets an error that names neither bank nor platform', async () => {
    const { callback } = await untilCode()
    const other = await open(createBrowser(), callback)
    expect(other.status).toBe(400)
    expect(words(other)).not.toMatch(/Nothing was shared|Northbank|Chatterbox/)
  })
})

describe('every page of an interaction', () => {
  test('every page that is reloaded or reposted before the code is redeemed leads on with the same code', async () => {
    const visit = await untilCode()
    for (const address of addressesOf(visit)) expect(codeIn(await open(visit.browser, address))).toBe(visit.code)
    for (const [index, fields] of [BANK, SHARING, GO].entries())
      expect(codeIn(await post(visit.browser, visit.pages[index]!, fields))).toBe(visit.code)
  })

  test('every page that is reloaded or reposted after sharing, also by “Not now”, shows that the bank is shared', async () => {
    const visit = await untilCode()
    const token = await visit.redeem(visit.code)
    const seen: Page[] = []
    for (const address of addressesOf(visit)) seen.push(await open(visit.browser, address))
    for (const [index, fields] of [BANK, SHARING, GO, CANCEL].entries())
      seen.push(await post(visit.browser, visit.pages[Math.min(index, 2)]!, fields))
    for (const page of seen) expect(words(page)).toContain('You share Northbank with Chatterbox until')
    expect((await gateway.ask(token, '{ customer { id } }')).errors).toBeUndefined()
  })

  test('every page of an interaction shows when and by whom sharing was ended', async () => {
    const visit = await untilCode()
    const token = await visit.redeem(visit.code)
    await gateway.ask(token, 'mutation { withdrawConsents(input: { all: true }) { userErrors { code } } }')
    for (const address of addressesOf(visit)) {
      const page = await open(visit.browser, address)
      expect(words(page)).toMatch(/You stopped sharing Northbank with Chatterbox on \d{4}-\d\d-\d\d at \d\d:\d\d UTC/)
    }
  })

  test('every page of an interaction shows that nothing is shared once the platform has the refusal', async () => {
    const { browser, pages, ...visit } = await untilCallback()
    expect(answerOf(await post(browser, pages[0], CANCEL))).toMatchObject({ error: 'access_denied' })
    gateway.forward(80_000)
    for (const address of [visit.callback, ...addressesOf({ ...visit, pages })]) {
      const page = await open(browser, address)
      expect([address, page.status, words(page).includes('Nothing was shared')]).toEqual([address, 410, true])
    }
  })

  test('no page of an interaction shows anything about it to another browser', async () => {
    const visit = await untilCode()
    for (const address of addressesOf(visit)) {
      const page = await open(createBrowser(), address)
      expect(page.status).toBeGreaterThanOrEqual(400)
      expect(page.text).not.toMatch(/Northbank|Chatterbox|code=|Nothing was shared/)
    }
  })
})

describe('“Not now”', () => {
  test('concurrent “Not now” and “Go” of one page have one outcome, which the platform gets', async () => {
    for (let round = 0; round < 10; round++) {
      const since = new Date()
      const { browser, pages, callback } = await untilCallback()
      const [back, cancelled] = await Promise.all([open(browser, callback), post(browser, pages[2], CANCEL)])
      const isShared = [back, cancelled].some((page) => codeIn(page) !== undefined)
      expect(await activeSince(since)).toBe(isShared ? 1 : 0)
      for (const page of [back, cancelled])
        expect([page.text.includes('Nothing was shared'), isShared]).not.toEqual([true, true])
    }
  })

  test('“Not now” during another end of the interaction does not start it again', async () => {
    const { browser, pages, uid } = await untilCallback()
    const visit = "kind = 'Interaction' and id = $1"
    const held = await holdRows(gateway, `select 1 from oauth_artifact where ${visit} for update`, [digest(uid)])
    const pressed = browser.submit(pages[2], CANCEL, () => true)
    await held.waiting(1)
    const end = `update oauth_artifact set payload = '{}', consumed_at = now() where ${visit}`
    await held.change(end, [digest(uid)])
    await held.release()
    expect((await pressed).url).not.toContain('/oauth/authorize')
    expect(words(await open(browser, `${gateway.issuer}/interaction/${uid}`))).toContain('Nothing was shared')
  })

  test.each([
    ['while the return from the bank decides otherwise', false],
    ['while the way back is taken by a browser with a session of before', true],
  ])('“Not now” that is sent %s is the outcome that the platform gets', async (_when, isDecided) => {
    const browser = createBrowser()
    if (isDecided) await gateway.customer('ada', ['rheinbank'], { browser })
    const { uid, callback } = await untilCallback(browser, isDecided ? [['same', 'yes']] : [])
    const address = isDecided ? (await browser.open(callback, isResume)).url : callback
    const visit = "kind = 'Interaction' and id = $1"
    const held = await holdRows(gateway, `select 1 from oauth_artifact where ${visit} for update`, [digest(uid)])
    const coming = open(browser, address)
    await held.waiting(1)
    const result = JSON.stringify({ result: { error: 'access_denied', error_description: 'not now' } })
    await held.change(`update oauth_artifact set payload = payload || $2::jsonb where ${visit}`, [digest(uid), result])
    await held.release()
    expect(answerOf(await coming)).toMatchObject({ error: 'access_denied' })
  })

  test('“Not now” after a change of the bank ends the sign-in at the last bank', async () => {
    const { browser, pages, state } = await untilCallback()
    const other = await at.pages.walk(browser, pages[0], RHEINBANK, SHARING, GO)
    expect(other.url).toContain(new URL(gateway.sandbox.banks.rheinbank).host)
    expect(answerOf(await post(browser, pages[0], CANCEL))).toMatchObject({ error: 'access_denied', state })
    await eventually('the end', async () => (await at.newest()).status === 'REJECTED')
  })
})

describe('the return to the platform', () => {
  test('concurrent requests for the return to the platform all lead there with one code', async () => {
    const since = new Date()
    const { browser, callback } = await untilCallback()
    const resume = (await browser.open(callback, isResume)).url
    const pages = await Promise.all(Array.from({ length: AT_ONCE }, () => open(browser, resume)))
    expect(new Set(pages.map(codeIn)).size).toBe(1)
    expect(codeIn(pages[0]!)).toBeDefined()
    expect(await activeSince(since)).toBe(1)
  })

  test('the return to the platform does not cause a redirect loop if the browser has lost its cookie', async () => {
    const { browser, callback } = await untilCallback()
    const { url } = await browser.open(callback, isResume)
    const answer = await fetch(url, { redirect: 'manual' })
    expect(answer.status).toBe(400)
    expect(await answer.text()).toContain('no longer valid in this browser')
    expect(codeIn(await open(browser, url))).toBeDefined()
  })

  test('the return to the platform, if opened too early, leads back to the interaction, which continues', async () => {
    const browser = createBrowser()
    const { page } = await at.pages.begin(browser)
    const early = await open(browser, `${gateway.issuer}/oauth/authorize/${uidIn(page)}`)
    expect(parseForm(early).action).toBe(parseForm(page).action)
    expect(answerOf(await at.pages.walk(browser, early, BANK, SHARING, GO, SIGN_IN, AGREE))['code']).toBeDefined()
  })
})

describe('a request that a browser makes ahead of its customer', () => {
  const ahead = (browser: Browser, address: string, how: Record<string, string>, method = 'GET') =>
    fetch(address, { method, redirect: 'manual', headers: { cookie: browser.cookiesFor(address), ...how } })

  test.each([
    ['Sec-Purpose: prefetch', { 'sec-purpose': 'prefetch' }, 'GET'],
    ['Sec-Purpose: prefetch;prerender', { 'sec-purpose': 'prefetch;prerender' }, 'GET'],
    ['Purpose: prefetch', { purpose: 'prefetch' }, 'GET'],
    ['X-Moz: prefetch', { 'x-moz': 'prefetch' }, 'GET'],
    ['HEAD', {}, 'HEAD'],
  ])('a prefetch (%s) takes no step of an interaction', async (_name, how, method) => {
    const { browser, callback, uid } = await untilCallback()
    const refused = async (address: string) => {
      const answer = await ahead(browser, address, how, method)
      expect([address, answer.status, answer.headers.get('cache-control')]).toEqual([address, 503, 'no-store'])
      expect(answer.headers.get('location')).toBeNull()
    }
    const back = `${gateway.issuer}/interaction/${uid}/return${new URL(callback).search}`
    await refused(back)
    const resume = (await browser.open(callback, isResume)).url
    await refused(resume)
    const onward = (await browser.open(resume, (url) => url.pathname.endsWith('/to-platform'))).url
    await refused(onward)
    expect(answerOf(await open(browser, onward))['code']).toBeDefined()
  })
})
