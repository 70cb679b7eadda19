import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { OauthError } from '../../src/entrypoints/cli/errors.ts'
import {
  executeGraphql,
  generateDpopKey,
  createOauthClient,
  type Token,
} from '../../src/entrypoints/cli/oauth-client.ts'
import { answerOf, AGREE, BANK, consentPages, GO, SHARING, SIGN_IN } from '../support/consent-pages.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { listen } from '../support/event-stream.ts'
import { startSecondGateway, type SecondGateway } from '../support/second-gateway.ts'

let gateway: TestGateway
let second: SecondGateway
let admin: Token
beforeAll(async () => {
  gateway = await startGateway()
  second = await startSecondGateway(gateway)
  admin = await gateway.own('admin', 'clients:manage organizations:manage')
})
afterAll(async () => {
  await second.close()
  await gateway.close()
})

interface Payload {
  readonly client: {
    readonly id: string
    readonly status: string
    readonly name: string
    readonly redirectUris: string[]
  } | null
  readonly userErrors: readonly { readonly code: string; readonly path: readonly string[] }[]
}
async function change(mutation: string, type: string, input: object): Promise<Payload> {
  const query = `mutation ($input: ${type}!) { ${mutation}(input: $input) { client { id status name redirectUris } userErrors { code path message } } }`
  const { data, errors } = await executeGraphql(gateway.issuer, admin, query, { input })
  expect(errors).toBeUndefined()
  return data![mutation] as Payload
}
const update = (input: object) => change('updateClient', 'UpdateClientInput', { clientId: 'chatterbox', ...input })
/** A token of the other process, whose issuer is its own. */
const ownThere = (id: string) =>
  createOauthClient(second.issuer, gateway.client(id)).clientCredentials('deliveries:read')
const callbackUri = () => `${gateway.sandbox.platform}/callback`
const push = async (issuer = gateway.issuer) =>
  createOauthClient(issuer, gateway.client('chatterbox')).pushAuthorizationRequest(
    {
      scope: 'openid accounts:read',
      details: { type: 'urn:guichet:account-information', actions: ['accounts:read'], purposes: ['ANSWER_CUSTOMER'] },
      state: 's'.repeat(12),
    },
    await generateDpopKey(),
  )

describe('an admin changes a client', () => {
  test('a new client name is visible to its developers in every process, and on no customer page', async () => {
    expect(await update({ name: 'Renamed by its admin' })).toMatchObject({
      client: { name: 'Renamed by its admin' },
      userErrors: [],
    })
    expect((await executeGraphql(second.issuer, await ownThere('chatterbox'), '{ client { name } }')).data).toEqual({
      client: { name: 'Renamed by its admin' },
    })
    const { page } = await consentPages(gateway).begin(createBrowser())
    expect(page.text).toContain('Chatterbox asks to see')
    expect(page.text).not.toContain('Renamed by its admin')
    expect(await update({ name: 'Chatterbox' })).toMatchObject({ userErrors: [] })
  })

  test('a removed redirect URI is refused by the next request in every process, and an added one works', async () => {
    const other = `${gateway.sandbox.platform}/other`
    expect(await update({ redirectUris: [other] })).toMatchObject({ client: { redirectUris: [other] }, userErrors: [] })
    for (const issuer of [gateway.issuer, second.issuer]) await expect(push(issuer)).rejects.toThrow(OauthError)
    expect(await update({ redirectUris: [other, callbackUri()] })).toMatchObject({ userErrors: [] })
    await push()
  })

  test('an authorization in progress does not end at a redirect URI that has been removed', async () => {
    const pages = consentPages(gateway)
    const browser = createBrowser()
    const { page } = await pages.begin(browser)
    const accounts = await pages.walk(browser, page, BANK, SHARING, GO, SIGN_IN)
    await update({ redirectUris: [`${gateway.sandbox.platform}/other`] })
    const before = await gateway.database.query("select id from consent where status = 'ACTIVE'")
    const end = await browser.submit(accounts, AGREE, (url) => pages.isPlatform(url))
    expect(pages.isPlatform(new URL(end.url)), end.url).toBe(false)
    expect(answerOf(end)['code']).toBeUndefined()
    expect(end.text).not.toContain(`${callbackUri()}?`)
    expect(await gateway.database.query("select id from consent where status = 'ACTIVE'")).toEqual(before)
    await update({ redirectUris: [callbackUri()] })
  })

  test('retiring a client immediately invalidates its tokens and revokes its consents', async () => {
    const customer = await gateway.customer('ada', ['northbank'], { clientId: 'chatterbox-bearer' })
    const [own, there] = [
      await gateway.own('chatterbox-bearer', 'deliveries:read'),
      await ownThere('chatterbox-bearer'),
    ]
    expect((await executeGraphql(second.issuer, there, '{ client { id } }')).errors).toBeUndefined()
    expect((await gateway.ask(customer, '{ customer { id } }')).errors).toBeUndefined()
    expect(await change('retireClient', 'RetireClientInput', { clientId: 'chatterbox-bearer' })).toMatchObject({
      client: { status: 'RETIRED' },
      userErrors: [],
    })
    for (const [issuer, token, query] of [
      [gateway.issuer, customer, '{ customer { id } }'],
      [gateway.issuer, own, '{ client { id } }'],
      [second.issuer, there, '{ client { id } }'],
    ] as const)
      expect((await executeGraphql(issuer, token, query)).errors![0]!.extensions!.code).toBe('UNAUTHENTICATED')
    await expect(gateway.own('chatterbox-bearer', 'deliveries:read')).rejects.toThrow(/invalid_client/)
    await expect(gateway.renew(customer, 'chatterbox-bearer')).rejects.toThrow(/invalid_client/)
    for (const mutation of ['ResumeClient', 'SuspendClient', 'RetireClient'])
      expect(
        await change(
          mutation.replace(/^./, (letter) => letter.toLowerCase()),
          `${mutation}Input`,
          {
            clientId: 'chatterbox-bearer',
          },
        ),
      ).toMatchObject({
        userErrors: [{ code: 'STATE_CONFLICT', path: ['clientId'] }],
      })
    expect(await update({ clientId: 'chatterbox-bearer', name: 'Back again' })).toMatchObject({
      userErrors: [{ code: 'STATE_CONFLICT' }],
    })
    await eventually('its consents to be revoked', async () => {
      const rows = await gateway.database.query<{ status: string; ended_by: string }>(
        "select status, ended_by from consent where client_id = 'chatterbox-bearer'",
      )
      return rows.length > 0 && rows.every(({ status, ended_by: by }) => status === 'REVOKED' && by === 'ADMIN')
    })
    await eventually('the bank to be told', async () => {
      const rows = await gateway.database.query<{ sealed_access: string | null }>(
        "select sealed_access from connection where id in (select connection_id from consent where client_id = 'chatterbox-bearer')",
      )
      return rows.length > 0 && rows.every(({ sealed_access: access }) => access === null)
    })
  })
})

describe('what a client used', () => {
  /** What Chatterbox used in the last hour, the reading itself included. */
  async function readUsage(): Promise<{ requests: number; points: number; errors: number }> {
    const own = await gateway.own('chatterbox', 'deliveries:read')
    const USAGE = `query ($range: TimeRangeInput!) { client { usage(range: $range, interval: HOUR) { requestCount pointCount errorCount } } }`
    const range = { since: new Date(Date.now() - 3_600_000).toISOString() }
    const { data, errors } = await executeGraphql(gateway.issuer, own, USAGE, { range })
    expect(errors).toBeUndefined()
    const buckets = (data!['client'] as { usage: { requestCount: number; pointCount: number; errorCount: number }[] })
      .usage
    return buckets.reduce(
      (sum, one) => ({
        requests: sum.requests + one.requestCount,
        points: sum.points + one.pointCount,
        errors: sum.errors + one.errorCount,
      }),
      { requests: 0, points: 0, errors: 0 },
    )
  }

  test('a subscription counts as one request with any number of replays, and a refused one as an error', async () => {
    const customer = await gateway.customer('bo', ['northbank'])
    for (let sent = 0; sent < 3; sent++)
      expect(await gateway.alert('northbank', { customer: 'bo', type: 'NEW_SIGN_IN' })).toEqual([202])
    const before = await readUsage()
    const replay = await listen(gateway.issuer, customer, 'subscription { alertReceived { id type } }', {
      'last-event-id': 'alert_none',
    })
    await eventually('the events', () => Promise.resolve(replay.text().split('event: next').length > 3))
    replay.close()
    const between = await readUsage()
    expect(between).toMatchObject({ requests: before.requests + 2, errors: before.errors })
    expect(between.points - before.points).toBeGreaterThanOrEqual(4)
    const own = await gateway.own('chatterbox', 'deliveries:read')
    const refused = await listen(gateway.issuer, own, 'subscription { alertReceived { id type } }')
    expect(refused.status).toBe(403)
    const unbound = 'subscription ($no: Boolean!) { alertReceived { id @include(if: $no) } }'
    expect((await listen(gateway.issuer, customer, unbound)).status).toBe(400)
    expect(await readUsage()).toMatchObject({ requests: between.requests + 3, errors: between.errors + 2 })
  })

  test('requests, points and errors are counted per client for all processes, and admins can read them', async () => {
    const own = await gateway.own('chatterbox', 'deliveries:read')
    const since = new Date(Date.now() - 3_600_000).toISOString()
    const before = await readUsage()
    for (let count = 0; count < 5; count++) await executeGraphql(gateway.issuer, own, '{ client { id } }')
    await executeGraphql(gateway.issuer, own, '{ nonsense }')
    await executeGraphql(gateway.issuer, own, '{ clients { nodes { id } } }')
    await executeGraphql(second.issuer, await ownThere('chatterbox'), '{ client { id } }')
    await second.app.services.clients.usage.flush()
    const after = await readUsage()
    // Eight and the reading itself, which is counted before it is answered.
    expect(after.requests - before.requests).toBe(9)
    expect(after.errors - before.errors).toBe(2)
    expect(after.points - before.points).toBeGreaterThanOrEqual(9)
    const { data } = await executeGraphql(
      gateway.issuer,
      admin,
      'query ($range: TimeRangeInput!) { clients { nodes { id lastUsedAt usage(range: $range, interval: DAY) { requestCount } } } }',
      { range: { since } },
    )
    const { nodes: clients } = data!['clients'] as {
      nodes: { id: string; lastUsedAt: string | null; usage: { requestCount: number }[] }[]
    }
    const chatterbox = clients.find(({ id }) => id === 'chatterbox')!
    expect(Date.now() - Date.parse(chatterbox.lastUsedAt!)).toBeLessThan(2 * 3_600_000)
    expect(chatterbox.usage[0]!.requestCount).toBeGreaterThanOrEqual(8)
    expect(clients.find(({ id }) => id === 'southbank-partner')).toMatchObject({ lastUsedAt: null, usage: [] })
  })

  test('an invalid or too long range is refused with the limit, and a customer token sees no usage', async () => {
    const own = await gateway.own('chatterbox', 'deliveries:read')
    const read = (range: object, interval: string, token = own) =>
      executeGraphql(
        gateway.issuer,
        token,
        'query ($range: TimeRangeInput!, $interval: UsageInterval!) { client { usage(range: $range, interval: $interval) { requestCount } } }',
        { range, interval },
      )
    const codeOf = async (range: object, interval: string, token = own) =>
      (await read(range, interval, token)).errors?.[0]?.extensions?.code
    const [early, late] = ['2026-01-01T00:00:00.000Z', '2026-03-01T00:00:00.000Z']
    expect(await codeOf({ since: late, until: early }, 'DAY')).toBe('INVALID_INPUT')
    expect(await codeOf({ since: early, until: late }, 'HOUR')).toBe('INVALID_INPUT')
    expect(await codeOf({ since: early, until: late }, 'DAY')).toBeUndefined()
    const customer = await gateway.customer('bo', ['northbank'])
    expect(await codeOf({}, 'DAY', customer)).toBe('UNAUTHORIZED_FIELD_OR_TYPE')
  })
})
