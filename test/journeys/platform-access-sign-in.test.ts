import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser, parseChoices, type Browser, type Page } from '../../src/entrypoints/cli/browser.ts'
import { AGREE, answerOf, BANK, CANCEL, DETAILS, GO, SHARING, SIGN_IN } from '../support/consent-pages.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { agreeToAll, isResume, RHEINBANK, signInAs, visits } from '../support/interactions.ts'
import { holdRows } from '../support/locked-rows.ts'
import { platformsOf } from '../support/platforms.ts'

let gateway: TestGateway
let platforms: ReturnType<typeof platformsOf>
let at: ReturnType<typeof visits>
let chatterbox: string
beforeAll(async () => {
  gateway = await startGateway()
  platforms = platformsOf(gateway)
  at = visits(gateway)
  chatterbox = await platforms.organizationOf('chatterbox')
})
afterAll(() => gateway.close())
afterEach(async () => {
  gateway.intercept = undefined
  await platforms.set('northbank', { all: true })
})

const refuse = () => platforms.set('northbank', { allExcept: [chatterbox] })
const REFUSAL = 'Northbank does not share with Chatterbox.'
const walk = (browser: Browser, page: Page, ...steps: Parameters<typeof at.pages.walk>[2][]) =>
  at.pages.walk(browser, page, ...steps)
const countConsents = async (): Promise<number> => (await gateway.database.query('select 1 from consent')).length
/** Resolves once the bank has no consent that the gateway still has to end there. */
const settled = (): Promise<unknown> =>
  eventually('an empty outbox', async () => {
    const left = await gateway.database.query('select 1 from outbox_message where processed_at is null')
    return left.length === 0
  })
const requestsTo = (ending: string): number => gateway.sent.filter(({ url }) => url.endsWith(ending)).length

describe('the pages of a refused platform', () => {
  test('the first page names the bank that refuses the platform, and offers no way to choose it', async () => {
    await refuse()
    const browser = createBrowser()
    const { page } = await at.pages.begin(browser)
    expect(page.status).toBe(200)
    expect(page.text).toContain(REFUSAL)
    expect(page.text).not.toContain('role="alert"')
    expect(parseChoices(page, 'bank')).not.toContain('northbank')
    expect(parseChoices(page, 'bank')).toContain('rheinbank')
    const onward = await walk(browser, page, RHEINBANK, SHARING, GO, signInAs('ada'))
    expect(answerOf(await walk(browser, onward, agreeToAll(onward)))['code']).toBeDefined()
  })

  test('if the platform preselects a bank that refuses it, the first page says so before anything else', async () => {
    await refuse()
    const { page } = await at.pages.begin(createBrowser(), { details: { ...DETAILS, bank: 'northbank' } })
    expect(page.text).toMatch(/role="alert"[^]*does not share with Chatterbox[^]*Nothing was shared/)
    expect(page.text.indexOf('role="alert"')).toBeLessThan(page.text.indexOf('<form'))
  })

  test('a bank that refuses the platform while the customer reads the pages sends nobody to its sign-in', async () => {
    const before = await countConsents()
    for (const steps of [[], [BANK], [BANK, SHARING]]) {
      const browser = createBrowser()
      const { page, state } = await at.pages.begin(browser)
      const last = await walk(browser, page, ...steps)
      const sentBefore = requestsTo('/account-access-consents')
      await refuse()
      const refused = await walk(browser, last, [BANK, SHARING, GO][steps.length]!)
      expect(refused.status).toBe(403)
      expect(refused.text).toMatch(/role="alert"[^]*does not share with Chatterbox/)
      expect(requestsTo('/account-access-consents')).toBe(sentBefore)
      // The visit goes on: with another bank, or with “Not now”.
      expect(answerOf(await walk(browser, refused, CANCEL))).toMatchObject({ error: 'access_denied', state })
      await platforms.set('northbank', { all: true })
    }
    expect(await countConsents()).toBe(before)
  })

  test('a customer whose bank refused the platform can share another bank in the same visit', async () => {
    const browser = createBrowser()
    const { page } = await at.pages.begin(browser)
    const last = await walk(browser, page, BANK, SHARING)
    await refuse()
    const refused = await walk(browser, last, GO)
    const atBank = await walk(browser, refused, RHEINBANK, SHARING, GO, signInAs('ada'))
    expect(answerOf(await walk(browser, atBank, agreeToAll(atBank)))['code']).toBeDefined()
  })

  test('the dashboard says that nothing is shared, why, and how to stop; the bank can be stopped there', async () => {
    const browser = createBrowser()
    await at.walk({ browser, customer: 'bo', accounts: ['nb-10003'] })
    await refuse()
    await settled()
    const dashboard = await at.sharing(browser)
    expect(dashboard.text).toMatch(/Northbank has decided not to share with Chatterbox[^]*Suspended/)
    expect(dashboard.text).toContain('sees nothing of one bank for now')
    const { id } = await at.newest()
    const stop = await browser.open(`${gateway.issuer}/sharing/${id}/stop`)
    expect(stop.text).toContain('Stop sharing Northbank with Chatterbox?')
    await platforms.set('northbank', { all: true })
    await settled()
    expect((await at.sharing(browser)).text).not.toContain('has decided not to share')
  })
})

describe('a bank that refuses the platform during a sign-in', () => {
  /** Nothing of the sign-in remains: the consent is rejected, and the bank has ended its own. */
  async function expectNothingLeft(): Promise<void> {
    await eventually('the rejection', async () => (await at.newest()).status === 'REJECTED')
    expect((await at.newest()).customer_id).toBeNull()
    await settled()
    const { connection } = await at.newest()
    expect([null, 'ENDED']).toContain(connection)
    const revoked = gateway.sent.findLast(({ method }) => method === 'DELETE')
    expect(revoked?.url).toContain('/account-access-consents/')
  }

  test('between page and bank: no address of the bank is given out, and its consent is ended', async () => {
    const browser = createBrowser()
    const { page, state } = await at.pages.begin(browser)
    const last = await walk(browser, page, BANK, SHARING)
    const held = gateway.holdNext('/account-access-consents')
    const leaving = walk(browser, last, GO)
    await held.reached
    await refuse()
    held.letGo()
    expect(answerOf(await leaving)).toMatchObject({
      error: 'access_denied',
      error_description: 'the bank does not serve this platform',
      state,
    })
    await expectNothingLeft()
  })

  test('after the address of the bank was given out: it is not given out again', async () => {
    const browser = createBrowser()
    const { page } = await at.pages.begin(browser)
    const last = await walk(browser, page, BANK, SHARING)
    await walk(browser, last, GO)
    await refuse()
    const again = await walk(browser, last, GO)
    expect(again.status).toBe(403)
    expect(again.text).toContain(REFUSAL)
    expect(answerOf(await walk(browser, again, CANCEL))).toMatchObject({ error: 'access_denied' })
    await expectNothingLeft()
  })

  test('the address of a sign-in is given out again only while the bank serves the platform', async () => {
    const { optIn } = gateway.app.services.consents
    const request = {
      clientId: 'chatterbox',
      bankId: 'northbank',
      scopes: ['accounts:read'],
      purposes: ['ANSWER_CUSTOMER'],
      days: 30,
      claimsSameCustomer: false,
      interactionUid: 'repeated',
      customer: { ip: '192.0.2.1', userAgent: null },
    } as const
    const step = await optIn.start(request)
    expect(step.kind).toBe('REDIRECT')
    expect(await optIn.start(request)).toEqual(step)
    await refuse()
    await expect(optIn.start(request)).rejects.toMatchObject({ code: 'PLATFORM_NOT_ALLOWED' })
    expect(await optIn.cancel('repeated')).toBe(true)
  })

  test("between bank and callback: the bank's code is not exchanged", async () => {
    const browser = createBrowser()
    const callback = await at.pages.untilCallback(browser)
    const countExchanges = () => gateway.sent.filter(({ body }) => body?.includes('authorization_code')).length
    const exchanges = countExchanges()
    await refuse()
    const back = answerOf(await browser.open(callback.url, at.pages.isPlatform))
    expect(back).toMatchObject({
      error: 'access_denied',
      error_description: 'the bank does not serve this platform',
    })
    expect(back['code']).toBeUndefined()
    await expectNothingLeft()
    expect(countExchanges()).toBe(exchanges)
  })

  test('while the accounts are fetched: the bank ends the consent, and no account is stored', async () => {
    const browser = createBrowser()
    const callback = await at.pages.untilCallback(browser)
    const accounts = (await gateway.database.query('select 1 from consent_account')).length
    const held = gateway.holdNext('/accounts')
    const returning = browser.open(callback.url, at.pages.isPlatform)
    await held.reached
    await refuse()
    held.letGo()
    expect(answerOf(await returning)).toMatchObject({ error: 'access_denied' })
    await expectNothingLeft()
    expect((await at.newest()).ended_by).toBe('BANK')
    expect((await gateway.database.query('select 1 from consent_account')).length).toBe(accounts)
  })

  test('between callback and code: no code is issued', async () => {
    const browser = createBrowser()
    const callback = await at.pages.untilCallback(browser)
    const resume = await browser.open(callback.url, isResume)
    await refuse()
    const back = answerOf(await browser.open(resume.url, at.pages.isPlatform))
    expect(back).toMatchObject({
      error: 'access_denied',
      error_description: 'the bank does not serve this platform',
    })
    await expectNothingLeft()
  })

  test('an activation that waits for a concurrent refusal issues no code', async () => {
    const browser = createBrowser()
    const callback = await at.pages.untilCallback(browser)
    const resume = await browser.open(callback.url, isResume)
    // As the transaction of a refusal does that has not committed yet.
    const held = await holdRows(gateway, "select 1 from bank where id = 'northbank' for no key update")
    const returning = browser.open(resume.url, at.pages.isPlatform)
    await held.waiting(1)
    await held.change(
      "update bank set platform_access_mode = 'ALL_EXCEPT', platform_organization_ids = $1 where id = 'northbank'",
      [[chatterbox]],
    )
    await held.release()
    expect(answerOf(await returning)).toMatchObject({ error: 'access_denied' })
    await expectNothingLeft()
  })

  test('a code that was issued before the refusal is redeemed, and its token reads nothing until the bank serves again', async () => {
    const browser = createBrowser()
    const { page, redeem } = await at.pages.begin(browser)
    const atBank = await walk(browser, page, BANK, SHARING, GO, SIGN_IN)
    const code = answerOf(await walk(browser, atBank, AGREE))['code']!
    await refuse()
    const token = await redeem(code)
    expect(await at.accountsOf(token)).toBe(0)
    await platforms.set('northbank', { all: true })
    expect(await at.accountsOf(token)).toBeGreaterThan(0)
  })
})
