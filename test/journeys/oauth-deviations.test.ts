import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ClientDeviations } from '../../src/sandbox/bank.ts'
import type { SandboxBankId } from '../../src/sandbox/personas.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

interface Check {
  readonly name: string
  readonly status: string
  readonly code: string | null
}
interface Registered {
  readonly id: string
  readonly jwks: { readonly keys: object[] }
  readonly redirectUri: string
  readonly eventsUrl: string
}

let count = 0
/** Registers a further connector of a sandbox bank and runs the whole certification. Returns the checks that did not pass. */
async function failuresOf(
  bank: SandboxBankId,
  members: object,
  deviations: ClientDeviations,
  clientSecret?: string,
): Promise<Check[]> {
  const origin = gateway.sandbox.banks[bank]
  const given = (await (await fetch(`${origin}/sandbox/registration`)).json()) as {
    standard: string
    registration: object
  }
  const token = await gateway.own(`${bank}-partner`, 'connectors:manage connectors:read')
  const clientId = `deviating-${++count}`
  const mutate = async (name: string, input: object, selection: string): Promise<Record<string, unknown>> => {
    const type = `${name[0]!.toUpperCase()}${name.slice(1)}Input`
    const query = `mutation ($input: ${type}!) { ${name}(input: $input) { ${selection} userErrors { message } } }`
    const payload = (await gateway.ask(token, query, { input })).data![name] as Record<string, unknown>
    expect(payload['userErrors']).toEqual([])
    return payload
  }
  const registration = { ...given.registration, clientId, ...members }
  const fields = 'connector { id jwks redirectUri eventsUrl }'
  const input = { standard: given.standard, registration }
  const { connector } = (await mutate('registerConnector', input, fields)) as unknown as { connector: Registered }
  if (clientSecret !== undefined)
    await mutate('setClientSecret', { connectorId: connector.id, clientSecret }, 'connector { id }')
  const { jwks, redirectUri, eventsUrl } = connector
  const client = {
    ...jwks,
    redirectUri,
    eventsUrl,
    deviations: { ...deviations, ...(clientSecret && { secret: clientSecret }) },
  }
  await fetch(`${origin}/sandbox/clients/${clientId}`, { method: 'PUT', body: JSON.stringify(client) })
  const { certificationRun } = (await mutate(
    'startCertification',
    { connectorId: connector.id },
    'certificationRun { id }',
  )) as { certificationRun: { id: string } }
  let checks: Check[] = []
  await eventually('the run to end', async () => {
    const run = 'certificationRuns { nodes { id status checks { name status code } } }'
    const query = `query ($id: ID!) { connector(id: $id) { ${run} } }`
    const { data } = await gateway.ask(token, query, { id: connector.id })
    const { nodes } = (
      data!['connector'] as { certificationRuns: { nodes: { id: string; status: string; checks: Check[] }[] } }
    ).certificationRuns
    const found = nodes.find(({ id }) => id === certificationRun.id)!
    checks = found.checks
    return found.status !== 'RUNNING'
  })
  // The bank would push its next alert to this connector, too.
  await fetch(`${origin}/sandbox/clients/${clientId}`, { method: 'DELETE' })
  expect(checks.length).toBeGreaterThan(10)
  return checks.filter(({ status, code }) => status !== 'PASSED' && code !== 'NOT_SUPPORTED')
}

const SECRET = 'secret:of+the bank%'.replaceAll(' ', '_')
const HYBRID = { responseType: 'code id_token', idToken: 'FRONT_CHANNEL' }

describe('a bank that differs from its standard', () => {
  test.each<[string, SandboxBankId, object, ClientDeviations, string?]>([
    [
      'client_secret_basic',
      'northbank',
      { clientAuthentication: 'client_secret_basic' },
      { authMethod: 'client_secret_basic' },
      SECRET,
    ],
    [
      'client_secret_post',
      'rheinbank',
      { clientAuthentication: 'client_secret_post' },
      { authMethod: 'client_secret_post' },
      SECRET,
    ],
    ['PS256', 'northbank', { signingAlgorithm: 'PS256' }, { signingAlgorithm: 'PS256' }],
    ['EdDSA at a CDR bank', 'southbank', { signingAlgorithm: 'EdDSA' }, { signingAlgorithm: 'EdDSA' }],
    [
      'assertions for the token endpoint',
      'lakebank',
      { assertionAudience: 'TOKEN_ENDPOINT' },
      { expectsTokenEndpointAudience: true },
    ],
    [
      'code id_token in the fragment',
      'northbank',
      { ...HYBRID, responseMode: 'fragment' },
      { hybridResponseMode: 'fragment' },
    ],
    ['code id_token in the query', 'northbank', { ...HYBRID, responseMode: 'query' }, { hybridResponseMode: 'query' }],
    [
      'another audience of request objects',
      'northbank',
      { requestObject: { audience: 'https://other.example' } },
      { requestAudience: 'https://other.example' },
    ],
    [
      'unsigned requests and plain responses',
      'northbank',
      { requestObject: null, responseMode: 'query' },
      { usesPlainRequests: true },
    ],
  ])('a bank with %s passes the whole certification', async (_what, bank, oauth, deviations, secret) => {
    expect(await failuresOf(bank, { oauth }, deviations, secret)).toEqual([])
  })

  test('a bank with plain OAuth passes all checks but the end of a consent that it cannot name', async () => {
    const oauth = { clientAuthentication: 'client_secret_basic', usesPar: false, scope: 'accounts' }
    const failures = await failuresOf(
      'lakebank',
      { consent: 'OAUTH_SCOPE', oauth },
      { authMethod: 'client_secret_basic', usesPlainRequests: true },
      SECRET,
    )
    expect(failures.map(({ name }) => name)).toEqual(['REVOKED_AT_BANK'])
  })
})

describe('a client that does not do what it is registered for', () => {
  test.each<[string, object, ClientDeviations]>([
    ['another algorithm', {}, { signingAlgorithm: 'PS256' }],
    ['an assertion in place of a secret', {}, { authMethod: 'client_secret_basic', secret: 'x'.repeat(20) }],
    ['a code alone in place of code id_token', {}, { hybridResponseMode: 'fragment' }],
    ['another audience of request objects', {}, { requestAudience: 'https://other.example' }],
  ])('%s fails the certification', async (_what, oauth, deviations) => {
    expect((await failuresOf('northbank', { oauth }, deviations)).length).toBeGreaterThan(0)
  })
})
