import { createHash } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { parseChoices, createBrowser } from '../../src/entrypoints/cli/browser.ts'
import {
  answerOf,
  BANK,
  CANCEL,
  consentPages,
  DETAILS,
  GO,
  SHARING,
  SIGN_IN,
  type Fields,
} from '../support/consent-pages.ts'
import { ALL_SCOPES, startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let pages: ReturnType<typeof consentPages>
beforeAll(async () => {
  gateway = await startGateway()
  pages = consentPages(gateway)
})
afterAll(() => gateway.close())
beforeEach(() => {
  gateway.intercept = undefined
})

describe('a customer opts in', () => {
  test('the pages show the platform, what is shared and never shared, the duration, and that the bank is next', async () => {
    const browser = createBrowser()
    const { page } = await pages.begin(browser)
    expect(page.text).toContain('Chatterbox asks to see your accounts, your balances and security alerts')
    expect(page.text).toContain('Purchases and payments: never shared.')
    expect(parseChoices(page, 'bank')).toEqual(['northbank', 'rheinbank', 'southbank', 'westbank'])
    const sharing = await pages.walk(browser, page, BANK)
    expect(sharing.text).toMatch(/Not for ads, not for\s+offers, not sold/)
    expect(parseChoices(sharing, 'share')).toEqual(['range', 'exact', 'alerts'])
    expect(sharing.text).not.toMatch(/type="checkbox"[^>]*checked/)
    const leaving = await pages.walk(browser, sharing, SHARING)
    expect(leaving.text).toContain('Now Northbank asks you to sign in')
  })

  test('a scope that the customer did not select is in neither the token nor the response', async () => {
    const browser = createBrowser()
    const { page, redeem, state } = await pages.begin(browser)
    const accounts = await pages.walk(browser, page, BANK, SHARING, GO, SIGN_IN)
    const [first] = parseChoices(accounts, 'account')
    const done = answerOf(
      await pages.walk(browser, accounts, [
        ['account', first!],
        ['decision', 'allow'],
      ]),
    )
    expect(done).toMatchObject({ state, iss: gateway.issuer })
    const token = await redeem(done['code']!)
    const { data, errors } = await gateway.ask(
      token,
      '{ customer { accounts { nodes { id balances { ... on ExactBalance { value { amount } } } thresholdSteps { amount } } } alerts { nodes { id } } } }',
    )
    const customer = data!['customer'] as {
      accounts: { nodes: { balances: { value: { amount: string } }[]; thresholdSteps: null }[] }
      alerts: null
    }
    // The customer chose one of two accounts at the bank.
    expect(customer.accounts.nodes).toHaveLength(1)
    expect(customer.accounts.nodes[0]!.balances[0]!.value.amount).toMatch(/^\d+\.\d\d$/)
    expect(customer.accounts.nodes[0]!.thresholdSteps).toBeNull()
    expect(customer.alerts).toBeNull()
    expect(errors!.map(({ path, extensions }) => [path!.join('.'), extensions!.code])).toEqual([
      ['customer.accounts.nodes.thresholdSteps', 'UNAUTHORIZED_FIELD_OR_TYPE'],
      ['customer.alerts', 'UNAUTHORIZED_FIELD_OR_TYPE'],
    ])
  })

  test.each([
    ['on the page that asks for the bank', [CANCEL], 'access_denied'],
    ['on the page that says what is shared', [BANK, CANCEL], 'access_denied'],
    ['on the page before the bank', [BANK, SHARING, CANCEL], 'access_denied'],
    ["at the bank's sign-in", [BANK, SHARING, GO, CANCEL], 'access_denied'],
    [
      "at the bank's choice of accounts",
      [BANK, SHARING, GO, SIGN_IN, [['decision', 'refuse']] as Fields],
      'access_denied',
    ],
  ])('cancelling %s leads back to the platform with an OAuth error', async (_where, steps, error) => {
    const browser = createBrowser()
    const { page, state } = await pages.begin(browser)
    const back = await pages.walk(browser, page, ...steps)
    expect(answerOf(back)).toMatchObject({ error, state, iss: gateway.issuer })
    expect(answerOf(back)).not.toHaveProperty('code')
  })

  test('a new customer in a shared browser gets no data of the earlier customer', async () => {
    const browser = createBrowser()
    const ada = await gateway.customer('ada', ['northbank'], { browser })
    const { page, redeem } = await pages.begin(browser)
    expect(parseChoices(page, 'same')).toEqual(['yes', 'no'])
    expect(page.text).toMatch(/<input type="radio" name="same" value="yes" required/)
    const asBo: Fields = [
      ['customer', 'bo'],
      ['password', 'sandbox'],
      ['decision', 'sign-in'],
    ]
    const accounts = await pages.walk(browser, page, [['same', 'no'], ...BANK], SHARING, GO, asBo)
    const back = await pages.walk(browser, accounts, [
      ['account', 'nb-10003'],
      ['decision', 'allow'],
    ])
    const bo = await redeem(answerOf(back)['code']!)
    const customer = async (token: typeof bo) =>
      (await gateway.ask(token, '{ customer { id accounts { nodes { type } } } }')).data!['customer'] as {
        id: string
        accounts: { nodes: { type: string }[] }
      }
    expect((await customer(bo)).accounts.nodes.map(({ type }) => type)).toEqual(['CARD'])
    expect((await customer(ada)).accounts.nodes.map(({ type }) => type)).toEqual(['CURRENT', 'SAVINGS'])
    expect((await customer(bo)).id).not.toBe((await customer(ada)).id)
    // From here on, the session is Bo's.
    expect((await browser.open(`${gateway.issuer}/sharing`)).text.match(/Stop sharing<\/a>/g)).toHaveLength(1)
    // If the platform names the customer, the page does not ask, and the session is theirs again.
    const named = await pages.begin(browser, { idTokenHint: ada.idToken! })
    expect(parseChoices(named.page, 'same')).toEqual([])
    const again = await pages.walk(browser, named.page, BANK, SHARING, GO, SIGN_IN, [
      ['account', 'nb-10001'],
      ['decision', 'allow'],
    ])
    const adaAgain = await named.redeem(answerOf(again)['code']!)
    expect((await customer(adaAgain)).id).toBe((await customer(ada)).id)
  })

  test('each account is disclosed only as far as its own consent allows, even if the token allows more', async () => {
    const browser = createBrowser()
    const { idToken } = await gateway.customer('finn', ['northbank'], { browser, scopes: ['accounts:read'] })
    const wide = await gateway.customer('finn', ['rheinbank'], { browser, scopes: ALL_SCOPES, idTokenHint: idToken })
    const customer = (
      await gateway.ask(
        wide,
        '{ customer { accounts { nodes { bank { id } balances { __typename ... on BalanceUnavailable { reason { code resolvableBy } } } } } } }',
      )
    ).data!['customer'] as { accounts: { nodes: { bank: { id: string }; balances: object[] }[] } }
    expect(customer.accounts.nodes).toHaveLength(20)
    for (const { bank, balances } of customer.accounts.nodes)
      expect(balances).toEqual([
        bank.id === 'northbank'
          ? { __typename: 'BalanceUnavailable', reason: { code: 'NOT_CONSENTED', resolvableBy: 'CUSTOMER' } }
          : { __typename: 'ExactBalance' },
      ])
  })

  test('two clients know the same customer and account by different IDs', async () => {
    const browser = createBrowser()
    const one = await gateway.customer('ada', ['northbank'], { browser })
    const other = await gateway.customer('ada', ['northbank'], { browser, clientId: 'chatterbox-bearer' })
    const ids = async (token: typeof one) =>
      (await gateway.ask(token, '{ customer { id accounts { nodes { id } } } }')).data!['customer'] as {
        id: string
        accounts: { nodes: { id: string }[] }
      }
    const [a, b] = [await ids(one), await ids(other)]
    expect(a.id).not.toBe(b.id)
    expect(
      a.accounts.nodes.map(({ id }) => id).filter((id) => b.accounts.nodes.some((account) => account.id === id)),
    ).toEqual([])
    expect(
      await gateway.database.query(
        'select 1 from account where customer_id in (select customer_id from pairwise_subject where sub = $1)',
        [a.id],
      ),
    ).toHaveLength(2)
  })

  test('if a new consent ends the earlier one at the bank, the earlier client continues with the new one', async () => {
    const browser = createBrowser()
    const earlier = await gateway.customer('ada', ['rheinbank'], { browser })
    await gateway.customer('ada', ['rheinbank'], { browser, clientId: 'chatterbox-bearer' })
    gateway.forward(20_000)
    const customer = (await gateway.ask(earlier, '{ customer { accounts { nodes { balances { __typename } } } } }'))
      .data!['customer'] as { accounts: { nodes: { balances: { __typename: string }[] }[] } }
    expect(customer.accounts.nodes.map(({ balances }) => balances[0]!.__typename)).toEqual([
      'ExactBalance',
      'ExactBalance',
    ])
  })

  test('a request for account names only leads back to the platform with a token for them', async () => {
    const browser = createBrowser()
    const { page, redeem } = await pages.begin(browser, {
      details: { ...DETAILS, actions: ['accounts:read'] },
      scope: 'openid accounts:read',
    })
    const asDan: Fields = [
      ['customer', 'dan'],
      ['password', 'sandbox'],
      ['decision', 'sign-in'],
    ]
    const accounts = await pages.walk(browser, page, BANK, SHARING, GO, asDan)
    const back = await pages.walk(browser, accounts, [
      ['account', parseChoices(accounts, 'account')[0]!],
      ['decision', 'allow'],
    ])
    const token = await redeem(answerOf(back)['code']!)
    const { data, errors } = await gateway.ask(
      token,
      '{ customer { accounts { nodes { currencies balances { __typename } } } } }',
    )
    expect(data!['customer']).toEqual({ accounts: { nodes: [{ currencies: ['GBP'], balances: null }] } })
    expect(errors!.map(({ extensions }) => extensions!.code)).toEqual(['UNAUTHORIZED_FIELD_OR_TYPE'])
  })

  test('pages run no script, load nothing, and cannot be framed', async () => {
    const browser = createBrowser()
    const { page } = await pages.begin(browser)
    const answer = await fetch(`${gateway.issuer}/sharing`)
    expect(answer.headers.get('content-security-policy')).toMatch(
      /^default-src 'none'; style-src 'sha256-[^']+'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'$/,
    )
    const own = await answer.text()
    const [, style] = /<style>([\s\S]*?)<\/style>/.exec(own)!
    expect(answer.headers.get('content-security-policy')).toContain(
      `'sha256-${createHash('sha256').update(style!).digest('base64')}'`,
    )
    for (const text of [page.text, own]) {
      expect(text).not.toMatch(/<script|javascript:|\son\w+=|<img|<link|@import|url\(/i)
      expect(text).toMatch(/<html lang="en">/)
    }
  })
})
