import { createHash, randomBytes } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { choicesOf, createBrowser, type Browser, type Page } from '../../src/entrypoints/cli/browser.ts'
import { newDpopKey, oauthClient } from '../../src/entrypoints/cli/oauth-client.ts'
import { ALL_SCOPES, startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())
beforeEach(() => {
  gateway.intercept = undefined
})

const DETAILS = { type: 'urn:guichet:account-information', actions: ALL_SCOPES, purposes: ['ANSWER_CUSTOMER'] }
const isPlatform = (url: URL): boolean => url.origin === gateway.sandbox.platform

/** Pushes a request and opens the first consent page. */
async function begin(
  browser: Browser,
  change: { details?: unknown; scope?: string; idTokenHint?: string } = {},
): Promise<{ page: Page; state: string; redeem: (code: string) => Promise<{ accessToken: string }> }> {
  const oauth = oauthClient(gateway.issuer, gateway.client('chatterbox'))
  const key = await newDpopKey()
  const state = randomBytes(9).toString('base64url')
  const { url, codeVerifier } = await oauth.push(
    {
      scope: change.scope ?? ['openid', ...ALL_SCOPES].join(' '),
      details: change.details ?? DETAILS,
      state,
      ...(change.idTokenHint && { idTokenHint: change.idTokenHint }),
    },
    key,
  )
  return { page: await browser.open(url, isPlatform), state, redeem: (code) => oauth.redeem(code, codeVerifier, key) }
}

type Fields = [string, string][]
const BANK: Fields = [
  ['bank', 'northbank'],
  ['decision', 'go'],
]
const SHARING: Fields = [
  ['share', 'exact'],
  ['days', '30'],
  ['decision', 'go'],
]
const GO: Fields = [['decision', 'go']]
const SIGN_IN: Fields = [
  ['customer', 'ada'],
  ['password', 'sandbox'],
  ['decision', 'sign-in'],
]
const CANCEL: Fields = [['decision', 'cancel']]

/** Fills in page after page and stops at the platform's address. */
async function walk(browser: Browser, page: Page, ...steps: Fields[]): Promise<Page> {
  for (const fields of steps) page = await browser.submit(page, fields, isPlatform)
  return page
}

const answerOf = ({ url }: Page) => Object.fromEntries(new URL(url).searchParams)

describe('a customer opts in', () => {
  test('the pages say who asks, what is shared, what never is, for how long, and that the bank comes next', async () => {
    const browser = createBrowser()
    const { page } = await begin(browser)
    expect(page.text).toContain('Chatterbox asks to show you your balances')
    expect(page.text).toContain('Purchases and payments: never shared.')
    expect(choicesOf(page, 'bank')).toEqual(['northbank', 'rheinbank'])
    const sharing = await walk(browser, page, BANK)
    expect(sharing.text).toMatch(/Not for ads, not for\s+offers, not sold/)
    expect(choicesOf(sharing, 'share')).toEqual(['range', 'exact', 'alerts'])
    expect(sharing.text).not.toMatch(/type="checkbox"[^>]*checked/)
    const leaving = await walk(browser, sharing, SHARING)
    expect(leaving.text).toContain('Now Northbank asks you to sign in')
  })

  test('what the customer did not switch on is not in the token, and so not in the answer', async () => {
    const browser = createBrowser()
    const { page, redeem, state } = await begin(browser)
    const accounts = await walk(browser, page, BANK, SHARING, GO, SIGN_IN)
    const [first] = choicesOf(accounts, 'account')
    const done = answerOf(
      await walk(browser, accounts, [
        ['account', first!],
        ['decision', 'allow'],
      ]),
    )
    expect(done).toMatchObject({ state, iss: gateway.issuer })
    const token = (await redeem(done['code']!)) as Parameters<TestGateway['ask']>[0]
    const { data, errors } = await gateway.ask(
      token,
      '{ viewer { accounts { id balances { ... on ExactBalance { amount } } balanceBand { ... on BalanceBand { from } } } alerts { id } } }',
    )
    const viewer = data!['viewer'] as { accounts: { balances: { amount: string }; balanceBand: null }[]; alerts: null }
    // Of two accounts at the bank, the one that was chosen.
    expect(viewer.accounts).toHaveLength(1)
    expect(viewer.accounts[0]!.balances.amount).toMatch(/^\d+\.\d\d$/)
    expect(viewer.accounts[0]!.balanceBand).toBeNull()
    expect(viewer.alerts).toBeNull()
    expect(errors!.map(({ path, extensions }) => [path!.join('.'), extensions!.code])).toEqual([
      ['viewer.accounts.balanceBand', 'UNAUTHORIZED_FIELD_OR_TYPE'],
      ['viewer.alerts', 'UNAUTHORIZED_FIELD_OR_TYPE'],
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
    const { page, state } = await begin(browser)
    const back = await walk(browser, page, ...steps)
    expect(answerOf(back)).toMatchObject({ error, state, iss: gateway.issuer })
    expect(answerOf(back)).not.toHaveProperty('code')
  })

  test('a bank that cannot be reached leads back to the platform with temporarily_unavailable', async () => {
    gateway.intercept = (request) =>
      request.url.includes('account-access-consents')
        ? Promise.resolve({ status: 502, headers: {}, text: '<h1>Bad gateway</h1>' })
        : undefined
    const browser = createBrowser()
    const { page, state } = await begin(browser)
    expect(answerOf(await walk(browser, page, BANK, SHARING, GO))).toMatchObject({
      error: 'temporarily_unavailable',
      state,
    })
  })

  test('a bank that fails after the sign-in leads back, too, and leaves no live consent', async () => {
    const browser = createBrowser()
    const { page, state } = await begin(browser)
    const accounts = await walk(browser, page, BANK, SHARING, GO, SIGN_IN)
    gateway.intercept = (request) =>
      request.url.endsWith('/aisp/accounts')
        ? Promise.resolve({ status: 200, headers: {}, text: '{"Data":{"Account":[{"Acc' })
        : undefined
    const back = await walk(browser, accounts, [
      ['account', 'nb-10001'],
      ['decision', 'allow'],
    ])
    expect(answerOf(back)).toMatchObject({ error: 'temporarily_unavailable', state })
    const [row] = await gateway.database.query<{ state: string }>(
      'select state from consent order by created_at desc limit 1',
    )
    expect(row!.state).toBe('REJECTED')
  })

  test("the bank's callback works once, in the browser that began, and nowhere else", async () => {
    const browser = createBrowser()
    const { page } = await begin(browser)
    const accounts = await walk(browser, page, BANK, SHARING, GO, SIGN_IN)
    // Stop at the callback, as a thief who reads the address would.
    const callback = await browser.submit(
      accounts,
      [
        ['account', 'nb-10001'],
        ['decision', 'allow'],
      ],
      (url) => url.pathname === '/bank/callback',
    )
    const thief = await createBrowser().open(callback.url, isPlatform)
    expect(thief.status).toBe(400)
    expect(thief.text).toContain('no longer valid')
    const rightful = await browser.open(callback.url, isPlatform)
    expect(answerOf(rightful)['code']).toBeDefined()
    const again = await browser.open(callback.url, isPlatform)
    expect(again.status).toBe(400)
  })

  test('what the bank answered for one visit is not taken by another of the same browser', async () => {
    const browser = createBrowser()
    const one = await begin(browser)
    const accounts = await walk(browser, one.page, BANK, SHARING, GO, SIGN_IN)
    const agreed: Fields = [
      ['account', 'nb-10001'],
      ['decision', 'allow'],
    ]
    const callback = await browser.submit(accounts, agreed, (url) => url.pathname === '/bank/callback')
    const other = await begin(browser)
    const uid = /\/interaction\/([^/"]+)\//.exec(other.page.text)![1]!
    const mixed = await browser.open(
      `${gateway.issuer}/interaction/${uid}/return${new URL(callback.url).search}`,
      isPlatform,
    )
    expect(mixed.status).toBe(400)
    expect(answerOf(await browser.open(callback.url, isPlatform))['code']).toBeDefined()
  })

  test('of ten returns with the same code at once, one makes a consent', async () => {
    const browser = createBrowser()
    const { page } = await begin(browser)
    const accounts = await walk(browser, page, BANK, SHARING, GO, SIGN_IN)
    const callback = await browser.submit(
      accounts,
      [
        ['account', 'nb-10001'],
        ['decision', 'allow'],
      ],
      (url) => url.pathname === '/bank/callback',
    )
    const before = await gateway.database.query("select 1 from consent where state = 'ACTIVE'")
    const results = await Promise.all(Array.from({ length: 10 }, () => browser.open(callback.url, isPlatform)))
    expect(results.filter((result) => answerOf(result)['code'] !== undefined)).toHaveLength(1)
    expect(await gateway.database.query("select 1 from consent where state = 'ACTIVE'")).toHaveLength(before.length + 1)
  })

  test('a callback with a made-up state, none, or half an answer gets a page that says so and no more', async () => {
    for (const query of [
      'state=made-up&code=x',
      '',
      'response=a.b.c',
      `response=x.${Buffer.from('{"state":"<script>"}').toString('base64url')}.y`,
    ]) {
      const page = await createBrowser().open(`${gateway.issuer}/bank/callback?${query}`)
      expect(page.status).toBe(400)
      expect(page.text).not.toContain('<script>')
      expect(page.text).toContain('Nothing was shared')
    }
  })

  test('an answer of the bank that was changed on the way is refused', async () => {
    const browser = createBrowser()
    const { page } = await begin(browser)
    const accounts = await walk(browser, page, BANK, SHARING, GO, SIGN_IN)
    const callback = await browser.submit(
      accounts,
      [
        ['account', 'nb-10001'],
        ['decision', 'allow'],
      ],
      (url) => url.pathname === '/bank/callback',
    )
    const stolen = new URL(callback.url)
    const response = stolen.searchParams.get('response')!
    const [head, body, signature] = response.split('.')
    const claims = JSON.parse(Buffer.from(body!, 'base64url').toString()) as Record<string, unknown>
    stolen.searchParams.set(
      'response',
      [head, Buffer.from(JSON.stringify({ ...claims, code: 'another' })).toString('base64url'), signature].join('.'),
    )
    expect(answerOf(await browser.open(stolen.href, isPlatform))).toMatchObject({ error: 'temporarily_unavailable' })
  })

  test('a further bank joins the same subject: by id_token_hint from any browser, by session without it', async () => {
    const first = await gateway.customer('ada', ['northbank'])
    const sub = (token: { idToken?: string }) =>
      (JSON.parse(Buffer.from(token.idToken!.split('.')[1]!, 'base64url').toString()) as { sub: string }).sub
    const { optIn } = await import('../../src/entrypoints/cli/opt-in.ts')
    const wish = {
      issuer: gateway.issuer,
      client: gateway.client('chatterbox'),
      bearer: false,
      customer: 'ada',
      bank: 'rheinbank',
      scopes: ALL_SCOPES,
    }
    const hinted = await optIn({ ...wish, idTokenHint: first.idToken! })
    expect(sub(hinted)).toBe(sub(first))
    const stranger = await optIn(wish)
    expect(sub(stranger)).not.toBe(sub(first))
    const browser = createBrowser()
    const one = await optIn({ ...wish, browser })
    const two = await optIn({ ...wish, bank: 'northbank', browser })
    expect(sub(two)).toBe(sub(one))
    const rows = (await gateway.ask(two, '{ viewer { accounts { bank { id } } } }')).data!['viewer'] as {
      accounts: unknown[]
    }
    expect(rows.accounts).toHaveLength(4)
  })

  test('two people who share a browser are asked, and the one who says no gets nothing of the other', async () => {
    const browser = createBrowser()
    const ada = await gateway.customer('ada', ['northbank'], { browser })
    const { page, redeem } = await begin(browser)
    expect(choicesOf(page, 'same')).toEqual(['yes', 'no'])
    expect(page.text).toMatch(/<input type="radio" name="same" value="yes" required/)
    const asBo: Fields = [
      ['customer', 'bo'],
      ['password', 'sandbox'],
      ['decision', 'sign-in'],
    ]
    const accounts = await walk(browser, page, [['same', 'no'], ...BANK], SHARING, GO, asBo)
    const back = await walk(browser, accounts, [
      ['account', 'nb-10003'],
      ['decision', 'allow'],
    ])
    const bo = (await redeem(answerOf(back)['code']!)) as Parameters<TestGateway['ask']>[0]
    const viewer = async (token: typeof bo) =>
      (await gateway.ask(token, '{ viewer { id accounts { type } } }')).data!['viewer'] as {
        id: string
        accounts: { type: string }[]
      }
    expect((await viewer(bo)).accounts.map(({ type }) => type)).toEqual(['CARD'])
    expect((await viewer(ada)).accounts.map(({ type }) => type)).toEqual(['CURRENT', 'SAVINGS'])
    expect((await viewer(bo)).id).not.toBe((await viewer(ada)).id)
    // From here on the browser is Bo's.
    expect((await browser.open(`${gateway.issuer}/sharing`)).text.match(/Stop sharing<\/a>/g)).toHaveLength(1)
    // Where the platform names the customer, nobody is asked, and the browser is theirs again.
    const named = await begin(browser, { idTokenHint: ada.idToken! })
    expect(choicesOf(named.page, 'same')).toEqual([])
    const again = await walk(browser, named.page, BANK, SHARING, GO, SIGN_IN, [
      ['account', 'nb-10001'],
      ['decision', 'allow'],
    ])
    const adaAgain = (await named.redeem(answerOf(again)['code']!)) as Parameters<TestGateway['ask']>[0]
    expect((await viewer(adaAgain)).id).toBe((await viewer(ada)).id)
  })

  test('each row opens only as far as its own consent goes, whatever the token could', async () => {
    const browser = createBrowser()
    await gateway.customer('ada', ['northbank'], { browser, scopes: ['accounts:read'] })
    const wide = await gateway.customer('ada', ['rheinbank'], { browser, scopes: ALL_SCOPES })
    const viewer = (
      await gateway.ask(
        wide,
        '{ viewer { accounts { bank { id } balances { __typename ... on BalanceUnavailable { reason actor } } } } }',
      )
    ).data!['viewer'] as { accounts: { bank: { id: string }; balances: Record<string, string> }[] }
    for (const { bank, balances } of viewer.accounts)
      expect(balances).toEqual(
        bank.id === 'northbank'
          ? { __typename: 'BalanceUnavailable', reason: 'NOT_CONSENTED', actor: 'CUSTOMER' }
          : { __typename: 'ExactBalance' },
      )
  })

  test('two clients know the same customer and account by different names', async () => {
    const browser = createBrowser()
    const one = await gateway.customer('ada', ['northbank'], { browser })
    const other = await gateway.customer('ada', ['northbank'], { browser, clientId: 'chatterbox-bearer' })
    const ids = async (token: typeof one) =>
      (await gateway.ask(token, '{ viewer { id accounts { id } } }')).data!['viewer'] as {
        id: string
        accounts: { id: string }[]
      }
    const [a, b] = [await ids(one), await ids(other)]
    expect(a.id).not.toBe(b.id)
    expect(a.accounts.map(({ id }) => id).filter((id) => b.accounts.some((account) => account.id === id))).toEqual([])
    expect(
      await gateway.database.query(
        'select 1 from account where customer_id in (select customer_id from subject where sub = $1)',
        [a.id],
      ),
    ).toHaveLength(2)
  })

  test('at a bank where a new consent ends the earlier one, the earlier client goes on with the new one', async () => {
    const browser = createBrowser()
    const earlier = await gateway.customer('ada', ['rheinbank'], { browser })
    await gateway.customer('ada', ['rheinbank'], { browser, clientId: 'chatterbox-bearer' })
    gateway.forward(20_000)
    const viewer = (await gateway.ask(earlier, '{ viewer { accounts { balances { __typename } } } }')).data![
      'viewer'
    ] as { accounts: { balances: { __typename: string } }[] }
    expect(viewer.accounts.map(({ balances }) => balances.__typename)).toEqual(['ExactBalance', 'ExactBalance'])
  })

  test.each([
    ['no authorization_details of our type', { details: { type: 'payment_initiation' } }],
    ['an action that does not exist', { details: { ...DETAILS, actions: ['transactions:read'] } }],
    ['a purpose that cannot be said', { details: { ...DETAILS, purposes: ['ADVERTISING'] } }],
    ['an action that is not in its scope', { scope: 'openid accounts:read' }],
    ['a member that nobody asked for', { details: { ...DETAILS, merchants: true } }],
  ])('a request with %s is refused when it is pushed', async (_what, change) => {
    await expect(begin(createBrowser(), change)).rejects.toThrow(/invalid_authorization_details/)
  })

  test('a request for more scopes than actions ends at the platform, with a token for the actions', async () => {
    const browser = createBrowser()
    const { page, redeem } = await begin(browser, { details: { ...DETAILS, actions: ['accounts:read'] } })
    const accounts = await walk(browser, page, BANK, SHARING, GO, SIGN_IN)
    const back = await walk(browser, accounts, [
      ['account', 'nb-10001'],
      ['decision', 'allow'],
    ])
    const token = (await redeem(answerOf(back)['code']!)) as Parameters<TestGateway['ask']>[0]
    const { data, errors } = await gateway.ask(token, '{ viewer { accounts { currency balances { __typename } } } }')
    expect(data!['viewer']).toEqual({ accounts: [{ currency: 'GBP', balances: null }] })
    expect(errors!.map(({ extensions }) => extensions!.code)).toEqual(['UNAUTHORIZED_FIELD_OR_TYPE'])
  })

  test('an action that the client was not registered for cannot be asked for, so no customer is asked for it', async () => {
    await gateway.database.query(
      "update client set scopes = array_remove(scopes, 'balances:exact') where id = 'chatterbox'",
    )
    await expect(begin(createBrowser())).rejects.toThrow(/invalid_authorization_details/)
    await gateway.database.query(
      "update client set scopes = array_append(scopes, 'balances:exact') where id = 'chatterbox'",
    )
  })

  test('a visit that was left half-way is closed after a while, and its wish with it', async () => {
    const browser = createBrowser()
    const { page } = await begin(browser)
    const signIn = await walk(browser, page, BANK, SHARING, GO)
    gateway.forward(31 * 60_000)
    expect(await gateway.app.services.consents.forgetAbandoned()).toBeGreaterThan(0)
    expect(await gateway.database.query("select 1 from consent where state = 'PENDING'")).toEqual([])
    const accounts = await browser.submit(signIn, SIGN_IN, isPlatform)
    const late = await browser.submit(
      accounts,
      [
        ['account', 'nb-10001'],
        ['decision', 'allow'],
      ],
      isPlatform,
    )
    expect(late.status).toBe(400)
  })

  test('a consent page that is posted to from another site, or with another visit, is refused', async () => {
    const browser = createBrowser()
    const { page } = await begin(browser)
    const other = await begin(createBrowser())
    const uid = /\/interaction\/([^/"]+)\//.exec(other.page.text)![1]!
    const foreign = await browser.open(`${gateway.issuer}/interaction/${uid}`)
    expect(foreign.status).toBe(400)
    const action = new URL(/action="([^"]+)"/.exec(page.text)![1]!, gateway.issuer).href
    const submit = (origin: string) =>
      fetch(action, {
        method: 'POST',
        redirect: 'manual',
        headers: { origin, cookie: browser.cookiesFor(action) },
        body: new URLSearchParams({ decision: 'go', bank: 'northbank' }),
      })
    for (const origin of ['https://evil.example', 'null', `${gateway.issuer}.evil.example`])
      expect((await submit(origin)).status).toBe(403)
    expect((await submit(gateway.issuer)).status).toBe(303)
  })

  test('pages run no script, load nothing, and cannot be framed', async () => {
    const browser = createBrowser()
    const { page } = await begin(browser)
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
