import { generateKeyPairSync } from 'node:crypto'
import { SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { SandboxBankId } from '../../src/sandbox/personas.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

interface Draft {
  id: string
  clientIdAtBank: string
  jwks: { keys: Record<string, unknown>[] }
  redirectUri: string
  eventsUrl: string
}
const partnerOf = (bank: SandboxBankId) => gateway.own(`${bank}-partner`, 'connectors:manage connectors:read')

async function register(bank: SandboxBankId, members: object = {}): Promise<Draft> {
  const { standard, registration } = (await (
    await fetch(`${gateway.sandbox.banks[bank]}/sandbox/registration`)
  ).json()) as { standard: string; registration: object }
  const query =
    'mutation ($input: RegisterConnectorInput!) { registerConnector(input: $input) { connector { id clientIdAtBank jwks redirectUri eventsUrl } userErrors { code path } } }'
  const input = { standard, registration: { ...registration, clientId: 'not-known-yet', ...members } }
  return (
    (await gateway.ask(await partnerOf(bank), query, { input })).data!['registerConnector'] as { connector: Draft }
  ).connector
}

/** What the standard's directory says of the gateway's software. */
async function statementFor(bank: SandboxBankId, draft: Draft, keys = draft.jwks.keys): Promise<string> {
  const { redirectUri, eventsUrl } = draft
  const answer = await fetch(`${gateway.sandbox.banks[bank]}/sandbox/software-statements`, {
    method: 'POST',
    body: JSON.stringify({ keys, redirectUri, eventsUrl }),
  })
  return ((await answer.json()) as { softwareStatement: string }).softwareStatement
}

async function registerAtBank(bank: SandboxBankId, id: string, softwareStatement: string, by: SandboxBankId = bank) {
  const query =
    'mutation ($input: RegisterGatewayAtBankInput!) { registerGatewayAtBank(input: $input) { connector { clientIdAtBank status } userErrors { code path } } }'
  return (await gateway.ask(await partnerOf(by), query, { input: { connectorId: id, softwareStatement } })).data![
    'registerGatewayAtBank'
  ] as { connector: { clientIdAtBank: string; status: string } | null; userErrors: { code: string; path: string[] }[] }
}

interface Certified {
  readonly id: string
  readonly status: string
  readonly history: { readonly nodes: readonly { readonly action: string }[] }
  readonly certificationRuns: {
    readonly nodes: readonly { readonly checks: readonly { name: string; status: string; code: string | null }[] }[]
  }
}
/** Runs the certification of a draft to its end. */
async function certify(bank: SandboxBankId, id: string): Promise<Certified> {
  const start =
    'mutation ($input: StartCertificationInput!) { startCertification(input: $input) { userErrors { code } } }'
  await gateway.ask(await partnerOf(bank), start, { input: { connectorId: id } })
  const query =
    'query ($id: ID!) { connector(id: $id) { id status history { nodes { action } } certificationRuns { nodes { checks { name status code } } } } }'
  return eventually('the run to be over', async () => {
    const one = (await gateway.ask(await partnerOf(bank), query, { id })).data!['connector'] as Certified
    return one.status !== 'CERTIFYING' && one
  })
}

describe('the gateway registers itself at a bank', () => {
  test.each(['eastbank', 'southbank'] as const)(
    'the gateway registers by a software statement, and %s certifies it with the issued client ID',
    async (bank) => {
      const draft = await register(bank)
      expect(draft.clientIdAtBank).toBe('not-known-yet')
      const { connector, userErrors } = await registerAtBank(bank, draft.id, await statementFor(bank, draft))
      expect(userErrors).toEqual([])
      expect(connector).toMatchObject({ status: 'DRAFT' })
      expect(connector!.clientIdAtBank).toMatch(/^dcr-/)

      const done = await certify(bank, draft.id)
      expect(done.certificationRuns.nodes[0]!.checks.filter(({ status }) => status === 'FAILED')).toEqual([])
      expect(done.status).toBe('CERTIFIED')
      expect(done.history.nodes.map(({ action }) => action)).toContain('GATEWAY_REGISTERED_AT_BANK')
      // It has a name now, and a certified connector keeps it: the bank is not even asked.
      gateway.sent.length = 0
      expect((await registerAtBank(bank, draft.id, await statementFor(bank, draft))).userErrors).toMatchObject([
        { code: 'STATE_CONFLICT' },
      ])
    },
  )

  test('the secret that a bank issues is stored sealed and used, and is in no log', async () => {
    const oauth = { clientAuthentication: 'client_secret_basic' }
    const draft = await register('northbank', { oauth })
    const { userErrors } = await registerAtBank('northbank', draft.id, await statementFor('northbank', draft))
    expect(userErrors).toEqual([])
    gateway.sent.length = 0
    const { status, history, certificationRuns } = await certify('northbank', draft.id)
    expect(certificationRuns.nodes[0]!.checks.filter((check) => check.status === 'FAILED')).toEqual([])
    expect(status).toBe('CERTIFIED')
    expect(history.nodes.map(({ action }) => action)).toContain('CLIENT_SECRET_CHANGED')
    const basic = gateway.sent
      .map(({ headers }) => headers?.['authorization'] ?? '')
      .find((value) => value.startsWith('Basic '))
    // Form-encoded (RFC 6749, 2.3.1), also where that would not be needed.
    const sent = Buffer.from(basic!.slice('Basic '.length), 'base64').toString('utf8').split(':')[1]!
    const secret = decodeURIComponent(sent)
    expect(secret).toMatch(/^[\w-]{32}$/)
    for (const text of [secret, sent]) expect(gateway.log.join()).not.toContain(text)
    const [stored] = await gateway.database.query<{ row: string }>(
      'select c::text as row from connector_credential c where connector_id = $1',
      [draft.id],
    )
    expect(stored!.row).toContain('CLIENT_SECRET')
    expect(stored!.row).not.toContain(secret)
  })

  test('a bank gets the request as its registration says, at an endpoint that no metadata names', async () => {
    const origin = gateway.sandbox.banks.eastbank
    const endpoints = { authorization: `${origin}/authorize`, token: `${origin}/token`, jwks: `${origin}/jwks` }
    const registerBy = async (dynamicRegistration: object) => {
      gateway.sent.length = 0
      const oauth = { endpoints: { ...endpoints, registration: `${origin}/register` } }
      const draft = await register('eastbank', { oauth, dynamicRegistration })
      return registerAtBank('eastbank', draft.id, await statementFor('eastbank', draft))
    }
    const { connector, userErrors } = await registerBy({
      contentType: 'application/jose',
      audience: 'eastbank-organisation',
    })
    expect(userErrors).toEqual([])
    expect(connector!.clientIdAtBank).toMatch(/^dcr-/)
    const toBank = gateway.sent.filter(({ url }) => url.startsWith(origin))
    expect(toBank.map(({ url, headers }) => [url, headers?.['content-type']])).toEqual([
      [`${origin}/register`, 'application/jose'],
    ])
    expect((await registerBy({ audience: 'another-organisation' })).userErrors).toMatchObject([
      { code: 'BANK_REFUSED' },
    ])
  })

  test('the gateway never registers with a statement that the directory did not sign or that has other keys', async () => {
    const draft = await register('eastbank')
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const forged = await new SignJWT({ software_id: 'software-1', software_jwks: draft.jwks })
      .setProtectedHeader({ alg: 'ES256', kid: 'eastbank-1' })
      .setIssuer('https://directory.sandbox.example')
      .sign(privateKey)
    const others = await statementFor('eastbank', draft, [{ ...publicKey.export({ format: 'jwk' }), kid: 'x' }])
    for (const statement of [forged, others])
      expect((await registerAtBank('eastbank', draft.id, statement)).userErrors).toMatchObject([
        { code: 'BANK_REFUSED' },
      ])
  })

  test.each(['', 'nonsense', 'a.b.c', `${'a'.repeat(300)}.e30.x`])(
    'the gateway never registers with the invalid statement %j',
    async (statement) => {
      const draft = await register('eastbank')
      expect((await registerAtBank('eastbank', draft.id, statement)).userErrors).toEqual([
        { code: 'INVALID_INPUT', path: ['softwareStatement'] },
      ])
    },
  )

  test('the gateway does not register for another partner or at a standard without registration', async () => {
    const fdx = await register('lakebank')
    expect((await registerAtBank('lakebank', fdx.id, 'x')).userErrors).toMatchObject([{ code: 'STATE_CONFLICT' }])
    const draft = await register('eastbank')
    const statement = await statementFor('eastbank', draft)
    expect((await registerAtBank('eastbank', draft.id, statement, 'lakebank')).userErrors).toMatchObject([
      { code: 'NOT_FOUND' },
    ])
  })
})
