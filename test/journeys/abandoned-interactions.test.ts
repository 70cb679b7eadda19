import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { generateDpopKey, createOauthClient } from '../../src/entrypoints/cli/oauth-client.ts'
import { AGREE, answerOf, BANK, CANCEL, DETAILS, GO, SHARING, SIGN_IN } from '../support/consent-pages.ts'
import { ALL_SCOPES, eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { agreeTo, agreeToAll, isResume, RHEINBANK, signInAs, visits } from '../support/interactions.ts'

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

const BO_AGREES = agreeTo(['nb-10003'])
const deletions = (): number => gateway.sent.filter(({ method }) => method === 'DELETE').length

describe('a second tab', () => {
  test('a second tab at the bank returns to the platform if another person finishes in the first tab', async () => {
    const browser = createBrowser()
    await gateway.customer('ada', ['northbank'], { browser })
    const [one, two] = [await at.pages.begin(browser), await at.pages.begin(browser)]
    const first = await at.pages.walk(browser, one.page, [['same', 'no'], ...BANK], SHARING, GO, signInAs('bo'))
    const second = await at.pages.walk(browser, two.page, [['same', 'yes'], ...BANK], SHARING, GO, SIGN_IN)
    await at.pages.walk(browser, first, BO_AGREES)
    const back = answerOf(await at.pages.walk(browser, second, AGREE))
    expect(back).toMatchObject({ state: two.state })
    expect(back['code']).toBeDefined()
  })

  test('“Not now” in a second tab returns to the platform after another person finished in the first tab', async () => {
    const browser = createBrowser()
    await gateway.customer('ada', ['northbank'], { browser })
    const [one, two] = [await at.pages.begin(browser), await at.pages.begin(browser)]
    const first = await at.pages.walk(browser, one.page, [['same', 'no'], ...BANK], SHARING, GO, signInAs('bo'))
    await at.pages.walk(browser, first, BO_AGREES)
    const back = answerOf(await at.pages.walk(browser, two.page, CANCEL))
    expect(back).toMatchObject({ state: two.state, error: 'access_denied' })
  })
})

describe('an abandoned interaction', () => {
  test('“Not now” after the return from the bank ends the bank-side consent', async () => {
    const browser = createBrowser()
    const { page } = await at.pages.begin(browser)
    const atBank = await at.pages.walk(browser, page, BANK, SHARING, GO, signInAs('bo'))
    await browser.submit(atBank, BO_AGREES, isResume)
    expect(answerOf(await at.pages.walk(browser, page, CANCEL))).toMatchObject({ error: 'access_denied' })
    expect(await at.newest()).toMatchObject({ status: 'REJECTED', customer_id: null })
    await eventually('the end at the bank', async () => (await at.newest()).connection === 'ENDED')
  })

  test('“Not now” while the customer is at the bank ends the bank-side consent', async () => {
    const browser = createBrowser()
    const { page } = await at.pages.begin(browser)
    await at.pages.walk(browser, page, BANK, SHARING, GO)
    const before = deletions()
    await at.pages.walk(browser, page, CANCEL)
    expect(await at.newest()).toMatchObject({ status: 'REJECTED' })
    await eventually('the end at the bank', () => Promise.resolve(deletions() === before + 1))
  })

  test('a failed token request ends the bank-side consent', async () => {
    const browser = createBrowser()
    const { page } = await at.pages.begin(browser)
    const atBank = await at.pages.walk(browser, page, BANK, SHARING, GO, signInAs('bo'))
    gateway.intercept = ({ url, body }) =>
      url.endsWith('/token') && String(body).includes('authorization_code')
        ? Promise.resolve({ status: 503, headers: {}, text: '' })
        : undefined
    const before = deletions()
    expect(answerOf(await at.pages.walk(browser, atBank, BO_AGREES))).toMatchObject({
      error: 'temporarily_unavailable',
    })
    gateway.intercept = undefined
    expect(await at.newest()).toMatchObject({ status: 'REJECTED', connection_id: null })
    await eventually('the end at the bank', () => Promise.resolve(deletions() === before + 1))
  })

  test('an abandoned interaction leaves no consent ACTIVE that its bank has ended', async () => {
    await gateway.customer('cleo', ['rheinbank'])
    const older = await at.newest()
    const browser = createBrowser()
    const { page } = await at.pages.begin(browser)
    const atBank = await at.pages.walk(browser, page, RHEINBANK, SHARING, GO, signInAs('cleo'))
    await browser.submit(atBank, agreeToAll(atBank), isResume)
    await gateway.app.services.consents.optIn.reject((await at.newest()).id)
    await eventually('the end of the older consent', async () => {
      const [row] = await gateway.database.query<{ status: string; ended_by: string }>(
        'select status, ended_by from consent where id = $1',
        [older.id],
      )
      return row!.status === 'REVOKED' && row!.ended_by === 'CUSTOMER_AT_BANK'
    })
  })
})

describe('a browser', () => {
  test('a browser that reopens a used link or a finished interaction gets a page', async () => {
    const browser = createBrowser()
    const oauth = createOauthClient(gateway.issuer, gateway.client('chatterbox'))
    const { url } = await oauth.pushAuthorizationRequest(
      { scope: ['openid', ...ALL_SCOPES].join(' '), details: DETAILS, state: randomBytes(9).toString('base64url') },
      await generateDpopKey(),
    )
    const page = await browser.open(url, at.pages.isPlatform)
    const atBank = await at.pages.walk(browser, page, BANK, SHARING, GO, signInAs('bo'))
    const resume = await browser.submit(atBank, BO_AGREES, isResume)
    expect(answerOf(await browser.open(resume.url, at.pages.isPlatform))['code']).toBeDefined()
    const used = await browser.open(url, at.pages.isPlatform)
    expect([used.status, used.text.includes('This link has expired')]).toEqual([400, true])
    // What was shared by the visit before is shared still.
    expect(used.text).not.toContain('Nothing was shared')
    const finished = await browser.open(resume.url, at.pages.isPlatform)
    expect([finished.status, finished.text.includes('Continue to Chatterbox')]).toEqual([200, true])
  })
})

test('a code that is redeemed twice concurrently ends the consent', async () => {
  const browser = createBrowser()
  const { page, redeem } = await at.pages.begin(browser)
  const atBank = await at.pages.walk(browser, page, BANK, SHARING, GO, signInAs('bo'))
  const { code } = answerOf(await at.pages.walk(browser, atBank, BO_AGREES))
  await Promise.allSettled(Array.from({ length: 6 }, () => redeem(code!)))
  await eventually('the end', async () => (await at.newest()).status === 'REVOKED')
})

test('a consent that the bank ends while its code is stored has ended, in either order', async () => {
  const browser = createBrowser()
  const { page } = await at.pages.begin(browser)
  const atBank = await at.pages.walk(browser, page, BANK, SHARING, GO, signInAs('finn'))
  const resume = await browser.submit(atBank, agreeToAll(atBank), isResume)
  const lock = new pg.Client({ connectionString: gateway.database.url })
  await lock.connect()
  await lock.query('begin')
  await lock.query('select 1 from consent where id = $1 for update', [(await at.newest()).id])
  const waiting = (count: number) =>
    eventually(`${count} who wait`, async () => {
      const rows = await gateway.database.query(
        `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
      )
      return rows.length === count
    })
  const stored = browser.open(resume.url, at.pages.isPlatform)
  await waiting(1)
  const told = fetch(`${gateway.sandbox.banks.northbank}/sandbox/revocations`, {
    method: 'POST',
    body: JSON.stringify({ customer: 'finn' }),
  })
  await waiting(2)
  await lock.query('commit')
  await lock.end()
  await Promise.all([stored, told])
  expect(['REVOKED', 'REJECTED']).toContain((await at.newest()).status)
})
