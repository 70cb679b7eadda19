import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser, choicesOf, type Browser, type Page } from '../../src/entrypoints/cli/browser.ts'
import { customerOf, type Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { answerOf, BANK, consentPages, GO, SHARING, type Fields } from '../support/consent-pages.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let pages: ReturnType<typeof consentPages>
beforeAll(async () => {
  gateway = await startGateway()
  pages = consentPages(gateway)
})
afterAll(() => gateway.close())

const signInAs = (customer: string): Fields => [
  ['customer', customer],
  ['password', 'sandbox'],
  ['decision', 'sign-in'],
]
const RHEINBANK: Fields = [
  ['bank', 'rheinbank'],
  ['decision', 'go'],
]

interface Walk {
  readonly browser: Browser
  readonly customer: string
  readonly bank?: Fields
  readonly idTokenHint?: string | undefined
  /** Those that are ticked at the bank; all where absent. */
  readonly accounts?: readonly string[]
  /** The answer to "Was that you?", where it is asked. */
  readonly same?: 'yes' | 'no'
}

/** Walks through the consent pages and the bank's; returns what the platform is told. */
async function walk({ browser, customer, bank = BANK, idTokenHint, accounts, same = 'yes' }: Walk) {
  const { page, redeem } = await pages.begin(browser, idTokenHint === undefined ? {} : { idTokenHint })
  const answer: Fields = choicesOf(page, 'same').length > 0 ? [['same', same]] : []
  const atBank = await pages.walk(browser, page, [...answer, ...bank], SHARING, GO, signInAs(customer))
  const ticked = accounts ?? choicesOf(atBank, 'account')
  const chosen: Fields = ticked.map((account) => ['account', account])
  const back = answerOf(await pages.walk(browser, atBank, [...chosen, ['decision', 'allow']]))
  return { ...back, token: back['code'] === undefined ? undefined : await redeem(back['code']) }
}

const subject = (token: Token | undefined): string => customerOf(token!)!
const sharing = (browser: Browser): Promise<Page> => browser.open(`${gateway.issuer}/sharing`)

async function accountsOf(token: Token): Promise<number> {
  const { data } = await gateway.ask(token, '{ viewer { accounts { nodes { id } } } }')
  return (data!['viewer'] as { accounts: { nodes: unknown[] } }).accounts.nodes.length
}

/** Opens a page on another port of the gateway's host, which sets these cookies: browsers do not tell ports apart. */
async function plant(browser: Browser, cookies: string): Promise<void> {
  const page = createServer((_request, response) => {
    response.setHeader(
      'set-cookie',
      cookies.split('; ').map((pair) => `${pair}; path=/`),
    )
    response.end('a page')
  })
  await new Promise<void>((resolve) => page.listen(0, '127.0.0.1', resolve))
  await browser.open(`http://127.0.0.1:${(page.address() as AddressInfo).port}/`)
  page.close()
}

async function newestConsent(): Promise<{ state: string; connection: string | null; customer_id: string | null }> {
  const [row] = await gateway.database.query<{ state: string; connection: string | null; customer_id: string | null }>(
    `select consent.state, connection.state as connection, consent.customer_id from consent
     left join connection on connection.id = consent.connection_id order by consent.created_at desc limit 1`,
  )
  return row!
}

describe("an attacker who holds a customer's ID token", () => {
  test('signs in as themselves and gets neither the session, nor the subject, nor a consent', async () => {
    const ada = await gateway.customer('ada', ['northbank'])
    const before = await accountsOf(ada)
    const attacker = createBrowser()
    const back = await walk({ browser: attacker, customer: 'bo', idTokenHint: ada.idToken })
    expect(back).toMatchObject({ error: 'login_required', iss: gateway.issuer })
    expect(back).not.toHaveProperty('code')
    expect((await sharing(attacker)).status).toBe(401)
    expect(await accountsOf(ada)).toBe(before)
    expect(await newestConsent()).toMatchObject({ state: 'REJECTED', customer_id: null })
    await eventually('the end at the bank', async () => (await newestConsent()).connection === 'ENDED')
  })

  test("opens nothing of the customer's by holding a joint account, and joins no account that was not shared", async () => {
    const cleo = await gateway.customer('cleo', ['rheinbank'], { browser: createBrowser() })
    const joint = '8f1c2a44-0003-4000-8000-000000000003'
    const holder = createBrowser()
    const renewed = await walk({
      browser: holder,
      customer: 'dan',
      bank: RHEINBANK,
      idTokenHint: cleo.idToken,
      accounts: [joint],
    })
    // The bank names no person: all that is known is that they hold this account, which was shared before.
    expect(subject(renewed.token)).toBe(subject(cleo))
    expect((await sharing(holder)).status).toBe(401)
  })

  test('cannot renew with the accounts of somebody else beside a known one', async () => {
    const cleo = await gateway.customer('cleo', ['rheinbank'])
    const ada = await walk({
      browser: createBrowser(),
      customer: 'ada',
      bank: RHEINBANK,
      idTokenHint: cleo.idToken,
    })
    expect(ada).toMatchObject({ error: 'login_required' })
  })
})

describe('an attacker who plants a session cookie', () => {
  test('gets no account of a customer who truthfully says that they have shared before', async () => {
    const attacker = createBrowser()
    const bo = await gateway.customer('bo', ['northbank'], { browser: attacker })
    const held = await accountsOf(bo)
    const victim = createBrowser()
    await plant(victim, attacker.cookiesFor(`${gateway.issuer}/`))
    expect((await sharing(victim)).status).toBe(200)
    const { token } = await walk({ browser: victim, customer: 'finn', same: 'yes' })
    expect(subject(token)).not.toBe(subject(bo))
    expect(await accountsOf(token!)).toBe(10)
    expect(await accountsOf(bo)).toBe(held)
    // The planted session is over, for the attacker too; the new one is under another identifier.
    expect((await sharing(attacker)).status).toBe(401)
    expect((await sharing(victim)).text).toContain('Northbank')
  })
})

describe('a customer who shares a second time', () => {
  test('keeps the subject from any browser where the bank knows the person, and finds all of their sharing there', async () => {
    const first = await gateway.customer('cody', ['southbank'])
    const browser = createBrowser()
    const second = await gateway.customer('cody', ['southbank'], { browser })
    expect(subject(second)).toBe(subject(first))
    expect((await sharing(browser)).text.match(/Stop sharing<\/a>/g)).toHaveLength(2)
  })

  test('keeps the subject with a further bank where this browser and the platform both name them', async () => {
    const browser = createBrowser()
    const both = await gateway.customer('ada', ['northbank', 'rheinbank'], { browser })
    expect(await accountsOf(both)).toBe(4)
  })

  test('is a new customer with a further bank where only the browser names them', async () => {
    const browser = createBrowser()
    const first = await walk({ browser, customer: 'dan' })
    const second = await walk({ browser, customer: 'dan', bank: RHEINBANK })
    expect(subject(second.token)).not.toBe(subject(first.token))
  })

  test('keeps the subject in the same browser at a bank that names no person, by the accounts shared before', async () => {
    const browser = createBrowser()
    const first = await walk({ browser, customer: 'cleo', bank: RHEINBANK })
    const second = await walk({ browser, customer: 'cleo', bank: RHEINBANK })
    expect(subject(second.token)).toBe(subject(first.token))
    const elsewhere = await walk({ browser: createBrowser(), customer: 'cleo', bank: RHEINBANK })
    expect(subject(elsewhere.token)).not.toBe(subject(first.token))
  })

  test('is served by the consent agreed last, where the bank takes the tokens of the first no more', async () => {
    await gateway.customer('dan', ['northbank'])
    await gateway.database.query(
      `update connection set state = 'RECONNECT', sealed_access = null
       where customer_id = (select customer_id from consent order by created_at desc limit 1)`,
    )
    const again = await gateway.customer('dan', ['northbank'])
    const { data } = await gateway.ask(
      again,
      '{ viewer { accounts { nodes { balances { ... on BalanceUnavailable { reason } } } } } }',
    )
    const { nodes } = (data!['viewer'] as { accounts: { nodes: { balances: { reason?: string } }[] } }).accounts
    const reasons = nodes.map(({ balances }) => balances.reason)
    expect(reasons).toContain(undefined)
    expect(reasons).not.toContain('RECONNECT_REQUIRED')
  })
})
