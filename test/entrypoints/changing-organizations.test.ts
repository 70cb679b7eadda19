import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser, type Browser } from '../../src/entrypoints/cli/browser.ts'
import {
  executeGraphql,
  generateDpopKey,
  createOauthClient,
  type Token,
} from '../../src/entrypoints/cli/oauth-client.ts'
import { DETAILS } from '../support/consent-pages.ts'
import { ALL_SCOPES, startGateway, type TestGateway } from '../support/gateway.ts'
import { startSecondGateway, type SecondGateway } from '../support/second-gateway.ts'

let gateway: TestGateway
let second: SecondGateway
let admin: Token
let chatterbox: string
beforeAll(async () => {
  gateway = await startGateway()
  second = await startSecondGateway(gateway)
  admin = await gateway.own('admin', 'organizations:manage ledger:read clients:manage')
  const { data } = await gateway.ask(admin, '{ client(id: "chatterbox") { organization { id } } }')
  chatterbox = (data!['client'] as { organization: { id: string } }).organization.id
})
afterAll(async () => {
  await second.close()
  await gateway.close()
})

interface Fault {
  readonly code: string
  readonly path: readonly string[]
  readonly message: string
}
interface Payload {
  readonly organization: { readonly id: string; readonly name: string } | null
  readonly userErrors: readonly Fault[]
}
const MUTATIONS = {
  registerOrganization: 'RegisterOrganizationInput',
  updateOrganization: 'UpdateOrganizationInput',
} as const
const send = (token: Token | undefined, mutation: keyof typeof MUTATIONS, input: object) => {
  const query = `mutation ($input: ${MUTATIONS[mutation]}!) { ${mutation}(input: $input) { organization { id name } userErrors { code path message } } }`
  return executeGraphql(gateway.issuer, token, query, { input })
}
async function change(mutation: keyof typeof MUTATIONS, input: object): Promise<Payload> {
  const { data, errors } = await send(admin, mutation, input)
  expect(errors).toBeUndefined()
  return data![mutation] as Payload
}
const rename = (name: string, id = chatterbox) => change('updateOrganization', { organizationId: id, name })
const register = async (name: string): Promise<string> =>
  (await change('registerOrganization', { kind: 'PLATFORM', name })).organization!.id
const nameOf = async (id: string) => {
  const [row] = await gateway.database.query<{ name: string }>(`select name from organization where id = '${id}'`)
  return row!.name
}
const changesOf = async (id: string) => {
  const query = `query ($filter: AuditLogFilter) { auditLog(first: 10, filter: $filter) {
    nodes { action clientId subjectId changes { field before after } } } }`
  const { data } = await executeGraphql(gateway.issuer, admin, query, {
    filter: { actions: ['ORGANIZATION_CHANGED'], subjectIds: [id] },
  })
  return (data!['auditLog'] as { nodes: object[] }).nodes
}

/** The first consent page of a new request at one process. */
async function consentPage(issuer: string, browser: Browser = createBrowser()) {
  const request = { scope: ['openid', ...ALL_SCOPES].join(' '), details: DETAILS, state: 's'.repeat(12) }
  const { url } = await createOauthClient(issuer, gateway.client('chatterbox')).pushAuthorizationRequest(
    request,
    await generateDpopKey(),
  )
  return browser.open(url)
}
async function errorPage(issuer: string): Promise<string> {
  const query = new URLSearchParams({
    client_id: 'chatterbox',
    request_uri: 'urn:ietf:params:oauth:request_uri:nobody',
  })
  const response = await fetch(`${issuer}/oauth/authorize?${query.toString()}`, { headers: { accept: 'text/html' } })
  return response.text()
}

describe('an admin renames an organization', () => {
  test('every page that a customer opens next shows the new name, in every process', async () => {
    const browser = createBrowser()
    await gateway.customer('ada', ['northbank'], { browser })
    const [consent] = await gateway.database.query<{ id: string }>("select id from consent where status = 'ACTIVE'")
    const visitor = createBrowser()
    const begun = await consentPage(gateway.issuer, visitor)
    const issuers = [gateway.issuer, second.issuer]
    const pages = async () => [
      (await visitor.open(begun.url)).text,
      ...(await Promise.all(
        issuers.flatMap((issuer) => [
          consentPage(issuer).then(({ text }) => text),
          browser.open(`${issuer}/sharing`).then(({ text }) => text),
          browser.open(`${issuer}/sharing/${consent!.id}/stop`).then(({ text }) => text),
          errorPage(issuer),
        ]),
      )),
    ]
    for (const text of await pages()) expect(text).toContain('Chatterbox')
    for (const name of ['Parley & Sons', 'Palaver']) {
      expect(await rename(name)).toEqual({ organization: { id: chatterbox, name }, userErrors: [] })
      for (const text of await pages()) {
        expect(text).toContain(name.replace('&', '&#38;'))
        expect(text).not.toContain('Chatterbox')
      }
    }

    const receipt = await browser.submit(await browser.open(`${gateway.issuer}/sharing/${consent!.id}/stop`), [])
    expect(receipt.text).toContain('Palaver no longer sees anything')
    expect(await rename('Chatterbox')).toMatchObject({ userErrors: [] })
    for (const issuer of issuers)
      expect((await browser.open(`${issuer}/sharing/${consent!.id}/stopped`)).text).toContain(
        'Chatterbox no longer sees anything',
      )
  })

  test('the audit log shows who renamed it, and its name before and after', async () => {
    const id = await register('Before')
    await rename('After', id)
    const changes = [{ field: 'name', before: ['Before'], after: ['After'] }]
    expect(await changesOf(id)).toEqual([{ action: 'ORGANIZATION_CHANGED', clientId: 'admin', subjectId: id, changes }])
  })

  test('a rename that cannot be recorded does not happen', async () => {
    const id = await register('Recorded')
    const refusal = "add constraint refused check (action <> 'ORGANIZATION_CHANGED') not valid"
    await gateway.database.query(`alter table ledger_entry ${refusal}`)
    const { errors } = await send(admin, 'updateOrganization', { organizationId: id, name: 'Unrecorded' })
    await gateway.database.query('alter table ledger_entry drop constraint refused')
    expect(errors![0]!.extensions!.code).toBe('INTERNAL')
    expect(await nameOf(id)).toBe('Recorded')
  })

  test('a caller without the scope is refused and changes nothing', async () => {
    const callers = [
      undefined,
      await gateway.customer('bo', ['northbank']),
      await gateway.own('chatterbox', 'webhooks:manage'),
      await gateway.own('eastbank-partner', 'connectors:manage'),
      await gateway.own('admin', 'clients:manage'),
    ]
    const before = await changesOf(chatterbox)
    for (const caller of callers) {
      const { data, errors } = await send(caller, 'updateOrganization', {
        organizationId: chatterbox,
        name: 'Intruder',
      })
      expect(data?.['updateOrganization'] ?? null).toBeNull()
      expect(errors![0]!.extensions!.code).toBe(caller ? 'UNAUTHORIZED_FIELD_OR_TYPE' : 'UNAUTHENTICATED')
    }
    expect(await nameOf(chatterbox)).toBe('Chatterbox')
    expect(await changesOf(chatterbox)).toEqual(before)
  })

  test.each(['', ' ', '<b>Chatterbox</b>', '-dash', 'two\nlines', 'a\u202Eb', 'x'.repeat(61)])(
    'the name %j is refused with the same fault as at registration',
    async (name) => {
      const { userErrors } = await change('registerOrganization', { kind: 'PLATFORM', name })
      expect(userErrors).toMatchObject([{ code: 'INVALID_INPUT', path: ['name'] }])
      expect(await rename(name)).toEqual({ organization: null, userErrors })
      expect(await nameOf(chatterbox)).toBe('Chatterbox')
    },
  )

  test('a name of another organization is refused as at registration, and its own name is not', async () => {
    await register('Taken')
    const { userErrors } = await change('registerOrganization', { kind: 'PLATFORM', name: 'Taken' })
    expect(userErrors).toMatchObject([{ code: 'STATE_CONFLICT', path: ['name'] }])
    expect(await rename('Taken')).toEqual({ organization: null, userErrors })
    expect(await rename('Chatterbox')).toMatchObject({ organization: { name: 'Chatterbox' }, userErrors: [] })
  })

  test('an unknown organization is refused at its ID', async () => {
    expect(await rename('Nobody', 'org_nobody')).toMatchObject({
      organization: null,
      userErrors: [{ code: 'NOT_FOUND', path: ['organizationId'] }],
    })
  })

  test('exactly one of eight concurrent renames to one name and a registration of it succeeds', async () => {
    const ids = await Promise.all(Array.from({ length: 8 }, (_, at) => register(`Rival ${at}`)))
    const payloads = await Promise.all([
      ...ids.map((id) => rename('Coveted', id)),
      change('registerOrganization', { kind: 'PLATFORM', name: 'Coveted' }),
    ])
    const codes = payloads.map(({ userErrors }) => userErrors[0]?.code ?? 'DONE').sort()
    expect(codes).toEqual(['DONE', ...Array.from({ length: 8 }, () => 'STATE_CONFLICT')])
    expect(await gateway.database.query("select 1 from organization where name = 'Coveted'")).toHaveLength(1)
  })
})
