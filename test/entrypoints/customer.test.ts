import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import type { GraphqlResponse, Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { GatewayError } from '../../src/kernel/errors.ts'
import type { RequestContext } from '../../src/kernel/request-context.ts'
import { customerResolvers } from '../../src/modules/accounts/index.ts'
import { alertsResolvers } from '../../src/modules/alerts/index.ts'
import { AGREE, BANK, CANCEL, GO, SHARING, SIGN_IN } from '../support/consent-pages.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { visits } from '../support/interactions.ts'

let gateway: TestGateway
let ada: Token
let cleo: Token
let own: Token
beforeAll(async () => {
  gateway = await startGateway()
  ada = await gateway.customer('ada', ['northbank', 'rheinbank'])
  cleo = await gateway.customer('cleo', ['rheinbank'])
  own = await gateway.own('chatterbox', 'deliveries:read')
  await gateway.alert('northbank', { customer: 'ada', type: 'CARD_SECURITY' })
  await gateway.alert('rheinbank', { customer: 'cleo', type: 'NEW_SIGN_IN' })
})
afterAll(() => gateway.close())

interface AlertRow {
  id: string
  occurredAt: string
  accountId: string | null
  account: { id: string; displayName: string; bank: { id: string } } | null
  bank: { id: string }
  bankAppUrl: string | null
}
interface ConsentRow {
  id: string
  status: string
  grantId: string
  endedBy: string | null
  customer: { id: string } | null
}
interface CustomerRow {
  id: string
  accounts: { nodes: { id: string }[] }
  account: { id: string } | null
  alerts: { nodes: AlertRow[] }
  alert: { id: string } | null
  currentConsents: ConsentRow[]
  consents: { nodes: ConsentRow[]; pageInfo: { hasNextPage: boolean; hasPreviousPage: boolean } }
  consent: { id: string } | null
}
const customerIn = ({ data }: GraphqlResponse): CustomerRow => data!['customer'] as CustomerRow
const codesIn = ({ errors }: GraphqlResponse) => (errors ?? []).map(({ extensions }) => extensions?.code)

const OWN = `{ customer { id accounts { nodes { id } } alerts { nodes { id occurredAt } }
  currentConsents { id grantId } consents { nodes { id } } } }`
const LOOK_UPS = `query ($account: ID!, $alert: ID!, $consent: ID!) { customer {
  account(id: $account) { id } alert(id: $alert) { id } consent(id: $consent) { id } } }`

describe('a customer', () => {
  test('a customer finds their own accounts, alerts and consents by ID, and no others', async () => {
    const [mine, theirs] = [customerIn(await gateway.ask(ada, OWN)), customerIn(await gateway.ask(cleo, OWN))]
    const idsOf = ({ accounts, alerts, consents }: CustomerRow) => ({
      account: accounts.nodes[0]!.id,
      alert: alerts.nodes[0]!.id,
      consent: consents.nodes[0]!.id,
    })
    const found = idsOf(mine)
    expect(customerIn(await gateway.ask(ada, LOOK_UPS, found))).toEqual({
      account: { id: found.account },
      alert: { id: found.alert },
      consent: { id: found.consent },
    })
    const nobodys = { account: 'account_nobody', alert: 'alert_nobody', consent: 'cons_nobody' }
    for (const ids of [idsOf(theirs), nobodys])
      expect(customerIn(await gateway.ask(ada, LOOK_UPS, ids))).toEqual({ account: null, alert: null, consent: null })
  })

  test('a customer has one current consent per token, which names the grant of the token', async () => {
    const { currentConsents, consents } = customerIn(await gateway.ask(ada, OWN))
    expect(currentConsents).toEqual([{ id: expect.any(String) as string, grantId: ada.grantId }])
    expect(consents.nodes).toHaveLength(2)
  })

  test('a customer pages through all their consents in both directions, newest first', async () => {
    const page = async (args: string) => {
      const query = `{ customer { consents${args} { nodes { id } pageInfo { hasNextPage hasPreviousPage } } } }`
      const { nodes, pageInfo } = customerIn(await gateway.ask(ada, query)).consents
      return { ids: nodes.map(({ id }) => id), ...pageInfo }
    }
    const [newest, oldest] = (await page('')).ids as [string, string]
    expect(await page('(first: 1)')).toEqual({ ids: [newest], hasNextPage: true, hasPreviousPage: false })
    expect(await page(`(first: 1, after: "${newest}")`)).toEqual({
      ids: [oldest],
      hasNextPage: false,
      hasPreviousPage: true,
    })
    expect(await page('(last: 1)')).toEqual({ ids: [oldest], hasNextPage: false, hasPreviousPage: true })
    expect(await page(`(last: 1, before: "${oldest}")`)).toEqual({
      ids: [newest],
      hasNextPage: true,
      hasPreviousPage: false,
    })
    const [foreign] = customerIn(await gateway.ask(cleo, OWN)).consents.nodes
    for (const cursor of [foreign!.id, 'cons_nobody'])
      expect(
        codesIn(await gateway.ask(ada, `{ customer { consents(before: "${cursor}") { nodes { id } } } }`)),
      ).toEqual(['INVALID_INPUT'])
  })
})

describe('an alert', () => {
  const ALERT = 'accountId account { id displayName bank { id } } bank { id } bankAppUrl'

  test('an alert has its account and a link to the app of its bank', async () => {
    const { alerts, accounts } = customerIn(
      await gateway.ask(ada, `{ customer { alerts { nodes { ${ALERT} } } accounts { nodes { id } } } }`),
    )
    const [alert] = alerts.nodes
    expect(accounts.nodes.map(({ id }) => id)).toContain(alert!.accountId)
    expect(alert!.account).toMatchObject({ id: alert!.accountId, bank: { id: 'northbank' } })
    expect(alert!.bank).toEqual({ id: 'northbank' })
    expect(alert!.bankAppUrl).toMatch(/^https?:/)
  })

  test('an alert discloses only the account ID to a token without accounts:read', async () => {
    const token = await gateway.customer('bo', ['northbank'], { scopes: ['alerts:read'] })
    await gateway.alert('northbank', { customer: 'bo', type: 'CARD_SECURITY' })
    const answer = await gateway.ask(token, `{ customer { alerts { nodes { ${ALERT} } } } }`)
    const [alert] = customerIn(answer).alerts.nodes
    expect(alert).toMatchObject({ accountId: expect.stringMatching(/^account_/) as string, account: null })
    expect(codesIn(answer)).toEqual(['UNAUTHORIZED_FIELD_OR_TYPE'])
  })

  test('an alert is listed by a range of time that includes its beginning and excludes its end', async () => {
    const list = async (occurred: object) => {
      const query = 'query ($filter: AlertFilter) { customer { alerts(filter: $filter) { nodes { id occurredAt } } } }'
      return gateway.ask(ada, query, { filter: { occurred } })
    }
    const [alert] = customerIn(await list({})).alerts.nodes
    const at = alert!.occurredAt
    const later = new Date(Date.parse(at) + 1).toISOString()
    expect(customerIn(await list({ since: at, until: later })).alerts.nodes).toHaveLength(1)
    expect(customerIn(await list({ until: at })).alerts.nodes).toEqual([])
    expect(customerIn(await list({ since: later })).alerts.nodes).toEqual([])
    expect(codesIn(await list({ since: later, until: at }))).toEqual(['INVALID_INPUT'])
  })
})

describe('a consent', () => {
  const FIELDS = 'nodes { id status grantId endedBy pausedAt customer { id } }'
  const list = async (filter: object, fields = FIELDS): Promise<ConsentRow[]> => {
    const query = `query ($filter: ConsentFilter) { client { consents(first: 100, filter: $filter) { ${fields} } } }`
    const { data } = await gateway.ask(own, query, { filter })
    return (data!['client'] as { consents: { nodes: ConsentRow[] } }).consents.nodes
  }

  test('a consent lists the accounts that it covers while it is ACTIVE, and none of another consent', async () => {
    const query = '{ customer { consents { nodes { bank { id } accounts { totalCount nodes { bank { id } } } } } } }'
    const { nodes } = customerIn(await gateway.ask(ada, query)).consents as unknown as {
      nodes: { bank: { id: string }; accounts: { totalCount: number; nodes: { bank: { id: string } }[] } }[]
    }
    expect(nodes.map(({ bank }) => bank.id)).toEqual(['rheinbank', 'northbank'])
    for (const { bank, accounts } of nodes) {
      expect(accounts.totalCount).toBe(2)
      expect(accounts.nodes.map((account) => account.bank.id)).toEqual([bank.id, bank.id])
    }
  })

  test('a consent is listed by its customer and by its grant, for its own client only', async () => {
    const { id } = customerIn(await gateway.ask(cleo, OWN))
    const [consent, ...others] = await list({ customerIds: [id] })
    expect(others).toEqual([])
    expect(consent).toMatchObject({ status: 'ACTIVE', grantId: cleo.grantId, customer: { id } })
    expect(await list({ grantIds: [cleo.grantId] })).toEqual([consent])
    expect(await list({ customerIds: ['nobody'] })).toEqual([])
    const other = await gateway.own('chatterbox-bearer', 'deliveries:read')
    const query = `{ client { consents(filter: { grantIds: ["${cleo.grantId!}"] }) { nodes { id } } } }`
    expect((await gateway.ask(other, query)).data).toEqual({ client: { consents: { nodes: [] } } })
    const many = { grantIds: Array.from({ length: 51 }, String) }
    const refused = await gateway.ask(
      own,
      'query ($filter: ConsentFilter) { client { consents(filter: $filter) { nodes { id } } } }',
      { filter: many },
    )
    expect(codesIn(refused)).toEqual(['INVALID_INPUT'])
  })

  test('a PENDING consent has its grant and no customer, and an ended one the party that ended it', async () => {
    const at = visits(gateway)
    const browser = createBrowser()
    const { page } = await at.pages.begin(browser)
    const atBank = await at.pages.walk(browser, page, BANK, SHARING, GO, SIGN_IN)
    const [pending] = await list({ statuses: ['PENDING'] })
    expect(pending).toMatchObject({ grantId: expect.any(String) as string, customer: null, endedBy: null })
    await at.pages.walk(browser, page, CANCEL)
    const [cancelled] = await list({ grantIds: [pending!.grantId] })
    expect(cancelled).toMatchObject({ status: 'REJECTED', endedBy: 'CUSTOMER_AT_GATEWAY', customer: null })
    await at.pages.walk(browser, atBank, AGREE)

    const failing = createBrowser()
    const accounts = await at.pages.walk(failing, (await at.pages.begin(failing)).page, BANK, SHARING, GO, SIGN_IN)
    gateway.intercept = ({ url }) =>
      url.endsWith('/aisp/accounts') ? Promise.resolve({ status: 503, headers: {}, text: '' }) : undefined
    await at.pages.walk(failing, accounts, AGREE)
    gateway.intercept = undefined
    expect((await list({ statuses: ['REJECTED'] }))[0]).toMatchObject({ endedBy: 'BANK' })

    const refusing = createBrowser()
    const toBank = await at.pages.walk(refusing, (await at.pages.begin(refusing)).page, BANK, SHARING, GO, SIGN_IN)
    await at.pages.walk(refusing, toBank, CANCEL)
    expect((await list({ statuses: ['REJECTED'] }))[0]).toMatchObject({ endedBy: 'CUSTOMER_AT_BANK' })
  })

  test('a consent that the client or its expiry ended states which of them did', async () => {
    const token = await gateway.customer('dan', ['northbank'])
    const [consent] = await list({ grantIds: [token.grantId] })
    const terminate = `mutation { terminateConsent(input: { consentId: "${consent!.id}" }) {
      consent { status endedBy } userErrors { code } } }`
    expect((await gateway.ask(own, terminate)).data).toEqual({
      terminateConsent: { consent: { status: 'REVOKED', endedBy: 'CLIENT' }, userErrors: [] },
    })
    const another = await gateway.customer('dan', ['northbank'])
    await gateway.database.query("update consent set expires_at = '2020-01-01' where oauth_grant_id = $1", [
      another.grantId,
    ])
    await gateway.app.services.consents.jobs.endExpired()
    expect(await list({ grantIds: [another.grantId] })).toMatchObject([{ status: 'EXPIRED', endedBy: 'SYSTEM' }])
  })
})

describe('a client token', () => {
  test("a client token can read a customer's ID and consents, but no account, alert or bank", async () => {
    const query = `{ client { consents(filter: { grantIds: ["${cleo.grantId!}"] }) { nodes { id
      accounts { totalCount }
      customer { id currentConsents { id } consents { nodes { id } } accounts { totalCount } account(id: "x") { id }
        alerts { totalCount } alert(id: "x") { id } banks { id } } } } } }`
    for (const caller of [own, await gateway.own('chatterbox', 'webhooks:manage')]) {
      const answer = await gateway.ask(caller, query)
      const { nodes } = (answer.data!['client'] as { consents: { nodes: (ConsentRow & { customer: CustomerRow })[] } })
        .consents
      const { id } = customerIn(await gateway.ask(cleo, OWN))
      expect(nodes).toEqual([
        {
          id: nodes[0]!.id,
          accounts: null,
          customer: {
            id,
            currentConsents: [],
            consents: { nodes: [{ id: nodes[0]!.id }] },
            accounts: null,
            account: null,
            alerts: null,
            alert: null,
            banks: null,
          },
        },
      ])
      expect(codesIn(answer)).toEqual(Array.from({ length: 6 }, () => 'UNAUTHORIZED_FIELD_OR_TYPE'))
    }
  })

  test('the resolvers refuse a client token as well, with any scopes', async () => {
    const { services } = gateway.app
    const [row] = await gateway.database.query<{ id: string; customer_id: string }>(
      'select id, customer_id from consent where oauth_grant_id = $1',
      [cleo.grantId],
    )
    const customer = { clientId: 'chatterbox', customerId: row!.customer_id }
    const scopes = new Set(['accounts:read', 'alerts:read'])
    const contextOf = (caller: object) =>
      ({ caller: { clientId: 'chatterbox', scopes, ...caller } }) as unknown as RequestContext
    const ways = { ...customerResolvers(services), ...{ alerts: alertsResolvers(services).Customer } }
    const attempts: ((context: RequestContext) => unknown)[] = [
      (context: RequestContext) => ways.Customer.accounts(customer, {}, context),
      (context: RequestContext) => ways.Customer.account(customer, { id: 'x' }, context),
      (context: RequestContext) => ways.Customer.banks(customer, {}, context),
      (context: RequestContext) => ways.alerts.alerts(customer, {}, context),
      (context: RequestContext) => ways.alerts.alert(customer, { id: 'x' }, context),
      (context: RequestContext) => ways.Consent.accounts({ id: row!.id } as never, {}, context),
      (context: RequestContext) => ways.Alert.account({ publicAccountId: 'x' } as never, {}, context),
    ]
    for (const attempt of attempts)
      await expect(Promise.try(() => attempt(contextOf({ kind: 'CLIENT' })))).rejects.toThrow(
        new GatewayError('FORBIDDEN'),
      )
    // Nor is a customer's token good for another customer.
    const other = contextOf({ kind: 'CUSTOMER', customerId: 'cust_other' })
    for (const attempt of attempts.slice(0, 5))
      await expect(Promise.try(() => attempt(other))).rejects.toThrow(new GatewayError('FORBIDDEN'))
  })
})
