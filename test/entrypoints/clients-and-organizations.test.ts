import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import type { Scope } from '../../src/kernel/scopes.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let admin: Token
let chatterbox: Token
let chatterboxOrganization: string
beforeAll(async () => {
  gateway = await startGateway()
  admin = await gateway.own('admin', 'clients:manage organizations:manage')
  chatterbox = await gateway.own('chatterbox', 'deliveries:read')
  chatterboxOrganization = (await gateway.app.services.clients.find('chatterbox'))!.organizationId
})
afterAll(() => gateway.close())

interface Page {
  readonly nodes: readonly { readonly id: string; readonly name: string; readonly sha256Hash: string }[]
  readonly pageInfo: {
    readonly hasNextPage: boolean
    readonly hasPreviousPage: boolean
    readonly startCursor: string
    readonly endCursor: string
  }
}
const PAGE = 'pageInfo { hasNextPage hasPreviousPage startCursor endCursor }'

/** What a query returns; fails if it has an error. */
async function read(
  token: Token,
  query: string,
  variables: Record<string, unknown> = {},
): Promise<Record<string, unknown>> {
  const { data, errors } = await gateway.ask(token, query, variables)
  expect(errors).toBeUndefined()
  return data!
}
const faultsOf = async (token: Token, query: string): Promise<unknown[]> =>
  ((await gateway.ask(token, query)).errors ?? []).map(({ extensions }) => extensions?.code)
const listClients = async (args: string): Promise<Page> =>
  (await read(admin, `{ clients(${args}) { nodes { id name } ${PAGE} } }`))['clients'] as Page
const listOrganizations = async (args: string): Promise<Page> =>
  (await read(admin, `{ organizations(${args}) { nodes { id name } ${PAGE} } }`))['organizations'] as Page
const idsOf = ({ nodes }: Page): string[] => nodes.map(({ id }) => id)
const namesOf = ({ nodes }: Page): string[] => nodes.map(({ name }) => name)

describe('a client', () => {
  const CLIENT =
    'id organization { id kind name } name status scopes redirectUris tokenBinding jwks pointsPerMinute pointsPerCustomerPerMinute operationPolicy'

  test('a client sees itself with its organization, by its token alone and by its own ID', async () => {
    const self = await read(chatterbox, `{ client { ${CLIENT} lastUsedAt } }`)
    expect(self['client']).toMatchObject({
      id: 'chatterbox',
      organization: { id: chatterboxOrganization, kind: 'PLATFORM', name: 'Chatterbox' },
      status: 'ACTIVE',
      tokenBinding: 'DPOP',
      jwks: { keys: [{ kid: 'chatterbox-1' }] },
      pointsPerMinute: 600_000,
      pointsPerCustomerPerMinute: 6_000,
      operationPolicy: 'ANY',
    })
    expect(JSON.stringify(self)).not.toContain('"d":')
    const byId = await read(chatterbox, `{ client(id: "chatterbox") { ${CLIENT} } }`)
    expect(self['client']).toMatchObject(byId['client'] as object)
    const customer = await gateway.customer('ada', ['northbank'])
    expect(await read(customer, '{ client { id } organization { name } }')).toEqual({
      client: { id: 'chatterbox' },
      organization: { name: 'Chatterbox' },
    })
  })

  test('a client is visible to itself and to admins, and null to every other client', async () => {
    const query = 'query ($id: ID!) { client(id: $id) { id } node(id: $id) { id } }'
    const partner = await gateway.own('northbank-partner', 'connectors:read')
    const organizationsOnly = await gateway.own('admin', 'organizations:manage')
    for (const token of [partner, organizationsOnly])
      for (const id of ['chatterbox', 'nobody'])
        expect(await read(token, query, { id })).toEqual({ client: null, node: null })
    const found = { id: 'chatterbox' }
    for (const token of [chatterbox, admin])
      expect(await read(token, query, { id: 'chatterbox' })).toEqual({ client: found, node: found })
    expect((await gateway.askUnattended(undefined, '{ node(id: "chatterbox") { id } }')).data).toEqual({ node: null })
    // A bank's short name is read the same way, and stays a bank.
    expect(await read(admin, '{ node(id: "northbank") { __typename } }')).toEqual({ node: { __typename: 'Bank' } })
  })

  test('a client pages through its registered operations, newest first and in document order within a call', async () => {
    const documents = ['A', 'B', 'C'].map((name) => `query ${name} { banks { nodes { id } } }`)
    const hashes = documents.map((document) => createHash('sha256').update(document).digest('hex'))
    const register = async (given: readonly string[]) =>
      (
        await read(
          chatterbox,
          'mutation ($documents: [String!]!) { registerOperations(input: { documents: $documents }) { registeredOperations { sha256Hash } userErrors { code } } }',
          { documents: given },
        )
      )['registerOperations']
    expect(await register([documents[1]!, documents[0]!, documents[1]!])).toEqual({
      registeredOperations: [{ sha256Hash: hashes[1] }, { sha256Hash: hashes[0] }],
      userErrors: [],
    })
    expect(await register([documents[2]!])).toMatchObject({ registeredOperations: [{ sha256Hash: hashes[2] }] })
    const page = async (args: string): Promise<Page> => {
      const query = `{ client { registeredOperations${args} { nodes { sha256Hash } ${PAGE} } } }`
      return ((await read(chatterbox, query))['client'] as { registeredOperations: Page }).registeredOperations
    }
    const all = (await page('')).nodes.map(({ sha256Hash }) => sha256Hash)
    expect(all[0]).toBe(hashes[2])
    expect([...all].sort()).toEqual([...hashes].sort())
    const first = await page('(first: 2)')
    expect(first.pageInfo).toMatchObject({ hasNextPage: true, hasPreviousPage: false })
    const rest = await page(`(first: 2, after: "${first.pageInfo.endCursor}")`)
    expect([...first.nodes, ...rest.nodes].map(({ sha256Hash }) => sha256Hash)).toEqual(all)
    const back = await page(`(last: 1, before: "${rest.pageInfo.startCursor}")`)
    expect(back.nodes.map(({ sha256Hash }) => sha256Hash)).toEqual([all[1]])
  })
})

describe('the list of clients', () => {
  const addClient = async (name: string, scopes: readonly Scope[] = ['webhooks:manage']): Promise<string> => {
    const { jwks, organizationId } = (await gateway.app.services.clients.find('chatterbox'))!
    const input = { organizationId, name, jwks, redirectUris: [], scopes, tokenBinding: 'DPOP' as const }
    return (await gateway.app.services.clients.register('admin', input)).id
  }

  test('the list of clients is newest first, and is paged to both ends without a gap', async () => {
    const newest = await addClient('Newest of all')
    const all = idsOf(await listClients('first: 100'))
    expect(all[0]).toBe(newest)
    expect(all).toContain('chatterbox')
    const walked: string[] = []
    for (let after = ''; ;) {
      const page = await listClients(`first: 3${after && `, after: "${after}"`}`)
      walked.push(...idsOf(page))
      if (!page.pageInfo.hasNextPage) break
      after = page.pageInfo.endCursor
    }
    expect(walked).toEqual(all)
    const last = await listClients('last: 2')
    expect(idsOf(last)).toEqual(all.slice(-2))
    expect(last.pageInfo).toMatchObject({ hasNextPage: false, hasPreviousPage: true })
    expect(idsOf(await listClients(`last: 2, before: "${last.pageInfo.startCursor}"`))).toEqual(all.slice(-4, -2))
  })

  test('the list of clients is ordered by name on request, in both directions', async () => {
    const ascending = namesOf(await listClients('first: 100, orderBy: { field: NAME, direction: ASC }'))
    const descending = namesOf(await listClients('first: 100, orderBy: { field: NAME, direction: DESC }'))
    expect(descending).toEqual([...ascending].reverse())
    const rows = await gateway.database.query<{ name: string }>('select name from client order by name, id')
    expect(ascending).toEqual(rows.map(({ name }) => name))
    const [one] = (await listClients('first: 1, orderBy: { field: NAME, direction: ASC }')).nodes
    const next = await listClients(`first: 1, after: "${one!.id}", orderBy: { field: NAME, direction: ASC }`)
    expect(namesOf(next)).toEqual([ascending[1]])
  })

  test('the list of clients has the matches of all filters, and a search text is literal', async () => {
    expect(idsOf(await listClients('filter: { search: "CHATTERBOX-b" }'))).toEqual(['chatterbox-bearer'])
    expect(idsOf(await listClients('filter: { search: "with bearer" }'))).toEqual(['chatterbox-bearer'])
    for (const text of ['%', 'chatterbo_', String.raw`\\`])
      expect(idsOf(await listClients(`filter: { search: "${text}" }`)), text).toEqual([])
    const own = `organizationId: "${chatterboxOrganization}"`
    expect(idsOf(await listClients(`first: 100, filter: { ${own} }`))).toEqual(
      expect.arrayContaining(['chatterbox', 'chatterbox-bearer']),
    )
    expect(idsOf(await listClients(`filter: { ${own}, search: "northbank" }`))).toEqual([])
    expect(idsOf(await listClients('filter: { statuses: [RETIRED] }'))).toEqual([])
    expect(idsOf(await listClients('filter: { statuses: [] }'))).toEqual([])
  })

  test.each(['first: 101', 'first: 1, last: 1', 'after: "nobody"', `filter: { search: "${'x'.repeat(61)}" }`])(
    'the list of clients refuses the arguments clients(%s)',
    async (args) => {
      expect(await faultsOf(admin, `{ clients(${args}) { nodes { id } } }`)).toEqual(['INVALID_INPUT'])
    },
  )
})

describe('organizations', () => {
  test('organizations are listed by name with their kinds, filtered and paged', async () => {
    const all = namesOf(await listOrganizations('first: 100'))
    const rows = await gateway.database.query<{ name: string }>('select name from organization order by name')
    expect(all).toEqual(rows.map(({ name }) => name))
    expect(namesOf(await listOrganizations('filter: { kinds: [OPERATOR] }'))).toEqual(['Guichet'])
    expect(namesOf(await listOrganizations('filter: { kinds: [PLATFORM] }'))).toEqual(['Chatterbox'])
    expect(namesOf(await listOrganizations('filter: { kinds: [BANK], search: "NORTH" }'))).toEqual(['Northbank plc'])
    const first = await listOrganizations('first: 2')
    const rest = await listOrganizations(`first: 100, after: "${first.pageInfo.endCursor}"`)
    expect([...namesOf(first), ...namesOf(rest)]).toEqual(all)
    expect(namesOf(await listOrganizations(`last: 1, before: "${rest.pageInfo.startCursor}"`))).toEqual([all[1]])
  })

  test('organizations are seen by their own clients, and all of them by an admin', async () => {
    const query = 'query ($id: ID!) { organization(id: $id) { kind } node(id: $id) { id } }'
    const partner = await gateway.own('northbank-partner', 'connectors:read')
    expect(await read(partner, '{ organization { kind name } }')).toEqual({
      organization: { kind: 'BANK', name: 'Northbank plc' },
    })
    const variables = { id: chatterboxOrganization }
    const found = { organization: { kind: 'PLATFORM' }, node: variables }
    const organizationsOnly = await gateway.own('admin', 'organizations:manage')
    const clientsOnly = await gateway.own('admin', 'clients:manage')
    for (const token of [chatterbox, organizationsOnly, clientsOnly])
      expect(await read(token, query, variables)).toEqual(found)
    for (const id of [chatterboxOrganization, 'org_AAAAAAAAAAAAAAAAAAAAAA'])
      expect(await read(partner, query, { id })).toEqual({ organization: null, node: null })
  })

  test('the partner and an admin of banks see the organization of a connector', async () => {
    const query = '{ connectors(filter: { bankIds: ["northbank"] }) { nodes { organization { kind name } } } }'
    for (const token of [
      await gateway.own('northbank-partner', 'connectors:read'),
      await gateway.own('admin', 'banks:manage'),
    ])
      expect(await read(token, query)).toEqual({
        connectors: { nodes: [{ organization: { kind: 'BANK', name: 'Northbank plc' } }] },
      })
  })

  test('the kind of an organization never changes after its registration', async () => {
    const REGISTER =
      'mutation ($input: RegisterOrganizationInput!) { registerOrganization(input: $input) { organization { id kind name } userErrors { code } } }'
    const { organization } = (await read(admin, REGISTER, { input: { kind: 'BANK', name: 'Lakeside Bank' } }))[
      'registerOrganization'
    ] as { organization: { id: string } }
    const RENAME =
      'mutation ($input: UpdateOrganizationInput!) { updateOrganization(input: $input) { organization { id kind name } userErrors { code } } }'
    const input = { organizationId: organization.id, name: 'Lakeside' }
    expect((await read(admin, RENAME, { input }))['updateOrganization']).toEqual({
      organization: { id: organization.id, kind: 'BANK', name: 'Lakeside' },
      userErrors: [],
    })
  })
})
