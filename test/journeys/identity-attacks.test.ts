import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { SANDBOX_BANKS } from '../../src/sandbox/personas.ts'
import { BANK, GO, SHARING } from '../support/consent-pages.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { agreeToAll, isResume, RHEINBANK, signInAs, subject, visits } from '../support/interactions.ts'

let gateway: TestGateway
let at: ReturnType<typeof visits>
beforeAll(async () => {
  gateway = await startGateway()
  at = visits(gateway)
})
afterAll(() => gateway.close())

const JOINT = '8f1c2a44-0003-4000-8000-000000000003'

describe("an attacker who holds a customer's ID token", () => {
  test("an attacker with a customer's ID token gets no session, subject or consent of the customer", async () => {
    const ada = await gateway.customer('ada', ['northbank'])
    const before = await at.accountsOf(ada)
    const attacker = createBrowser()
    const back = await at.walk({ browser: attacker, customer: 'bo', idTokenHint: ada.idToken })
    expect(back).toMatchObject({ error: 'login_required', iss: gateway.issuer })
    expect(back).not.toHaveProperty('code')
    expect((await at.sharing(attacker)).status).toBe(401)
    expect(await at.accountsOf(ada)).toBe(before)
    expect(await at.newest()).toMatchObject({ status: 'REJECTED', customer_id: null })
    await eventually('the end at the bank', async () => (await at.newest()).connection === 'ENDED')
  })

  test("an attacker with a customer's ID token and a joint account gains no access to the customer's other accounts", async () => {
    const cleo = await gateway.customer('cleo', ['rheinbank'], { browser: createBrowser() })
    const holder = createBrowser()
    const renewed = await at.walk({
      browser: holder,
      customer: 'dan',
      bank: RHEINBANK,
      idTokenHint: cleo.idToken,
      accounts: [JOINT],
    })
    // The bank names no person: all that is known is that they hold this account, which was shared before.
    expect(subject(renewed.token)).toBe(subject(cleo))
    expect((await at.sharing(holder)).status).toBe(401)
  })

  test("an attacker with a customer's ID token cannot add accounts of another person to a known one", async () => {
    const cleo = await gateway.customer('cleo', ['rheinbank'])
    const ada = await at.walk({
      browser: createBrowser(),
      customer: 'ada',
      bank: RHEINBANK,
      idTokenHint: cleo.idToken,
    })
    expect(ada).toMatchObject({ error: 'login_required' })
  })
})

describe('an attacker who plants a session cookie', () => {
  test('an attacker who plants a session cookie gets no account of a customer who has shared before', async () => {
    const attacker = createBrowser()
    const bo = await gateway.customer('bo', ['northbank'], { browser: attacker })
    const held = await at.accountsOf(bo)
    const victim = createBrowser()
    await at.plant(victim, attacker.cookiesFor(`${gateway.issuer}/`))
    expect((await at.sharing(victim)).status).toBe(200)
    const { token } = await at.walk({ browser: victim, customer: 'finn', same: 'yes' })
    expect(subject(token)).not.toBe(subject(bo))
    expect(await at.accountsOf(token!)).toBe(10)
    expect(await at.accountsOf(bo)).toBe(held)
    // The planted session is over, for the attacker too; the new one is under another identifier.
    expect((await at.sharing(attacker)).status).toBe(401)
    expect((await at.sharing(victim)).text).toContain('Northbank')
  })
})

describe('a customer who shares a second time', () => {
  test('a returning customer with a bank customer ID keeps the subject and all sharing, in any browser', async () => {
    const first = await gateway.customer('cody', ['southbank'])
    const browser = createBrowser()
    const second = await gateway.customer('cody', ['southbank'], { browser })
    expect(subject(second)).toBe(subject(first))
    expect((await at.sharing(browser)).text.match(/Stop sharing<\/a>/g)).toHaveLength(2)
  })

  test('a returning customer keeps the subject at another bank if browser and platform both name them', async () => {
    const browser = createBrowser()
    const both = await gateway.customer('ada', ['northbank', 'rheinbank'], { browser })
    expect(await at.accountsOf(both)).toBe(4)
  })

  test('a returning customer is a new customer at another bank if only the browser names them', async () => {
    const browser = createBrowser()
    const first = await at.walk({ browser, customer: 'dan' })
    const second = await at.walk({ browser, customer: 'dan', bank: RHEINBANK })
    expect(subject(second.token)).not.toBe(subject(first.token))
  })

  test('a returning customer keeps the subject in the same browser by the accounts shared before', async () => {
    const browser = createBrowser()
    const first = await at.walk({ browser, customer: 'cleo', bank: RHEINBANK })
    const second = await at.walk({ browser, customer: 'cleo', bank: RHEINBANK })
    expect(subject(second.token)).toBe(subject(first.token))
    const elsewhere = await at.walk({ browser: createBrowser(), customer: 'cleo', bank: RHEINBANK })
    expect(subject(elsewhere.token)).not.toBe(subject(first.token))
  })

  test('a returning customer uses the latest consent if the bank rejects the tokens of the first', async () => {
    await gateway.customer('dan', ['northbank'])
    await gateway.database.query(
      `update connection set status = 'RECONNECT', sealed_access = null
       where customer_id = (select customer_id from consent order by created_at desc limit 1)`,
    )
    const again = await gateway.customer('dan', ['northbank'])
    const { data } = await gateway.ask(
      again,
      '{ customer { accounts { nodes { balances { ... on BalanceUnavailable { reason { code } } } } } } }',
    )
    const { nodes } = (data!['customer'] as { accounts: { nodes: { balances: { reason?: { code: string } }[] }[] } })
      .accounts
    const reasons = nodes.map(({ balances }) => balances[0]!.reason?.code)
    expect(reasons).toContain(undefined)
    expect(reasons).not.toContain('RECONNECT_REQUIRED')
  })
})

describe("the bank's customer ID", () => {
  test("the bank's customer ID outweighs a planted session together with a forwarded link, permanently", async () => {
    const attacker = createBrowser()
    const bo = await gateway.customer('bo', ['northbank'], { browser: attacker })
    const held = await at.accountsOf(bo)
    const victim = createBrowser()
    const finn = await gateway.customer('finn', ['northbank'], { browser: victim })
    await at.plant(victim, attacker.cookiesFor(`${gateway.issuer}/`))
    expect(await at.walk({ browser: victim, customer: 'finn', idTokenHint: bo.idToken })).toMatchObject({
      error: 'login_required',
    })
    expect(await at.accountsOf(bo)).toBe(held)
    expect(subject((await at.walk({ browser: createBrowser(), customer: 'finn' })).token)).toBe(subject(finn))
  })

  test('a rejected sign-in stores no bank customer ID', async () => {
    const attacker = createBrowser()
    const bo = await gateway.customer('bo', ['northbank'], { browser: attacker })
    const victim = createBrowser()
    await at.plant(victim, attacker.cookiesFor(`${gateway.issuer}/`))
    const { page } = await at.pages.begin(victim, { idTokenHint: bo.idToken! })
    const atBank = await at.pages.walk(victim, page, BANK, SHARING, GO, signInAs('dan'))
    await victim.submit(atBank, agreeToAll(atBank), isResume)
    await gateway.app.services.consents.optIn.reject((await at.newest()).id)
    const dan = await at.walk({ browser: createBrowser(), customer: 'dan' })
    expect(subject(dan.token)).not.toBe(subject(bo))
  })

  test('a shared account stores no bank customer ID, so the holders of a joint account stay two customers', async () => {
    const known = SANDBOX_BANKS[0]!.accounts.filter(({ id }) => id === 'nb-10001' || id === 'nb-10005')
    const owners = known.map((account) => account.owners as string[])
    for (const one of owners) one.push('cody')
    try {
      const ada = await gateway.customer('ada', ['northbank'])
      // As connections are that were made before the bank's name for a person was stored.
      await gateway.database.query('update connection set customer_digest = null where customer_id = $1', [
        (await at.newest()).customer_id,
      ])
      const shared = await at.walk({
        browser: createBrowser(),
        customer: 'cody',
        idTokenHint: ada.idToken,
        accounts: ['nb-10001'],
      })
      expect(subject(shared.token)).toBe(subject(ada))
      const own = createBrowser()
      const other = await at.walk({ browser: own, customer: 'cody', accounts: ['nb-10005'] })
      expect(subject(other.token)).not.toBe(subject(ada))
      expect(await at.accountsOf(other.token!)).toBe(1)
    } finally {
      for (const one of owners) one.splice(one.indexOf('cody'), 1)
    }
  })

  test("a consent of another account holder replaces no older one without the bank's customer ID", async () => {
    const cleo = await gateway.customer('cleo', ['rheinbank'])
    const before = await at.newest()
    await at.walk({
      browser: createBrowser(),
      customer: 'dan',
      bank: RHEINBANK,
      idTokenHint: cleo.idToken,
      accounts: [JOINT],
    })
    await eventually('all messages', async () => {
      const open = await gateway.database.query('select 1 from outbox_message where processed_at is null')
      return open.length === 0
    })
    const [after] = await gateway.database.query(
      `select consent.status, consent.connection_id, connection.status as connection
       from consent join connection on connection.id = consent.connection_id where consent.id = $1`,
      [before.id],
    )
    expect(after).toEqual({ status: 'ACTIVE', connection_id: before.connection_id, connection: 'OPEN' })
  })
})
