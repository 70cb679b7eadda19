import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { AGREE, answerOf, BANK, CANCEL, GO, SHARING, SIGN_IN } from '../support/consent-pages.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { agreeToAll, signInAs, subject, visits } from '../support/interactions.ts'

let gateway: TestGateway
let at: ReturnType<typeof visits>
beforeAll(async () => {
  gateway = await startGateway()
  at = visits(gateway)
})
afterAll(() => gateway.close())

const deletions = (): string[] => gateway.sent.filter(({ method }) => method === 'DELETE').map(({ url }) => url)

/** The bank-side consents of a persona that have not ended. */
async function openAtBank(customer: string): Promise<number> {
  const answer = await fetch(`${gateway.sandbox.banks.northbank}/sandbox/consents?customer=${customer}`)
  const { consents } = (await answer.json()) as { consents: { status: string }[] }
  return consents.filter(({ status }) => status !== 'DELETED').length
}

describe('an interaction that ends while the bank responds', () => {
  test('a consent request that returns after the interaction ended redirects nobody, and its bank-side consent ends', async () => {
    const browser = createBrowser()
    const { page, state } = await at.pages.begin(browser)
    const leaving = await at.pages.walk(browser, page, BANK, SHARING)
    const bank = gateway.holdNext('/account-access-consents')
    const before = deletions().length
    const gone = browser.submit(leaving, GO, at.pages.isPlatform)
    await bank.reached
    expect(answerOf(await at.pages.walk(browser, page, CANCEL))).toMatchObject({ error: 'access_denied', state })
    bank.letGo()
    const led = await gone
    expect(new URL(led.url).origin).not.toBe(gateway.sandbox.banks.northbank)
    expect(led.text).not.toContain('/authorize?')
    expect(await at.newest()).toMatchObject({ status: 'REJECTED', connection: null })
    await eventually('the end at the bank', () => Promise.resolve(deletions().length === before + 1))
  })

  test('a code exchange that returns after the interaction ended leaves no open connection or bank-side consent', async () => {
    const browser = createBrowser()
    const { page } = await at.pages.begin(browser)
    const atBank = await at.pages.walk(browser, page, BANK, SHARING, GO, SIGN_IN)
    const bank = gateway.holdNext('/token')
    const back = at.pages.walk(browser, atBank, AGREE)
    await bank.reached
    await at.pages.walk(browser, page, CANCEL)
    bank.letGo()
    expect(answerOf(await back)).not.toHaveProperty('code')
    const { id } = await at.newest()
    expect(await at.newest()).toMatchObject({ status: 'REJECTED', customer_id: null })
    await eventually('the end of the connection', async () => {
      const open = await gateway.database.query(
        `select 1 from connection where status = 'OPEN' and customer_id not in (select customer_id from consent where customer_id is not null)`,
      )
      return open.length === 0
    })
    await eventually('the end at the bank', async () => (await openAtBank('ada')) === 0)
    expect(await gateway.database.query('select 1 from consent_account where consent_id = $1', [id])).toEqual([])
  })
})

describe('two concurrent first sign-ins of one person', () => {
  test('two concurrent first sign-ins of one person create one customer, in each of thirty runs', async () => {
    for (let round = 0; round < 30; round++) {
      // Nobody has seen the person before.
      await gateway.database.query(`update connection set customer_digest = null where customer_digest is not null`)
      const both = await Promise.all(
        [createBrowser(), createBrowser()].map(async (browser) => {
          const { page, redeem } = await at.pages.begin(browser)
          const atBank = await at.pages.walk(browser, page, BANK, SHARING, GO, signInAs('bo'))
          return { browser, atBank, redeem }
        }),
      )
      const tokens = await Promise.all(
        both.map(async ({ browser, atBank, redeem }) =>
          redeem(answerOf(await at.pages.walk(browser, atBank, agreeToAll(atBank)))['code']!),
        ),
      )
      const customers = await gateway.database.query<{ customer_id: string }>(
        'select distinct customer_id from consent where oauth_grant_id = any($1)',
        [tokens.map(({ grantId }) => grantId)],
      )
      expect([round, customers.length]).toEqual([round, 1])
      expect(subject(tokens[0])).toBe(subject(tokens[1]))
    }
  })
})
