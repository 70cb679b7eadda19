import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let admin: Token
let partner: Token
beforeAll(async () => {
  gateway = await startGateway()
  admin = await gateway.own('admin', 'clients:manage organizations:manage')
  partner = await gateway.own('eastbank-partner', 'connectors:manage connectors:read')
})
afterAll(() => gateway.close())

interface Fault {
  readonly code: string
  readonly path: readonly string[]
  readonly message: string
}
const faultsOf = async (token: Token, field: string, type: string, input: object, kind = 'mutation') => {
  const query = `${kind} ($input: ${type}!) { ${field}(input: $input) { userErrors { code path message } } }`
  const { data, errors } = await gateway.ask(token, query, { input })
  expect(errors).toBeUndefined()
  const { userErrors: faults } = data![field] as { userErrors: readonly Fault[] }
  return Object.fromEntries(faults.map(({ path, message }) => [path.join('.'), message]))
}
const registrationOf = async (bank: 'northbank' | 'eastbank') =>
  (await (await fetch(`${gateway.sandbox.banks[bank]}/sandbox/registration`)).json()) as {
    standard: string
    registration: Record<string, unknown> & { bank: object }
  }

describe('what is wrong with a registration', () => {
  test('a client registration reports all of its faults together, each with its path and what is allowed', async () => {
    const told = await faultsOf(admin, 'registerClient', 'RegisterClientInput', {
      organizationId: 'org_nobody',
      name: '<b>secret-name</b>',
      jwks: { keys: [] },
      redirectUris: ['https://bank.example/ok', 'https://secret@bank.example/', 'https://bank.example/ok'],
      scopes: ['accounts:read', 'acounts:read', 'secret-scope-that-is-like-nothing'],
    })
    expect(Object.keys(told).sort()).toEqual(
      ['jwks.keys', 'name', 'organizationId', 'redirectUris.1', 'redirectUris.2', 'scopes.1', 'scopes.2'].sort(),
    )
    expect(told['name']).toMatch(/^`name` must have 1 to 60 characters/)
    expect(told['redirectUris.1']).toBe('`redirectUris[1]` must name no user or password.')
    expect(told['redirectUris.2']).toBe('`redirectUris[2]` must be listed once.')
    expect(told['scopes.1']).toBe('`scopes[1]` is no scope; did you mean accounts:read?')
    expect(told['scopes.2']).toMatch(/must be one of accounts:read, .*, ledger:read\.$/)
    expect(JSON.stringify(told)).not.toContain('secret')
  })

  test('an update reports all of its faults together, by the rules of registration, and changes nothing', async () => {
    const before = await gateway.database.query("select * from client where id = 'chatterbox'")
    const told = await faultsOf(admin, 'updateClient', 'UpdateClientInput', {
      clientId: 'chatterbox',
      name: ' ',
      redirectUris: ['https://10.0.0.1/'],
      scopes: [],
      pointsPerMinute: 0,
      pointsPerCustomerPerMinute: -1,
    })
    expect(Object.keys(told).sort()).toEqual([
      'name',
      'pointsPerCustomerPerMinute',
      'pointsPerMinute',
      'redirectUris.0',
      'scopes',
    ])
    expect(told['pointsPerMinute']).toContain('from 1 to 2147483647')
    expect(await gateway.database.query("select * from client where id = 'chatterbox'")).toEqual(before)
  })

  test('a dry run reports what a registration would, and stores nothing', async () => {
    const { standard, registration } = await registrationOf('eastbank')
    const preview = (input: object) =>
      gateway.ask(
        partner,
        'query ($input: RegisterConnectorInput!) { connectorPreview(input: $input) { bankId bankName userErrors { code path } } }',
        { input },
      )
    expect((await preview({ standard, registration })).data!['connectorPreview']).toEqual({
      bankId: 'eastbank',
      bankName: 'Eastbank',
      userErrors: [],
    })
    const wrong = { ...registration, apiBase: undefined, vresion: '1', version: '9' }
    const told = await faultsOf(
      partner,
      'connectorPreview',
      'RegisterConnectorInput',
      { standard, registration: wrong },
      'query',
    )
    expect(Object.keys(told)).toEqual(
      expect.arrayContaining(['registration.apiBase', 'registration.version', 'registration.vresion']),
    )
    expect(told['registration.vresion']).toContain('did you mean `version`?')
    expect(told['registration.apiBase']).toBe('`registration.apiBase` is missing: a string.')
    expect(await gateway.database.query("select 1 from bank where id = 'eastbank'")).toEqual([])
    // Nobody learns by it whether another partner registered a bank: that is told to whoever registers, too, and only so much.
    const taken = await registrationOf('northbank')
    expect((await preview({ ...taken })).data!['connectorPreview']).toMatchObject({
      userErrors: [{ code: 'STATE_CONFLICT', path: ['registration', 'bank', 'id'] }],
    })
    expect(
      (
        await gateway.ask(
          admin,
          'query ($input: RegisterConnectorInput!) { connectorPreview(input: $input) { bankId } }',
          {
            input: { standard, registration },
          },
        )
      ).errors![0]!.extensions!.code,
    ).toBe('UNAUTHORIZED_FIELD_OR_TYPE')
  })

  test('a second bank with the same name is refused in every spelling', async () => {
    const { standard, registration } = await registrationOf('eastbank')
    const register = (bank: object) =>
      faultsOf(partner, 'registerConnector', 'RegisterConnectorInput', {
        standard,
        registration: { ...registration, bank: { id: 'another', country: 'GB', ...bank } },
      })
    for (const name of ['Northbank', 'NORTHBANK', 'North Bank', 'North-bank.', 'Northbank '])
      expect(Object.keys(await register({ name })), name).toEqual(['registration.bank.name'])
    // The second letter is Cyrillic.
    expect((await register({ name: 'N\u043erthbank' }))['registration.bank.name']).toContain('one script')
    expect(await gateway.database.query("select 1 from bank where id = 'another'")).toEqual([])
  })

  test('if two partners register banks with one name at the same time, one is registered', async () => {
    const { standard, registration } = await registrationOf('eastbank')
    const others = await Promise.all(
      ['eastbank-partner', 'lakebank-partner', 'northbank-partner'].map((id) => gateway.own(id, 'connectors:manage')),
    )
    const answers = await Promise.all(
      others.map((token, at) =>
        faultsOf(token, 'registerConnector', 'RegisterConnectorInput', {
          standard,
          registration: { ...registration, bank: { id: `twin-${at}`, name: 'Twin Bank', country: 'GB' } },
        }),
      ),
    )
    expect(answers.filter((told) => Object.keys(told).length === 0)).toHaveLength(1)
    expect(await gateway.database.query("select 1 from bank where name = 'Twin Bank'")).toHaveLength(1)
  })

  test('another connector of a bank must state the bank as registered, and cannot rename it', async () => {
    const { standard, registration } = await registrationOf('northbank')
    const owner = await gateway.own('northbank-partner', 'connectors:manage')
    const again = (bank: object) =>
      faultsOf(owner, 'registerConnector', 'RegisterConnectorInput', {
        standard,
        registration: { ...registration, bank: { ...registration.bank, ...bank } },
      })
    expect(Object.keys(await again({ name: 'Northbank International' }))).toEqual(['registration.bank.id'])
    expect(await again({})).toEqual({})
  })
})
