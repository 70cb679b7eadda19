import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseChoices, createBrowser, type Browser } from '../../src/entrypoints/cli/browser.ts'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { answerOf, BANK, CANCEL, GO, SHARING, type Fields } from '../support/consent-pages.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { holdRows } from '../support/locked-rows.ts'
import { agreeTo, agreeToAll, isResume, RHEINBANK, signInAs, visits } from '../support/interactions.ts'

let gateway: TestGateway
let at: ReturnType<typeof visits>
beforeAll(async () => {
  gateway = await startGateway()
  at = visits(gateway)
})
afterAll(() => gateway.close())

const JOINT = '8f1c2a44-0003-4000-8000-000000000003'
const signOut = (browser: Browser) =>
  browser.open(`${gateway.issuer}/sharing/sign-out`, () => false, new URLSearchParams())
const withdraw = (token: Token) =>
  gateway.ask(token, 'mutation { withdrawConsents(input: { all: true }) { consents { id } } }')

/** A visit that is decided at the bank's return, and stops at the address that resumes its authorization request. */
async function untilResume(
  browser: Browser,
  who: string,
  bank: Fields = BANK,
  accounts?: string[],
  idTokenHint?: string,
) {
  const { page } = await at.pages.begin(browser, idTokenHint === undefined ? {} : { idTokenHint })
  const same: Fields = parseChoices(page, 'same').length > 0 ? [['same', 'yes']] : []
  const atBank = await at.pages.walk(browser, page, [...same, ...bank], SHARING, GO, signInAs(who))
  const { url } = await browser.submit(atBank, accounts ? agreeTo(accounts) : agreeToAll(atBank), isResume)
  return { page, resume: url, consent: (await at.newest()).id }
}

test('a copied cookie opens no session after the sign-out, even by an interaction decided before', async () => {
  const cleo = createBrowser()
  await gateway.customer('cleo', ['rheinbank'], { browser: cleo })
  const dan = createBrowser() // the other holder of the joint account, with a copy of Cleo's cookie
  await at.plant(dan, cleo.cookiesFor(`${gateway.issuer}/sharing`))
  const { resume } = await untilResume(dan, 'dan', RHEINBANK, [JOINT])
  await signOut(cleo)
  expect((await at.sharing(dan)).status).toBe(401)
  await dan.open(resume, at.pages.isPlatform)
  expect((await at.sharing(dan)).text).not.toMatch(/Rheinbank/) // dan reads all that Cleo shares
})

test('a copied cookie and an ID token open no session after the sign-out, even at another bank', async () => {
  const ada = createBrowser()
  const token = await gateway.customer('ada', ['northbank'], { browser: ada })
  const thief = createBrowser()
  await at.plant(thief, ada.cookiesFor(`${gateway.issuer}/sharing`))
  const { resume } = await untilResume(thief, 'dan', RHEINBANK, undefined, token.idToken)
  await signOut(ada)
  await thief.open(resume, at.pages.isPlatform)
  expect((await at.sharing(thief)).text).not.toContain('Northbank')
})

test('a copied cookie opens no session after its customer has stopped all sharing, even by a rejected interaction', async () => {
  const cleo = createBrowser()
  const token = await gateway.customer('cleo', ['rheinbank'], { browser: cleo })
  const dan = createBrowser()
  await at.plant(dan, cleo.cookiesFor(`${gateway.issuer}/sharing`))
  const { resume } = await untilResume(dan, 'dan', RHEINBANK, [JOINT])
  await withdraw(token)
  await eventually('the end', async () => (await at.sharing(cleo)).status === 401)
  expect(answerOf(await dan.open(resume, at.pages.isPlatform))).toMatchObject({ error: 'access_denied' })
  expect((await at.sharing(dan)).status).toBe(401)
})

test('an interaction whose consent is REJECTED before its return opens no session', async () => {
  const browser = createBrowser()
  const token = await gateway.customer('bo', ['northbank'], { browser })
  const { resume } = await untilResume(browser, 'bo')
  await withdraw(token)
  await eventually('the end of the session', async () => (await at.sharing(browser)).status === 401)
  expect(answerOf(await browser.open(resume, at.pages.isPlatform))).toMatchObject({ error: 'access_denied' })
  expect((await at.sharing(browser)).status).toBe(401)
})

test('a return to the platform that was in progress does not undo a completed sign-out', async () => {
  const browser = createBrowser()
  await gateway.customer('ada', ['northbank'], { browser })
  const { resume, consent } = await untilResume(browser, 'ada')
  const held = await holdRows(gateway, 'select 1 from consent where id = $1 for update', [consent])
  const coming = browser.open(resume, at.pages.isPlatform)
  await held.waiting(1)
  expect((await signOut(browser)).text).toContain('You are signed out')
  await held.release()
  await coming
  expect((await at.sharing(browser)).status).toBe(401)
})

test('ending the last consent ends the session, even if an unfinished interaction is cancelled later', async () => {
  const browser = createBrowser()
  await gateway.customer('finn', ['northbank'], { browser })
  const { page } = await untilResume(browser, 'finn')
  const [, stop] = /href="(\/sharing\/[^"]+\/stop)"/.exec((await at.sharing(browser)).text)!
  await browser.submit(await browser.open(`${gateway.issuer}${stop!}`), [])
  await browser.submit(page, CANCEL, at.pages.isPlatform)
  await eventually('the end of the session', async () => (await at.sharing(browser)).status === 401)
})

test('concurrent responses during the return to the platform leave a cookie that opens the session', async () => {
  const browser = createBrowser()
  await gateway.customer('bo', ['northbank'], { browser })
  const { resume } = await untilResume(browser, 'bo')
  const cookie = browser.cookiesFor(`${gateway.issuer}/sharing`)
  const held = await holdRows(gateway, "select 1 from oauth_artifact where kind = 'Session' for update")
  const first = browser.open(resume, at.pages.isPlatform)
  await held.waiting(1)
  const second = fetch(`${gateway.issuer}/oauth/authorize?client_id=chatterbox&request_uri=urn:any`, {
    redirect: 'manual',
    headers: { cookie },
  })
  await held.waiting(2)
  await held.release()
  await first
  const last = (await second).headers
    .getSetCookie()
    .map((line) => line.split(';')[0])
    .join('; ')
  if (!last.includes('guichet_session')) return // nothing was set: the browser keeps the good one
  expect((await fetch(`${gateway.issuer}/sharing`, { headers: { cookie: last } })).status).toBe(200)
})
