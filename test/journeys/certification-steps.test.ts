import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createBrowser, type Browser, type Page } from '../../src/entrypoints/cli/browser.ts'
import { certifications, failuresOf, isReturned } from '../support/certification.ts'
import { GO, type Fields } from '../support/consent-pages.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { CODE, startStepwiseBank, type StepwiseBank } from '../support/stepwise-bank.ts'

let gateway: TestGateway
let appBank: StepwiseBank
let codeBank: StepwiseBank
beforeAll(async () => {
  gateway = await startGateway()
  appBank = await startStepwiseBank('appbank', 'DECOUPLED')
  codeBank = await startStepwiseBank('codebank', 'EMBEDDED')
})
afterEach(() => {
  gateway.intercept = undefined
})
beforeEach(() => {
  appBank.consentStatus = codeBank.consentStatus = 'received'
  appBank.received.length = codeBank.received.length = 0
})
afterAll(async () => {
  await gateway.close()
  await Promise.all([appBank.close(), codeBank.close()])
})

const { registerStepwise, attend: attendRun, finished, statusOf } = certifications(() => gateway)
/** Requests an attended run of a new draft of the bank and waits for its link. */
async function attend(bank: StepwiseBank): Promise<{ id: string; runId: string; link: string }> {
  const id = await registerStepwise(bank)
  return { id, ...(await attendRun('rheinbank', id)) }
}
const count = (bank: StepwiseBank, operation: string) =>
  bank.received.filter((one) => one.operation === operation).length
const fill = (name: string, value: string): Fields => [[name, value], ...GO]
/** Opens the page until the run has continued. */
const untilReturned = (browser: Browser, page: Page): Promise<Page> =>
  eventually('the end of the sign-in', async () => {
    const next = await browser.open(page.url, isReturned)
    return isReturned(new URL(next.url)) ? next : undefined
  })

describe('an attended run of a bank that the customer confirms in its app', () => {
  test('the person confirms in the app while the page waits, and the bank is certified', async () => {
    const { id, runId, link } = await attend(appBank)
    const browser = createBrowser()
    expect((await browser.open(link)).text).toContain('You confirm in App Bank’s app')
    const page = await browser.open(`${link}/bank`)
    expect(page.text).toContain('Now confirm in the app of App Bank')
    expect(page.text).toContain('<meta http-equiv="refresh" content="1;url=/certification/')
    appBank.consentStatus = 'valid'
    await untilReturned(browser, page)
    const run = await finished(runId)
    expect([run.status, failuresOf(run), await statusOf(id)]).toEqual(['PASSED', [], 'CERTIFIED'])
    expect(appBank.openConsents).toEqual(new Set())
  })

  test('a person who refuses in the app ends the run', async () => {
    const { runId, link } = await attend(appBank)
    const browser = createBrowser()
    const page = await browser.open(`${link}/bank`)
    appBank.consentStatus = 'rejected'
    await untilReturned(browser, page)
    expect(failuresOf(await finished(runId))).toEqual(['SIGN_IN BANK_REFUSED'])
  })

  test('a bank that cannot be reached for one poll does not end the run', async () => {
    const { runId, link } = await attend(appBank)
    const browser = createBrowser()
    const page = await browser.open(`${link}/bank`)
    let failures = 0
    gateway.intercept = ({ url }) =>
      url.endsWith('/status') && failures++ === 0 ? Promise.resolve({ status: 503, headers: {}, text: '' }) : undefined
    appBank.consentStatus = 'valid'
    await untilReturned(browser, page)
    expect(failures).toBeGreaterThan(1)
    expect((await finished(runId)).status).toBe('PASSED')
  })

  test('several tabs that poll one sign-in at the same time complete it once', async () => {
    const { runId, link } = await attend(appBank)
    const page = await createBrowser().open(`${link}/bank`)
    appBank.consentStatus = 'valid'
    await gateway.database.query('select pg_sleep(1.1)')
    const polls = () => count(appBank, 'GET /v1/consents/status')
    const before = polls()
    await Promise.all(Array.from({ length: 8 }, () => createBrowser().open(page.url, isReturned)))
    expect(polls() - before).toBe(1)
    expect((await finished(runId)).status).toBe('PASSED')
  })

  test('a sign-in whose process ended between its claim and the answer of the bank is completed by another request', async () => {
    const { runId, link } = await attend(appBank)
    const page = await createBrowser().open(`${link}/bank`)
    appBank.consentStatus = 'valid'
    await gateway.database.query('select pg_sleep(1.1)')
    const held = gateway.holdNext('/status')
    const stopped = createBrowser().open(page.url)
    await held.reached
    await gateway.database.query(
      "update certification_sign_in set step_claimed_at = step_claimed_at - interval '61 seconds'",
    )
    const other = gateway.holdNext('/v1/accounts')
    expect((await createBrowser().open(page.url, isReturned)).url).toContain('/certification-returned')
    await other.reached
    held.letGo()
    expect((await stopped).status).toBe(410)
    other.letGo()
    expect((await finished(runId)).status).toBe('PASSED')
  })

  test('the page that waits can be left, and the link attempted again', async () => {
    const { runId, link } = await attend(appBank)
    const browser = createBrowser()
    const left = await browser.submit(await browser.open(`${link}/bank`), [['decision', 'cancel']])
    expect(left.text).toContain('Sign in to test the interface of App Bank')
    expect((await browser.open(`${link}/sign-in`)).text).toContain('Sign in to test the interface of App Bank')
    const page = await browser.open(`${link}/bank`)
    appBank.consentStatus = 'valid'
    await untilReturned(browser, page)
    expect((await finished(runId)).status).toBe('PASSED')
  })
})

describe('an attended run of a bank whose questions the gateway asks', () => {
  async function untilCode() {
    const attended = await attend(codeBank)
    const browser = createBrowser()
    const question = await browser.open(`${attended.link}/bank`)
    expect(question.text).toContain('Never enter a password or PIN of Code Bank here.')
    const methods = await browser.submit(question, fill('PSU_ID', 'ada.user'))
    expect(methods.text).toContain('How do you confirm at Code Bank?')
    const code = await browser.submit(methods, fill('SCA_METHOD', 'm0'))
    expect(code.text).toContain('Enter the code from Code Bank')
    return { ...attended, browser, methods, code }
  }

  test('the person states who they are, chooses a method and enters a code, and the bank is certified', async () => {
    const { id, runId, browser, code } = await untilCode()
    const wrong = await browser.submit(code, fill('ONE_TIME_CODE', '111111'))
    expect(wrong.text).toContain('Code Bank did not accept this.')
    await browser.submit(wrong, fill('ONE_TIME_CODE', CODE), isReturned)
    const run = await finished(runId)
    expect([run.status, failuresOf(run), await statusOf(id)]).toEqual(['PASSED', [], 'CERTIFIED'])
    expect(run.checks.find(({ name }) => name === 'TOKEN_RENEWAL')).toMatchObject({ code: 'NOT_SUPPORTED' })
    expect(gateway.log.join('\n')).not.toMatch(/ada\.user|111111|314159/)
  })

  test('a form that is posted ten times concurrently reaches the bank once', async () => {
    const { browser, code, runId } = await untilCode()
    const post = () => browser.submit(code, fill('ONE_TIME_CODE', '111111'))
    const replies = await Promise.all(Array.from({ length: 10 }, post))
    expect(count(codeBank, 'PUT /v1/consents/authorisations')).toBe(2)
    expect(replies.filter(({ text }) => !text.includes('Code Bank did not accept this.'))).toEqual([])
    await browser.submit(replies[0]!, fill('ONE_TIME_CODE', CODE), isReturned)
    expect((await finished(runId)).status).toBe('PASSED')
  })

  test('the form of an earlier step changes nothing, and a page of another site can post none', async () => {
    const { browser, methods, code, link, runId } = await untilCode()
    const again = await browser.submit(methods, fill('SCA_METHOD', 'm1'))
    expect(again.text).toContain('Enter the code from Code Bank')
    const body = new URLSearchParams([['step', '3'], ...fill('ONE_TIME_CODE', CODE)])
    const headers = { origin: 'https://other.example' }
    expect((await fetch(`${link}/sign-in`, { method: 'POST', headers, body })).status).toBe(403)
    expect(count(codeBank, 'PUT /v1/consents/authorisations')).toBe(1)
    await browser.submit(code, fill('ONE_TIME_CODE', CODE), isReturned)
    expect((await finished(runId)).status).toBe('PASSED')
  })
})
