import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseChoices, createBrowser, type Page } from '../../src/entrypoints/cli/browser.ts'
import { digest } from '../../src/kernel/ids.ts'
import { answerOf, BANK, CANCEL, GO, SHARING, type Fields } from '../support/consent-pages.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { holdRows } from '../support/locked-rows.ts'
import { agreeToAll, isResume, RHEINBANK, signInAs, visits } from '../support/interactions.ts'

let gateway: TestGateway
let at: ReturnType<typeof visits>
beforeAll(async () => {
  gateway = await startGateway()
  at = visits(gateway)
})
afterAll(() => gateway.close())

const uidIn = ({ text }: Page): string => /\/interaction\/([\w-]+)\//.exec(text)![1]!
async function untilCallback(who: string, bank: Fields = BANK, browser = createBrowser()) {
  const { page } = await at.pages.begin(browser)
  const same: Fields = parseChoices(page, 'same').length > 0 ? [['same', 'yes']] : []
  const atBank = await at.pages.walk(browser, page, [...same, ...bank], SHARING, GO, signInAs(who))
  const { url } = await browser.submit(atBank, agreeToAll(atBank), ({ pathname }) => pathname === '/bank/callback')
  return { browser, page, callback: url, uid: uidIn(page) }
}

test('“Not now” during “Go” leaves no pending consent, and the platform gets an error', async () => {
  for (let round = 0; round < 5; round++) {
    const browser = createBrowser()
    const { page } = await at.pages.begin(browser)
    const leaving = await at.pages.walk(browser, page, BANK, SHARING)
    const going = browser.submit(leaving, GO, at.pages.isPlatform)
    const ends = await Promise.all([going, browser.submit(page, CANCEL, at.pages.isPlatform)])
    // The first of the two is led on to the platform; the page keeps a link for whoever comes after it.
    expect(ends.map((end) => answerOf(end)['error'])).toContain('access_denied')
    for (const { url, text } of ends) {
      // “Go” can have led to the bank before “Not now” came; its consent there is over.
      if (new URL(url).origin === gateway.sandbox.banks.northbank) continue
      expect(at.pages.isPlatform(new URL(url)) || text.includes('error=access_denied')).toBe(true)
    }
    expect((await at.newest()).status).toBe('REJECTED')
  }
})

test('“Go” that is stored after “Not now” redirects nobody to the bank and leaves no pending consent', async () => {
  const browser = createBrowser()
  const { page } = await at.pages.begin(browser)
  const leaving = await at.pages.walk(browser, page, BANK, SHARING)
  const held = await holdRows(gateway, 'lock table bank_sign_in in share mode')
  const going = browser.submit(leaving, GO, at.pages.isPlatform)
  await held.waiting(1)
  const cancelled = await browser.submit(page, CANCEL, at.pages.isPlatform)
  expect(answerOf(cancelled)).toMatchObject({ error: 'access_denied' })
  await held.release()
  expect(new URL((await going).url).origin).not.toBe(gateway.sandbox.banks.northbank)
  expect((await at.newest()).status).toBe('REJECTED')
})

test('“Not now” and the return from the bank do not wait for each other', async () => {
  const { browser, page, callback } = await untilCallback('bo')
  const held = await holdRows(gateway, 'lock table pairwise_subject in share mode')
  const coming = browser.open(callback, at.pages.isPlatform) // holds the connection, wants the consent
  await held.waiting(1)
  const pressed = browser.submit(page, CANCEL, at.pages.isPlatform) // holds the consent, wants the connection
  await held.waiting(2)
  await held.release()
  const [back, told] = await Promise.all([coming, pressed])
  expect([told.text.includes('This did not work'), answerOf(back)['error']]).not.toEqual([true, undefined])
  expect(told.text).not.toContain('This did not work')
  expect(answerOf(back)).not.toMatchObject({ error: 'server_error' })
})

test('a second tab that resumes an interaction during its decision does not take its one response', async () => {
  const { browser, callback, uid } = await untilCallback('bo')
  const visit = "select 1 from oauth_artifact where kind = 'Interaction' and id = $1 for update"
  const held = await holdRows(gateway, visit, [digest(uid)])
  const first = browser.open(callback, at.pages.isPlatform)
  await held.waiting(1)
  const second = await browser.open(`${gateway.issuer}/oauth/authorize/${uid}`, at.pages.isPlatform)
  await held.release()
  expect(answerOf(await first)['code']).toBeDefined()
  expect(at.pages.isPlatform(new URL(second.url))).toBe(false)
})

test('a page that is opened while the code is issued does not state that nothing was shared', async () => {
  const browser = createBrowser()
  await gateway.customer('cleo', ['rheinbank'], { browser })
  const visit = await untilCallback('cleo', RHEINBANK, browser)
  const resume = (await browser.open(visit.callback, isResume)).url
  const { id } = await at.newest()
  const held = await holdRows(gateway, 'select 1 from consent where id = $1 for update', [id])
  const coming = browser.open(resume, at.pages.isPlatform)
  await held.waiting(1)
  const looked = await browser.open(`${gateway.issuer}/interaction/${visit.uid}`, at.pages.isPlatform)
  await held.release()
  expect(answerOf(await coming)['code']).toBeDefined()
  expect(looked.text).not.toContain('Nothing was shared')
})
