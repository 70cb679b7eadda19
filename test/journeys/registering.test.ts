import { generateKeyPairSync } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { JWK } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { createOauthClient } from '../../src/entrypoints/cli/oauth-client.ts'
import { createOutboundHttp } from '../../src/kernel/outbound-http.ts'
import { productionProblems } from '../../src/production.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { listen } from '../support/event-stream.ts'
import { freePort } from '../support/ports.ts'
import { startProcess } from '../support/process.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

const newKey = (kid = 'k1'): { privateKey: JWK; publicKey: JWK } => {
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return {
    privateKey: { ...(pair.privateKey.export({ format: 'jwk' }) as JWK), kid },
    publicKey: { ...(pair.publicKey.export({ format: 'jwk' }) as JWK), kid },
  }
}
const admin = () => gateway.own('admin', 'clients:manage organizations:manage banks:manage')
const partner = () => gateway.own('eastbank-partner', 'connectors:manage connectors:read')

const REGISTER_CLIENT =
  'mutation ($input: RegisterClientInput!) { registerClient(input: $input) { client { id status tokenBinding } userErrors { code path message } } }'
const REGISTER_ORGANIZATION =
  'mutation ($input: RegisterOrganizationInput!) { registerOrganization(input: $input) { organization { id name } userErrors { code path } } }'
const REGISTER_CONNECTOR =
  'mutation ($input: RegisterConnectorInput!) { registerConnector(input: $input) { connector { id status bank { id } jwks eventsUrl redirectUri } userErrors { code path message } } }'
const step = (name: string) =>
  `mutation ($input: ${name[0]!.toUpperCase()}${name.slice(1)}Input!) { ${name}(input: $input) { userErrors { code path } ${name === 'startCertification' ? 'certificationRun { id }' : 'connector { id status }'} } }`

async function newOrganization(name: string): Promise<string> {
  const answer = await gateway.ask(await admin(), REGISTER_ORGANIZATION, { input: { kind: 'PLATFORM', name } })
  return (answer.data!['registerOrganization'] as { organization: { id: string } }).organization.id
}

async function registration(
  bank: 'northbank' | 'rheinbank' | 'eastbank',
): Promise<{ standard: string; registration: Record<string, unknown> }> {
  return (await (await fetch(`${gateway.sandbox.banks[bank]}/sandbox/registration`)).json()) as {
    standard: string
    registration: Record<string, unknown>
  }
}

describe('an admin registers organizations and clients', () => {
  test('a client works as soon as it is registered, and stops as soon as it is suspended', async () => {
    const { privateKey, publicKey } = newKey()
    const organizationId = await newOrganization('Parley')
    const input = {
      organizationId,
      name: 'Parley chat',
      jwks: { keys: [publicKey] },
      redirectUris: [`${gateway.sandbox.platform}/callback`],
      scopes: ['accounts:read', 'alerts:read', 'webhooks:manage'],
    }
    const { client } = (await gateway.ask(await admin(), REGISTER_CLIENT, { input })).data!['registerClient'] as {
      client: { id: string; status: string; tokenBinding: string }
    }
    expect(client).toMatchObject({ status: 'ACTIVE', tokenBinding: 'DPOP' })
    writeFileSync(
      join(gateway.dataDir, 'clients', `${client.id}.json`),
      JSON.stringify({ clientId: client.id, key: privateKey, redirectUri: `${gateway.sandbox.platform}/callback` }),
    )
    const browser = createBrowser()
    const token = await gateway.customer('bo', ['northbank'], {
      browser,
      clientId: client.id,
      scopes: ['accounts:read', 'alerts:read'],
    })
    expect((await gateway.ask(token, '{ customer { accounts { nodes { id } } } }')).errors).toBeUndefined()
    const heard = await listen(gateway.issuer, token, 'subscription { alertReceived { type } }')

    const turn = (name: string) =>
      `mutation ($input: ${name[0]!.toUpperCase()}${name.slice(1)}Input!) { ${name}(input: $input) { client { status } userErrors { code } } }`
    await gateway.ask(await admin(), turn('suspendClient'), { input: { clientId: client.id } })
    expect((await gateway.ask(token, '{ customer { id } }')).errors![0]!.extensions!.code).toBe('CLIENT_SUSPENDED')
    // An open subscription hears nothing more, either.
    const before = (await gateway.received()).length
    await gateway.customer('bo', ['northbank'], { browser })
    await gateway.alert('northbank', { customer: 'bo', type: 'CARD_SECURITY' })
    await eventually('somebody else to be told', async () => (await gateway.received()).length > before)
    expect(heard.text()).not.toContain('CARD_SECURITY')
    heard.close()
    await expect(
      createOauthClient(gateway.issuer, gateway.client(client.id)).clientCredentials('webhooks:manage'),
    ).rejects.toThrow(/invalid_client/)
    await gateway.ask(await admin(), turn('resumeClient'), { input: { clientId: client.id } })
    expect((await gateway.ask(token, '{ customer { id } }')).errors).toBeUndefined()
  })

  test.each([
    ['keys with a private part', () => ({ jwks: { keys: [newKey().privateKey] } }), 'jwks'],
    ['a key without a name', () => ({ jwks: { keys: [{ ...newKey().publicKey, kid: undefined }] } }), 'jwks'],
    ['two keys of one name', () => ({ jwks: { keys: [newKey('a').publicKey, newKey('a').publicKey] } }), 'jwks'],
    ['a symmetric key', () => ({ jwks: { keys: [{ kty: 'oct', k: 'c2VjcmV0', kid: 'x' }] } }), 'jwks'],
    [
      'a short RSA key',
      () => ({
        jwks: {
          keys: [
            { ...generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ format: 'jwk' }), kid: 'r' },
          ],
        },
      }),
      'jwks',
    ],
    ['keys that are a text', () => ({ jwks: 'none' }), 'jwks'],
    ['a scope that does not exist', () => ({ scopes: ['transactions:read'] }), 'scopes'],
    ['no scope', () => ({ scopes: [] }), 'scopes'],
    ['a redirect to a script', () => ({ redirectUris: ['javascript:alert(1)'] }), 'redirectUris'],
    ['a redirect into the inside', () => ({ redirectUris: ['https://169.254.169.254/latest'] }), 'redirectUris'],
    ['an organization that does not exist', () => ({ organizationId: 'org_nobody' }), 'organizationId'],
    ['a name with markup', () => ({ name: '<b>Bank</b>' }), 'name'],
  ])('a client with %s is refused, at the field that is wrong', async (_what, change, path) => {
    const input = {
      organizationId: await newOrganization(`Platform ${Math.random().toString(36).slice(2)}`),
      name: 'Some client',
      jwks: { keys: [newKey().publicKey] },
      redirectUris: [],
      scopes: ['webhooks:manage'],
      ...change(),
    }
    const payload = (await gateway.ask(await admin(), REGISTER_CLIENT, { input })).data!['registerClient'] as {
      client: null
      userErrors: { code: string; path: string[] }[]
    }
    expect(payload.client).toBeNull()
    expect(payload.userErrors[0]!.code).toBe('INVALID_INPUT')
    expect(payload.userErrors[0]!.path[0]).toBe(path)
  })

  test('exactly one of twenty concurrent registrations of one organization name succeeds', async () => {
    const token = await admin()
    const answers = await Promise.all(
      Array.from({ length: 20 }, () =>
        gateway.ask(token, REGISTER_ORGANIZATION, { input: { kind: 'PLATFORM', name: 'Twin' } }),
      ),
    )
    const codes = answers.map(
      ({ data }) => (data!['registerOrganization'] as { userErrors: { code: string }[] }).userErrors[0]?.code ?? 'DONE',
    )
    expect(codes.filter((code) => code === 'DONE')).toHaveLength(1)
    expect(codes.filter((code) => code === 'STATE_CONFLICT')).toHaveLength(19)
  })

  test('a platform, a bank partner and a customer cannot register organizations or clients', async () => {
    const ada = await gateway.customer('ada', ['northbank'])
    const callers = [ada, await gateway.own('chatterbox', 'webhooks:manage'), await partner(), undefined]
    for (const caller of callers) {
      const { data, errors } = await gateway.ask(caller, REGISTER_ORGANIZATION, {
        input: { kind: 'PLATFORM', name: 'Intruder' },
      })
      expect(data?.['registerOrganization'] ?? null).toBeNull()
      expect(errors![0]!.extensions!.code).toBe(caller ? 'UNAUTHORIZED_FIELD_OR_TYPE' : 'UNAUTHENTICATED')
    }
    expect(await gateway.database.query("select 1 from organization where name = 'Intruder'")).toEqual([])
  })

  test('an admin sees no customer, balance or alert', async () => {
    const { data } = await gateway.ask(
      await gateway.own('admin', 'clients:manage organizations:manage banks:manage ledger:read'),
      '{ customer { id accounts { nodes { id } } } }',
    )
    expect(data!['customer']).toBeNull()
    // Scopes of customers are not given to a client for itself, whoever it is.
    const asked = await gateway.own('chatterbox', 'webhooks:manage accounts:read').catch(String)
    if (typeof asked !== 'string')
      expect((await gateway.ask(asked, '{ customer { id } }')).data!['customer']).toBeNull()
  })
})

describe('a bank partner registers a connector', () => {
  test('a connector is drafted, certified and activated by an admin, and customers use it without a restart', async () => {
    const input = await registration('eastbank')
    const { connector, userErrors } = (await gateway.ask(await partner(), REGISTER_CONNECTOR, { input })).data![
      'registerConnector'
    ] as {
      connector: { id: string; status: string; jwks: object; eventsUrl: string; redirectUri: string }
      userErrors: unknown[]
    }
    expect(userErrors).toEqual([])
    expect(connector.status).toBe('DRAFT')
    expect(JSON.stringify(connector.jwks)).not.toContain('"d"')
    const live = step('activateConnector')
    expect(
      (await gateway.ask(await admin(), live, { input: { connectorId: connector.id } })).data!['activateConnector'],
    ).toMatchObject({ userErrors: [{ code: 'STATE_CONFLICT' }] })

    // The bank does not know the gateway yet, so the connector does not pass.
    const certified = async () => {
      const token = await partner()
      await gateway.ask(token, step('startCertification'), { input: { connectorId: connector.id } })
      return eventually('the run to be over', async () => {
        const { data } = await gateway.ask(
          token,
          '{ connectors { nodes { status acceptsNewConsents certificationRuns { nodes { status checks { name } } } } } }',
        )
        const [shown] = (data!['connectors'] as { nodes: { status: string; certificationRuns: { nodes: object[] } }[] })
          .nodes
        return shown!.status !== 'CERTIFYING' && shown
      })
    }
    expect(await certified()).toMatchObject({
      status: 'DRAFT',
      acceptsNewConsents: false,
      certificationRuns: { nodes: [{ status: 'FAILED' }] },
    })
    await fetch(`${gateway.sandbox.banks.eastbank}/sandbox/clients/guichet`, {
      method: 'PUT',
      body: JSON.stringify({
        ...connector.jwks,
        eventsUrl: connector.eventsUrl,
        redirectUri: connector.redirectUri,
      }),
    })
    expect(await certified()).toMatchObject({
      status: 'CERTIFIED',
      certificationRuns: { nodes: [{ status: 'PASSED' }, { status: 'FAILED' }] },
    })
    expect(
      (await gateway.ask(await partner(), live, { input: { connectorId: connector.id } })).errors![0]!.extensions!.code,
    ).toBe('UNAUTHORIZED_FIELD_OR_TYPE')
    // Nor by whoever registered it, whatever else they may do.
    const { banks } = gateway.app.services
    await expect(banks.activate('eastbank-partner', connector.id)).rejects.toMatchObject({ code: 'FORBIDDEN' })
    expect(
      (await gateway.ask(await admin(), live, { input: { connectorId: connector.id } })).data!['activateConnector'],
    ).toMatchObject({ connector: { status: 'ACTIVE' } })

    const token = await gateway.customer('eve', ['eastbank'])
    expect(
      (
        await gateway.ask(
          token,
          '{ customer { accounts { nodes { bank { name } balances { ... on ExactBalance { value { currency } } } } } } }',
        )
      ).data!['customer'],
    ).toEqual({ accounts: { nodes: [{ bank: { name: 'Eastbank' }, balances: [{ value: { currency: 'GBP' } }] }] } })

    gateway.forward(20_000)
    await gateway.ask(await partner(), step('suspendConnector'), { input: { connectorId: connector.id } })
    expect(
      (
        await gateway.ask(
          token,
          '{ customer { accounts { nodes { balances { ... on BalanceUnavailable { reason { code } } } } } } }',
        )
      ).data!['customer'],
    ).toEqual({ accounts: { nodes: [{ balances: [{ reason: { code: 'BANK_UNAVAILABLE' } }] }] } })
  })

  test.each([
    ['an unknown member', { extra: 1 }, ['registration', 'extra']],
    ['a bank id with a slash', { bank: { id: 'a/b', name: 'A', country: 'GB' } }, ['registration', 'bank', 'id']],
    ['a name with markup', { bank: { id: 'abc', name: '<i>', country: 'GB' } }, ['registration', 'bank', 'name']],
    ['an address that is none', { apiBase: 'bank' }, ['registration', 'apiBase']],
    ['a version that we do not speak', { version: '2.0' }, ['registration', 'version']],
    [
      'private event keys',
      { events: { issuer: 'x', keys: { keys: [{ ...newKey().privateKey }] } } },
      ['registration', 'events', 'keys', 'keys', '0', 'd'],
    ],
  ])('a registration with %s is refused, at the field that is wrong', async (_what, change, path) => {
    const { standard, registration: given } = await registration('northbank')
    const payload = (
      await gateway.ask(await partner(), REGISTER_CONNECTOR, {
        input: { standard, registration: { ...given, ...change } },
      })
    ).data!['registerConnector'] as { userErrors: { code: string; path: string[] }[] }
    expect(payload.userErrors).toMatchObject([{ code: 'INVALID_INPUT', path }])
  })

  test('an internal address and a bank of another partner are refused', async () => {
    const { standard, registration: given } = await registration('northbank')
    const inside = {
      ...given,
      bank: { id: 'inside', name: 'Inside', country: 'GB' },
      apiBase: 'https://169.254.169.254/',
    }
    expect(
      (await gateway.ask(await partner(), REGISTER_CONNECTOR, { input: { standard, registration: inside } })).data![
        'registerConnector'
      ],
    ).toMatchObject({ userErrors: [{ code: 'ADDRESS_NOT_ALLOWED', path: ['registration', 'apiBase'] }] })
    expect(
      (await gateway.ask(await partner(), REGISTER_CONNECTOR, { input: { standard, registration: given } })).data![
        'registerConnector'
      ],
    ).toMatchObject({ userErrors: [{ code: 'STATE_CONFLICT' }] })
  })

  test("another partner's connector gets the response of an unknown one", async () => {
    const [foreign] = await gateway.database.query<{ id: string }>(
      "select id from connector where bank_id = 'northbank'",
    )
    const token = await partner()
    const one = await gateway.ask(token, step('suspendConnector'), { input: { id: foreign!.id } })
    const none = await gateway.ask(token, step('suspendConnector'), { input: { id: 'cnct_nobody' } })
    expect(one.data).toEqual(none.data)
    expect(
      (
        (await gateway.ask(token, '{ connectors { nodes { bank { id } } } }')).data!['connectors'] as {
          nodes: { bank: { id: string } }[]
        }
      ).nodes.every(({ bank }) => bank.id === 'eastbank'),
    ).toBe(true)
  })

  test("the gateway's private key for a bank is not readable in the database", async () => {
    const rows = await gateway.database.query<{ sealed_key: string; jwks: unknown }>(
      'select sealed_key, jwks from connector',
    )
    for (const { sealed_key, jwks } of rows) {
      expect(sealed_key.split('.')).toHaveLength(5)
      expect(JSON.stringify(jwks)).not.toContain('"d":')
    }
  })
})

describe('production', () => {
  test('production does not start on sandbox data, and names bearer clients and internal banks and webhooks', async () => {
    const http = createOutboundHttp({ allowLoopback: false, allowPlainHttp: false })
    const problems = await productionProblems(gateway.app, http)
    await http.close()
    expect(problems.filter((problem) => problem.includes('bearer'))).toEqual([
      'client chatterbox-bearer uses bearer tokens: suspend it',
    ])
    expect(problems.filter((problem) => /connector cnct_\S+ of (northbank|rheinbank)/.test(problem))).toHaveLength(2)
    expect(problems.filter((problem) => problem.includes('webhook endpoint whep_'))).toHaveLength(1)
    const place = { dataDir: gateway.dataDir, port: await freePort(), sandboxPort: 9_000 }
    const settings = {
      GUICHET_PROFILE: 'production',
      ISSUER: 'https://gateway.example',
      DATABASE_URL: gateway.database.url,
      GUICHET_SEALING_KEY: readFileSync(join(gateway.dataDir, 'sealing-key'), 'utf8'),
    }
    await expect(startProcess(place, settings)).rejects.toThrow(
      /cannot start[\s\S]*bearer[\s\S]*connector[\s\S]*webhook/,
    )
  })
})
