import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { platformsOf, type SetPlatformAccessResult } from '../support/platforms.ts'

let gateway: TestGateway
let platforms: ReturnType<typeof platformsOf>
let chatterbox: string
let pigeon: string
beforeAll(async () => {
  gateway = await startGateway()
  platforms = platformsOf(gateway)
  chatterbox = await platforms.organizationOf('chatterbox')
  pigeon = await platforms.add('pigeon', 'Pigeon')
})
afterAll(() => gateway.close())
afterEach(() => platforms.set('northbank', { all: true }))

const SET =
  'mutation ($input: SetPlatformAccessInput!) { setPlatformAccess(input: $input) { connector { id } userErrors { code path } } }'
const result = async (access: object) =>
  (await platforms.request('northbank', access)).data!['setPlatformAccess'] as SetPlatformAccessResult
const setAs = async (token: Token, connectorId: string) =>
  (await gateway.ask(token, SET, { input: { connectorId, access: { allExcept: [chatterbox] } } })).data?.[
    'setPlatformAccess'
  ]
const availabilityFor = async (token: Token | undefined): Promise<string> => {
  const { data } = await gateway.ask(token, '{ bank(id: "northbank") { availability } }')
  return (data!['bank'] as { availability: string }).availability
}
const UNKNOWN = 'org_AAAAAAAAAAAAAAAAAAAAAA'

describe('the platforms that a bank serves', () => {
  test('a bank serves all platforms until its partner decides otherwise, and the listed ones are returned by name', async () => {
    expect((await result({ all: true })).connector!.platformAccess).toEqual({ mode: 'ALL', organizations: [] })
    expect((await result({ only: [pigeon, chatterbox] })).connector!.platformAccess).toEqual({
      mode: 'ONLY',
      organizations: [
        { id: chatterbox, name: 'Chatterbox' },
        { id: pigeon, name: 'Pigeon' },
      ],
    })
    expect((await result({ allExcept: [pigeon] })).connector!.platformAccess).toEqual({
      mode: 'ALL_EXCEPT',
      organizations: [{ id: pigeon, name: 'Pigeon' }],
    })
  })

  test('every connector of a bank has the same setting', async () => {
    const partner = await platforms.partnerOf('northbank')
    const { banks } = gateway.app.services
    const active = (await banks.findConnector(await platforms.connectorOf('northbank')))!
    const second = await banks.register('northbank-partner', {
      standard: active.standard,
      registration: {
        ...active.registration,
        clientId: 'second',
      },
    })
    await gateway.ask(partner, SET, { input: { connectorId: second.id, access: { only: [pigeon] } } })
    const { data } = await gateway.ask(
      partner,
      '{ connectors { nodes { platformAccess { mode organizations { id } } } } }',
    )
    const { nodes } = data!['connectors'] as { nodes: unknown[] }
    expect(nodes).toEqual(
      Array.from({ length: 2 }, () => ({ platformAccess: { mode: 'ONLY', organizations: [{ id: pigeon }] } })),
    )
  })

  test('every fault of the list is returned at its path, and nothing is changed', async () => {
    const { connector, userErrors } = await result({ only: [pigeon, UNKNOWN, pigeon, await bankOrganization()] })
    expect(connector).toBeNull()
    expect(userErrors.map(({ code, path }) => [code, path.join('.')])).toEqual([
      ['INVALID_INPUT', 'access.only.1'],
      ['INVALID_INPUT', 'access.only.2'],
      ['INVALID_INPUT', 'access.only.3'],
    ])
    // The error for an organization of another kind equals the error for one that does not exist.
    expect(userErrors[2]!.message.replace('[3]', '[1]')).toBe(userErrors[0]!.message)
    expect(await availabilityFor(await gateway.own('chatterbox', 'deliveries:read'))).toBe('AVAILABLE')
    for (const [access, path] of [
      [{ only: [] }, 'access.only'],
      [{ allExcept: [] }, 'access.allExcept'],
      [{ all: false }, 'access.all'],
      [{ only: Array.from({ length: 501 }, () => pigeon) }, 'access.only'],
    ] as const)
      expect((await result(access)).userErrors.map((fault) => fault.path.join('.'))).toEqual([path])
  })

  test('only the client that registered the bank can set it; an admin can read it', async () => {
    const connectorId = await platforms.connectorOf('northbank')
    const notFound = { connector: null, userErrors: [{ code: 'NOT_FOUND', path: ['connectorId'] }] }
    expect(await setAs(await platforms.partnerOf('rheinbank'), connectorId)).toEqual(notFound)
    expect(await setAs(await platforms.partnerOf('rheinbank'), 'cnct_AAAAAAAAAAAAAAAAAAAAAA')).toEqual(notFound)
    // Without the scope, the field is denied.
    for (const token of [
      await gateway.own('admin', 'banks:manage'),
      await gateway.own('northbank-partner', 'connectors:read'),
      await gateway.own('chatterbox', 'deliveries:read'),
    ])
      expect(await setAs(token, connectorId)).toBeNull()
    // With it, a client that manages every bank may still not decide for one.
    await expect(
      gateway.app.services.banks.setPlatformAccess('admin', connectorId, { all: true }),
    ).rejects.toMatchObject({
      code: 'FORBIDDEN',
    })
    await platforms.set('northbank', { only: [pigeon] })
    const { data } = await gateway.ask(
      await gateway.own('admin', 'banks:manage'),
      'query ($id: ID!) { connector(id: $id) { platformAccess { mode organizations { name } } } }',
      { id: connectorId },
    )
    expect(data!['connector']).toEqual({ platformAccess: { mode: 'ONLY', organizations: [{ name: 'Pigeon' }] } })
  })

  test('each change is in the audit log with the lists before and after, and setting the same again is no change', async () => {
    await platforms.set('northbank', { only: [pigeon] })
    const entries = () =>
      gateway.database.query<{ client_id: string; subject_id: string; changes: unknown }>(
        "select client_id, subject_id, changes from ledger_entry where action = 'PLATFORM_ACCESS_CHANGED' order by occurred_at desc",
      )
    const [latest, ...earlier] = await entries()
    expect(latest).toEqual({
      client_id: 'northbank-partner',
      subject_id: 'northbank',
      changes: [
        { field: 'platformAccess.mode', before: ['ALL'], after: ['ONLY'] },
        { field: 'platformAccess.organizationIds', before: [], after: [pigeon] },
      ],
    })
    await platforms.set('northbank', { only: [pigeon] })
    expect(await entries()).toHaveLength(earlier.length + 1)
  })
})

describe('the directory of banks', () => {
  test('a client learns of its own organization only whether a bank serves it', async () => {
    const own = await gateway.own('chatterbox', 'deliveries:read')
    const other = await gateway.own('pigeon', 'deliveries:read')
    const partner = await platforms.partnerOf('rheinbank')
    await platforms.set('northbank', { allExcept: [chatterbox] })
    const shown = await Promise.all([own, other, partner, undefined].map(availabilityFor))
    expect(shown).toEqual(['NOT_OFFERED', 'AVAILABLE', 'AVAILABLE', 'AVAILABLE'])
    const filtered = async (token: Token) => {
      const { data } = await gateway.ask(
        token,
        '{ banks(filter: { availability: [NOT_OFFERED] }) { nodes { id } totalCount } }',
      )
      return data!['banks']
    }
    expect(await filtered(own)).toEqual({ nodes: [{ id: 'northbank' }], totalCount: 1 })
    expect(await filtered(other)).toEqual({ nodes: [], totalCount: 0 })
  })

  test('a platform that asks for the connector, the audit log or the organization of another learns nothing', async () => {
    await platforms.set('northbank', { allExcept: [chatterbox] })
    const { clients } = gateway.app.services
    const { scopes } = (await clients.find('pigeon'))!
    await clients.update('admin', 'pigeon', { scopes: [...scopes, 'ledger:read'] })
    const other = await gateway.own('pigeon', 'deliveries:read ledger:read')
    const { data } = await gateway.ask(
      other,
      'query ($connector: ID!, $organization: ID!) { connector(id: $connector) { id } node(id: $connector) { id } organization(id: $organization) { name } auditLog { nodes { action } } }',
      { connector: await platforms.connectorOf('northbank'), organization: chatterbox },
    )
    expect(data).toMatchObject({ connector: null, node: null, organization: null })
    expect(JSON.stringify(data)).not.toContain('PLATFORM_ACCESS_CHANGED')
  })
})

async function bankOrganization(): Promise<string> {
  return platforms.organizationOf('rheinbank-partner')
}
