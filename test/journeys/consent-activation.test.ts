import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseChoices, createBrowser, parseForm } from '../../src/entrypoints/cli/browser.ts'
import { generateDpopKey, createOauthClient, type Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { AGREE, answerOf, BANK, DETAILS, GO, SHARING, SIGN_IN } from '../support/consent-pages.ts'
import { ALL_SCOPES, eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { agreeTo, isResume, RHEINBANK, signInAs, visits } from '../support/interactions.ts'

let gateway: TestGateway
let at: ReturnType<typeof visits>
beforeAll(async () => {
  gateway = await startGateway()
  at = visits(gateway)
})
afterAll(() => gateway.close())

const AT_ONCE = 24
const AS_BO = signInAs('bo')
const BO_AGREES = agreeTo(['nb-10003'])

/** The number of consents in each status that were created since the given time. */
async function statesSince(since: Date): Promise<Record<string, number>> {
  const rows = await gateway.database.query<{ status: string; count: string }>(
    'select status, count(*) from consent where created_at >= $1 group by status',
    [since],
  )
  return Object.fromEntries(rows.map(({ status, count }) => [status, Number(count)]))
}

async function opensNothing(token: Token): Promise<void> {
  const { errors } = await gateway.ask(token, '{ customer { accounts { nodes { id } } } }')
  expect(errors?.map(({ extensions }) => extensions?.code)).toEqual(['UNAUTHENTICATED'])
}

describe('two tabs of one browser', () => {
  test('two tabs that finish both return to the platform, and both consents are on the dashboard', async () => {
    const browser = createBrowser()
    const [one, two] = [await at.pages.begin(browser), await at.pages.begin(browser)]
    const [atBankOne, atBankTwo] = [
      await at.pages.walk(browser, one.page, BANK, SHARING, GO, SIGN_IN),
      await at.pages.walk(browser, two.page, BANK, SHARING, GO, SIGN_IN),
    ]
    const first = answerOf(await at.pages.walk(browser, atBankOne, AGREE))
    const second = answerOf(await at.pages.walk(browser, atBankTwo, AGREE))
    expect(first).toMatchObject({ state: one.state, iss: gateway.issuer })
    expect(second).toMatchObject({ state: two.state, iss: gateway.issuer })
    for (const token of [await one.redeem(first['code']!), await two.redeem(second['code']!)])
      expect((await gateway.ask(token, '{ customer { id } }')).errors).toBeUndefined()
    expect((await at.sharing(browser)).text.match(/Stop sharing<\/a>/g)).toHaveLength(2)
  })

  test('two people in two tabs of one browser get no accounts of each other, and the last one has the session', async () => {
    const browser = createBrowser()
    const [one, two] = [await at.pages.begin(browser), await at.pages.begin(browser)]
    const atBankOne = await at.pages.walk(browser, one.page, BANK, SHARING, GO, SIGN_IN)
    const atBankTwo = await at.pages.walk(browser, two.page, BANK, SHARING, GO, AS_BO)
    const ada = await one.redeem(answerOf(await at.pages.walk(browser, atBankOne, AGREE))['code']!)
    const bo = await two.redeem(answerOf(await at.pages.walk(browser, atBankTwo, BO_AGREES))['code']!)
    const types = async (token: Token) => {
      const { data } = await gateway.ask(token, '{ customer { accounts { nodes { type } } } }')
      return (data!['customer'] as { accounts: { nodes: { type: string }[] } }).accounts.nodes.map(({ type }) => type)
    }
    expect(await types(bo)).toEqual(['CARD'])
    expect(await types(ada)).not.toContain('CARD')
    expect((await at.sharing(browser)).text.match(/Stop sharing<\/a>/g)).toHaveLength(1)
  })

  test('two tabs that return from the bank at the same time leave no consent without an owner', async () => {
    const since = new Date()
    const browser = createBrowser()
    const visits = [await at.pages.begin(browser), await at.pages.begin(browser)]
    const atBank = [
      await at.pages.walk(browser, visits[0]!.page, BANK, SHARING, GO, SIGN_IN),
      await at.pages.walk(browser, visits[1]!.page, BANK, SHARING, GO, AS_BO),
    ]
    const back = await Promise.all([
      at.pages.walk(browser, atBank[0]!, AGREE),
      at.pages.walk(browser, atBank[1]!, BO_AGREES),
    ])
    const codes = back.filter((page) => answerOf(page)['code'] !== undefined)
    expect(codes.length).toBeGreaterThan(0)
    await eventually('the end of the other', async () => (await statesSince(since))['PENDING'] === undefined)
    expect((await statesSince(since))['ACTIVE']).toBe(codes.length)
  })
})

describe('one request', () => {
  test('a request that is completed in 24 browsers gives one code and one active consent, and the others end', async () => {
    const since = new Date()
    const oauth = createOauthClient(gateway.issuer, gateway.client('chatterbox'))
    const { url } = await oauth.pushAuthorizationRequest(
      { scope: ['openid', ...ALL_SCOPES].join(' '), details: DETAILS, state: randomBytes(9).toString('base64url') },
      await generateDpopKey(),
    )
    const back = await Promise.all(
      Array.from({ length: AT_ONCE }, async () => {
        const browser = createBrowser()
        return at.pages.walk(browser, await browser.open(url, at.pages.isPlatform), BANK, SHARING, GO, SIGN_IN, AGREE)
      }),
    )
    expect(back.filter((page) => answerOf(page)['code'] !== undefined)).toHaveLength(1)
    await eventually('the end of all others', async () => (await statesSince(since))['REJECTED'] === AT_ONCE - 1)
    expect(await statesSince(since)).toEqual({ ACTIVE: 1, REJECTED: AT_ONCE - 1 })
    await eventually('the end of all others at the bank', async () => {
      const open = await gateway.database.query(`select 1 from connection where created_at >= $1 and status = 'OPEN'`, [
        since,
      ])
      return open.length === 1
    })
  })
})

describe('a step of an interaction', () => {
  test('a step that is sent 24 times concurrently starts one sign-in at the bank, and every response leads there', async () => {
    const since = new Date()
    const browser = createBrowser()
    const { page } = await at.pages.begin(browser)
    const leaving = await at.pages.walk(browser, page, BANK, SHARING)
    const form = parseForm(leaving)
    const before = gateway.sent.length
    const send = async () => {
      const answer = await fetch(new URL(form.action, leaving.url), {
        method: 'POST',
        headers: { cookie: browser.cookiesFor(leaving.url), origin: gateway.issuer },
        redirect: 'manual',
        body: new URLSearchParams([...form.fields, ...GO].map(([name, value]): [string, string] => [name, value])),
      })
      return `${answer.status} ${answer.headers.get('location') ?? (await answer.text())}`
    }
    const answers = await Promise.all(Array.from({ length: AT_ONCE }, send))
    expect(new Set(answers).size).toBe(1)
    expect(await send()).toBe(answers[0])
    expect(gateway.sent.slice(before).filter(({ url }) => url.endsWith('/account-access-consents'))).toHaveLength(1)
    expect(await statesSince(since)).toEqual({ PENDING: 1 })
  })

  test('a step with another choice replaces the started sign-in, and its consent is rejected', async () => {
    const since = new Date()
    const browser = createBrowser()
    const { page } = await at.pages.begin(browser)
    await at.pages.walk(browser, page, BANK, SHARING, GO)
    await at.pages.walk(browser, page, RHEINBANK, SHARING, GO)
    expect(await statesSince(since)).toEqual({ PENDING: 1, REJECTED: 1 })
  })

  test('a step cannot start a second sign-in once the customer has returned from the bank', async () => {
    const browser = createBrowser()
    const { page } = await at.pages.begin(browser)
    const leaving = await at.pages.walk(browser, page, BANK, SHARING)
    const atBank = await at.pages.walk(browser, leaving, GO, SIGN_IN)
    await browser.submit(atBank, AGREE, isResume)
    const since = new Date()
    const again = await browser.submit(leaving, GO, at.pages.isPlatform)
    // The visit is decided and continues to the platform with the existing sign-in.
    expect(answerOf(again)).toHaveProperty('code')
    expect(await statesSince(since)).toEqual({})
  })

  test('a return from the bank that is sent 24 times concurrently is handled once', async () => {
    const since = new Date()
    const browser = createBrowser()
    const callback = await at.pages.untilCallback(browser)
    const back = await Promise.all(
      Array.from({ length: AT_ONCE }, () => browser.open(callback.url, at.pages.isPlatform).catch(() => undefined)),
    )
    expect(back.filter((page) => page && answerOf(page)['code'] !== undefined)).toHaveLength(1)
    expect(await statesSince(since)).toEqual({ ACTIVE: 1 })
  })
})

describe('a consent', () => {
  test('a consent authorizes nothing until its code is stored, and ends at the bank if the interaction stops then', async () => {
    const browser = createBrowser()
    const { page } = await at.pages.begin(browser)
    const atBank = await at.pages.walk(browser, page, BANK, SHARING, GO, AS_BO)
    await browser.submit(atBank, BO_AGREES, isResume)
    expect(await at.newest()).toMatchObject({ status: 'PENDING', connection: 'OPEN' })
    expect((await at.sharing(browser)).status).toBe(401)
    const before = (await gateway.received()).length
    await gateway.alert('northbank', { customer: 'bo', type: 'UNUSUAL_ACTIVITY_REVIEW' })
    expect(
      await gateway.database.query('select 1 from delivery where consent_id = $1', [(await at.newest()).id]),
    ).toEqual([])
    expect((await gateway.received()).length).toBe(before)
    gateway.forward(31 * 60_000)
    await eventually('the end of what was abandoned', async () => (await at.newest()).connection === 'ENDED')
    expect(await at.newest()).toMatchObject({ status: 'REJECTED' })
  })

  test('a consent whose code is not redeemed in time ends here and at the bank', async () => {
    const browser = createBrowser()
    const { page, redeem } = await at.pages.begin(browser)
    const back = answerOf(await at.pages.walk(browser, page, BANK, SHARING, GO, SIGN_IN, AGREE))
    expect(await at.newest()).toMatchObject({ status: 'ACTIVE' })
    gateway.forward(150_000)
    await eventually('the end at the bank', async () => (await at.newest()).connection === 'ENDED')
    expect(await at.newest()).toMatchObject({ status: 'REVOKED', ended_by: 'SYSTEM' })
    await expect(redeem(back['code']!)).rejects.toThrow('invalid_grant')
  })

  test('a consent whose code was redeemed stays active after the code has expired', async () => {
    const token = await gateway.customer('ada', ['northbank'])
    const { id } = await at.newest()
    gateway.forward(150_000)
    await eventually('a turn of the worker', async () => {
      const [row] = await gateway.database.query<{ redeem_by: Date | null; status: string }>(
        'select redeem_by, status from consent where id = $1',
        [id],
      )
      return row!.redeem_by === null && row!.status === 'ACTIVE'
    })
    const renewed = await gateway.renew(token)
    expect((await gateway.ask(renewed, '{ customer { id } }')).errors).toBeUndefined()
  })

  test('if the bank ends its consent while the customer returns, no code is issued', async () => {
    const browser = createBrowser()
    const { page } = await at.pages.begin(browser)
    const atBank = await at.pages.walk(browser, page, BANK, SHARING, GO, SIGN_IN)
    const resume = await browser.submit(atBank, AGREE, isResume)
    await gateway.app.services.consents.optIn.reject((await at.newest()).id)
    expect(answerOf(await browser.open(resume.url, at.pages.isPlatform))).toMatchObject({ error: 'access_denied' })
    expect(await at.newest()).toMatchObject({ status: 'REJECTED' })
  })
})

describe('the end of what a client holds', () => {
  const rowOf = async (id: string) =>
    (
      await gateway.database.query<{ status: string; ended_by: string | null }>(
        'select status, ended_by from consent where id = $1',
        [id],
      )
    )[0]!

  test('revoking the refresh token ends the consent, with its receipts and at the bank, and no alert follows', async () => {
    const token = await gateway.customer('finn', ['northbank'])
    const { id } = await at.newest()
    await createOauthClient(gateway.issuer, gateway.client('chatterbox')).revoke(token.refreshToken!)
    expect(await rowOf(id)).toEqual({ status: 'REVOKED', ended_by: 'CLIENT' })
    await opensNothing(token)
    const receipts = await gateway.database.query<{ party: string }>(
      `select party from receipt where consent_id = $1 and kind = 'REVOKED' order by party`,
      [id],
    )
    expect(receipts.map(({ party }) => party)).toEqual(['BANK', 'CLIENT', 'CUSTOMER'])
    await gateway.alert('northbank', { account: 'nb-20000', type: 'UNUSUAL_ACTIVITY_REVIEW' })
    await eventually('the end at the bank', async () => (await at.newest()).connection === 'ENDED')
    expect(await gateway.database.query('select 1 from delivery where consent_id = $1', [id])).toEqual([])
  })

  test('revoking an access token leaves the consent and its refresh token valid', async () => {
    const token = await gateway.customer('ada', ['northbank'])
    const { id } = await at.newest()
    await createOauthClient(gateway.issuer, gateway.client('chatterbox')).revoke(token.accessToken)
    await opensNothing(token)
    expect(await rowOf(id)).toMatchObject({ status: 'ACTIVE' })
    expect((await gateway.ask(await gateway.renew(token), '{ customer { id } }')).errors).toBeUndefined()
  })

  test('using a code twice ends the consent', async () => {
    const browser = createBrowser()
    const visit = await at.pages.begin(browser)
    const atBank = await at.pages.walk(browser, visit.page, BANK, SHARING, GO, SIGN_IN)
    const code = answerOf(await at.pages.walk(browser, atBank, agreeTo(parseChoices(atBank, 'account').slice(0, 1))))[
      'code'
    ]!
    const token = await visit.redeem(code)
    const { id } = await at.newest()
    await expect(visit.redeem(code)).rejects.toThrow('invalid_grant')
    expect(await rowOf(id)).toEqual({ status: 'REVOKED', ended_by: 'SYSTEM' })
    await opensNothing(token)
  })
})
