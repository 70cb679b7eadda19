import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createBrowser, type Page } from '../../src/entrypoints/cli/browser.ts'
import { answerOf, CANCEL, consentPages, GO, SHARING, type Fields } from '../support/consent-pages.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { CODE, startStepwiseBank, type StepwiseBank } from '../support/stepwise-bank.ts'

let gateway: TestGateway
let pages: ReturnType<typeof consentPages>
let appBank: StepwiseBank
let codeBank: StepwiseBank

beforeAll(async () => {
  gateway = await startGateway()
  pages = consentPages(gateway)
  appBank = await startStepwiseBank('appbank', 'DECOUPLED')
  codeBank = await startStepwiseBank('codebank', 'EMBEDDED')
  for (const { registration } of [appBank, codeBank]) {
    const input = { standard: 'BERLIN_GROUP', registration } as const
    const { id } = await gateway.app.services.banks.register('rheinbank-partner', input)
    // What is tested here is not the certification.
    await gateway.database.query("update connector set status = 'ACTIVE' where id = $1", [id])
  }
})
afterAll(async () => {
  await gateway.close()
  await Promise.all([appBank.close(), codeBank.close()])
})
beforeEach(() => {
  appBank.consentStatus = codeBank.consentStatus = 'received'
  appBank.received.length = codeBank.received.length = 0
})

const choose = (bank: string): Fields => [
  ['bank', bank],
  ['decision', 'go'],
]
const fill = (name: string, value: string): Fields => [
  [name, value],
  ['decision', 'go'],
]
const count = (bank: StepwiseBank, operation: string) =>
  bank.received.filter((one) => one.operation === operation).length
const signInTo = async (bank: string) => {
  const browser = createBrowser()
  const { page, redeem } = await pages.begin(browser)
  return { browser, redeem, page: await pages.walk(browser, page, choose(bank), SHARING, GO) }
}
const pendingCount = async () => (await gateway.database.query("select 1 from consent where status = 'PENDING'")).length
const rowCount = async (table: string) => (await gateway.database.query(`select 1 from ${table}`)).length
const rejectedCount = async () =>
  (await gateway.database.query("select 1 from consent where status = 'REJECTED'")).length

describe('the last consent page', () => {
  test.each([
    ['northbank', 'You are about to leave Guichet for Northbank’s own pages.', 'Go to Northbank'],
    ['appbank', 'You confirm in App Bank’s app, or by the means that you use there.', 'Continue'],
    [
      'codebank',
      'First, Guichet asks by which name or number Code Bank knows you. Code Bank then sends you a code',
      'Continue',
    ],
  ])('the page says what happens next at %s', async (bank, text, action) => {
    const browser = createBrowser()
    const { page } = await pages.begin(browser)
    const last = await pages.walk(browser, page, choose(bank), SHARING)
    expect(last.text).toContain(text)
    expect(last.text).toContain(`value="go">${action}</button`)
    expect(last.text.includes('You are about to leave Guichet')).toBe(bank === 'northbank')
  })
})

describe('a sign-in that the customer confirms in the app of the bank', () => {
  test('the page waits, and the platform gets its code once the consent is valid', async () => {
    const { browser, page, redeem } = await signInTo('appbank')
    expect(page.text).toContain('Now confirm in the app of App Bank')
    expect(page.text).toContain('<meta http-equiv="refresh" content="1;url=/interaction/')
    expect(page.text).not.toContain('<script')
    appBank.consentStatus = 'valid'
    let back: Page | undefined
    await eventually('the sign-in to complete', async () => {
      back = await browser.open(page.url, pages.isPlatform)
      return pages.isPlatform(new URL(back.url))
    })
    expect((await redeem(answerOf(back!)['code']!)).accessToken).toBeTruthy()
  })

  test('twenty requests for the page within a second poll the bank once at most', async () => {
    const readSeconds = async (): Promise<number> =>
      (await gateway.database.query<{ now: number }>('select extract(epoch from clock_timestamp())::float as now'))[0]!
        .now
    const from = await readSeconds()
    const { browser, page } = await signInTo('appbank')
    await Promise.all(Array.from({ length: 20 }, () => browser.open(page.url)))
    // On a busy machine they take longer than a second.
    expect(count(appBank, 'GET /v1/consents/status')).toBeLessThanOrEqual(1 + Math.ceil((await readSeconds()) - from))
    await browser.submit(page, CANCEL, pages.isPlatform)
  })

  test('concurrent polls of a valid consent create one connection', async () => {
    const { browser, page, redeem } = await signInTo('appbank')
    appBank.consentStatus = 'valid'
    await gateway.database.query('select pg_sleep(1.1)')
    const replies = await Promise.all(Array.from({ length: 8 }, () => browser.open(page.url, pages.isPlatform)))
    expect(count(appBank, 'GET /v1/accounts')).toBe(1)
    const back = replies.find(({ url }) => pages.isPlatform(new URL(url)))!
    expect((await redeem(answerOf(back)['code']!)).accessToken).toBeTruthy()
  })

  test('a sign-in whose process ended between its claim and the answer of the bank is completed by another request', async () => {
    const { browser, page, redeem } = await signInTo('appbank')
    appBank.consentStatus = 'valid'
    await gateway.database.query('select pg_sleep(1.1)')
    const before = [await rowCount('connection'), await rejectedCount()] as const
    const held = gateway.holdNext('/status')
    const stopped = browser.open(page.url, pages.isPlatform)
    await held.reached
    expect((await browser.open(page.url)).text).toContain('Now confirm in the app of App Bank')
    await gateway.database.query(
      "update bank_sign_in set used_at = used_at - interval '61 seconds' where used_at is not null and sealed_data <> ''",
    )
    const other = gateway.holdNext('/v1/accounts')
    const completing = browser.open(page.url, pages.isPlatform)
    await other.reached
    held.letGo()
    await gateway.database.query('select pg_sleep(0.5)')
    other.letGo()
    // The page that leads to the platform continues by itself once, for whichever of the two loads it first.
    const back = (await Promise.all([completing, stopped])).find(({ url }) => pages.isPlatform(new URL(url)))!
    expect((await redeem(answerOf(back)['code']!)).accessToken).toBeTruthy()
    // What came too late has begun and ended nothing.
    expect(count(appBank, 'GET /v1/accounts')).toBe(1)
    expect(count(appBank, 'DELETE /v1/consents')).toBe(0)
    expect([await rowCount('connection'), await rejectedCount()]).toEqual([before[0] + 1, before[1]])
  })

  test('“Not now” while the page waits ends the bank-side consent', async () => {
    const { browser, page } = await signInTo('appbank')
    const back = await browser.submit(page, CANCEL, pages.isPlatform)
    expect(answerOf(back)).toMatchObject({ error: 'access_denied' })
    await eventually('the consent to end', () => Promise.resolve(count(appBank, 'DELETE /v1/consents') === 1))
    expect(await pendingCount()).toBe(0)
  })

  test('a refusal in the app leads back to the platform', async () => {
    const { browser, page } = await signInTo('appbank')
    appBank.consentStatus = 'rejected'
    await eventually('the refusal to be noticed', async () => {
      const back = await browser.open(page.url, pages.isPlatform)
      return answerOf(back)['error'] === 'access_denied'
    })
  })

  test('a callback that somebody forges does not continue a sign-in that waits', async () => {
    const { browser, page } = await signInTo('appbank')
    const { headers } = appBank.received.find(({ operation }) => operation === 'POST /v1/consents')!
    const forged = await browser.open(String(headers['tpp-redirect-uri']))
    expect(forged.text).toContain('Now confirm in the app of App Bank')
    await browser.submit(page, CANCEL, pages.isPlatform)
  })
})

describe('a sign-in on the pages of the gateway', () => {
  async function untilCode() {
    const { browser, page, redeem } = await signInTo('codebank')
    expect(page.text).toContain('Never enter a password or PIN of Code Bank here.')
    expect(page.text).not.toContain('type="password"')
    const methods = await browser.submit(page, fill('PSU_ID', 'ada.user'), pages.isPlatform)
    expect(methods.text).toContain('How do you confirm at Code Bank?')
    const code = await browser.submit(methods, fill('SCA_METHOD', 'm0'), pages.isPlatform)
    expect(code.text).toContain('Enter the code from Code Bank')
    return { browser, redeem, methods, code }
  }

  test('the customer states who they are, chooses a method, and enters a wrong and then the right code', async () => {
    const { browser, redeem, code } = await untilCode()
    const wrong = await browser.submit(code, fill('ONE_TIME_CODE', '111111'), pages.isPlatform)
    expect(wrong.text).toContain('Code Bank did not accept this.')
    const back = await browser.submit(wrong, fill('ONE_TIME_CODE', CODE), pages.isPlatform)
    expect((await redeem(answerOf(back)['code']!)).accessToken).toBeTruthy()
    expect(codeBank.received[0]!.headers['psu-id']).toBe('ada.user')
    const stored = JSON.stringify(await gateway.database.query('select * from bank_sign_in'))
    expect(stored + gateway.log.join('\n')).not.toMatch(/ada\.user|111111|314159/)
  })

  test('a form that is posted ten times concurrently reaches the bank once', async () => {
    const { browser, code } = await untilCode()
    const post = () => browser.submit(code, fill('ONE_TIME_CODE', '111111'), pages.isPlatform)
    const replies = await Promise.all(Array.from({ length: 10 }, post))
    expect(count(codeBank, 'PUT /v1/consents/authorisations')).toBe(2)
    // Nobody waits for a decision that the next step will make.
    expect(replies.filter(({ text }) => !text.includes('Code Bank did not accept this.'))).toEqual([])
  })

  test('the form of an earlier step shows the present step and changes nothing', async () => {
    const { browser, methods } = await untilCode()
    const again = await browser.submit(methods, fill('SCA_METHOD', 'm1'), pages.isPlatform)
    expect(again.text).toContain('Enter the code from Code Bank')
    expect(count(codeBank, 'PUT /v1/consents/authorisations')).toBe(1)
  })

  test('another browser cannot continue the sign-in', async () => {
    const { code } = await untilCode()
    const thief = await createBrowser().open(code.url)
    expect(thief.text).toContain('no longer valid in this browser')
  })
})
