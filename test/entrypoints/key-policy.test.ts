import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import type { JWK } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { BAD_KEY_SETS, GOOD_KEYS } from '../support/bad-keys.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { authenticatedForm, clientAssertion, postForm, proofBy } from '../support/oauth-requests.ts'

let gateway: TestGateway
let admin: Token
let partner: Token
beforeAll(async () => {
  gateway = await startGateway()
  admin = await gateway.own('admin', 'clients:manage')
  partner = await gateway.own('eastbank-partner', 'connectors:manage')
})
afterAll(() => gateway.close())

interface Fault {
  readonly code: string
  readonly path: readonly string[]
  readonly message: string
}
interface KeySet {
  readonly keys: readonly object[]
}

async function faultsOf(token: Token, mutation: string, type: string, input: object): Promise<readonly Fault[]> {
  const query = `mutation ($input: ${type}!) { ${mutation}(input: $input) { userErrors { code path message } } }`
  const { data } = await gateway.askUnattended(token, query, { input })
  return (data![mutation] as { userErrors: Fault[] }).userErrors
}

async function registerClient(keys: KeySet): Promise<readonly Fault[]> {
  const { organizationId } = (await gateway.app.services.clients.find('chatterbox'))!
  const input = { organizationId, name: 'Keys', jwks: keys, redirectUris: [], scopes: ['webhooks:manage'] }
  return faultsOf(admin, 'registerClient', 'RegisterClientInput', input)
}
const updateClient = (keys: KeySet): Promise<readonly Fault[]> =>
  faultsOf(admin, 'updateClient', 'UpdateClientInput', { clientId: 'explorer', jwks: keys })
async function registerConnector(keys: KeySet): Promise<readonly Fault[]> {
  const answer = await fetch(`${gateway.sandbox.banks.eastbank}/sandbox/registration`)
  const { standard, registration } = (await answer.json()) as { standard: string; registration: { events: object } }
  const events = { ...registration.events, keys }
  return faultsOf(partner, 'registerConnector', 'RegisterConnectorInput', {
    standard,
    registration: { ...registration, events },
  })
}

describe.each([
  ['registerClient', 'jwks.', registerClient],
  ['updateClient', 'jwks.', updateClient],
  ['registerConnector', 'registration.events.keys.', registerConnector],
] as const)('the key policy at %s', (_mutation, prefix, send) => {
  test.each(BAD_KEY_SETS)('a key set with %s is refused, and the fault names the key and the rule', async (...row) => {
    const [, keys, path, says] = row
    const [fault] = await send({ keys })
    expect(fault).toMatchObject({ code: 'INVALID_INPUT', message: expect.stringMatching(says) as string })
    expect(fault!.path.join('.')).toBe(`${prefix}${path}`)
  })

  test('every bad key of a set has its own fault', async () => {
    const { EC, OKP } = GOOD_KEYS
    const faults = await send({
      keys: [
        { ...EC, kid: 'a', use: 'enc' },
        { ...OKP, kid: 'b', x: 'AAAA' },
      ],
    })
    expect(faults.map(({ path }) => path.slice(-2).join('.'))).toEqual(['0.use', '1.x'])
  })

  test('the refusal of a key contains no part of it', async () => {
    const secret = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' })
    expect(JSON.stringify(await send({ keys: [{ ...secret, kid: 'k1' }] }))).not.toContain(secret.d)
  })
})

test.each([
  ['an EC key', { ...GOOD_KEYS.EC, alg: 'ES256' }],
  ['an Ed25519 key under the name EdDSA', { ...GOOD_KEYS.OKP, alg: 'EdDSA' }],
  ['an Ed25519 key under the name Ed25519', { ...GOOD_KEYS.OKP, alg: 'Ed25519' }],
  ['an RSA key', { ...GOOD_KEYS.RSA, alg: 'PS256' }],
  ['a key as a browser exports it', { ...GOOD_KEYS.EC, key_ops: ['verify'], ext: true }],
  ['a key with its certificate', { ...GOOD_KEYS.EC, use: 'sig', x5c: ['MIIB'], 'x5t#S256': 'abc' }],
])('%s is accepted', async (_what, key) => {
  expect(await registerClient({ keys: [{ ...key, kid: 'k1' }] })).toEqual([])
})

describe('the key policy for proofs of possession', () => {
  const pairs = {
    ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    EdDSA: generateKeyPairSync('ed25519'),
    PS256: generateKeyPairSync('rsa', { modulusLength: 2_048 }),
  }
  interface Pair {
    readonly privateKey: KeyObject
    readonly publicKey: KeyObject
  }
  const jwkOf = ({ publicKey }: Pair): JWK => publicKey.export({ format: 'jwk' })

  const proof = (alg: keyof typeof pairs, jwk: JWK, path: string, accessToken?: string): Promise<string> =>
    proofBy(
      { alg, key: pairs[alg].privateKey, jwk },
      `${gateway.issuer}${path}`,
      accessToken === undefined ? {} : { accessToken },
    )

  const BAD_PROOF_KEYS: readonly (readonly [string, keyof typeof pairs, () => JWK])[] = [
    ['for encryption', 'ES256', () => ({ ...jwkOf(pairs.ES256), use: 'enc' })],
    ['of another algorithm', 'ES256', () => ({ ...jwkOf(pairs.ES256), alg: 'PS256' })],
    ['with its private part', 'ES256', () => pairs.ES256.privateKey.export({ format: 'jwk' })],
    ['that may not verify', 'EdDSA', () => ({ ...jwkOf(pairs.EdDSA), key_ops: ['encrypt'] })],
    ['of RSA', 'PS256', () => jwkOf(pairs.PS256)],
  ]

  test.each(BAD_PROOF_KEYS)('a proof with a key %s is refused at the token endpoint', async (_what, alg, jwk) => {
    const fields = { grant_type: 'client_credentials', scope: 'webhooks:manage' }
    const form = authenticatedForm('chatterbox', await clientAssertion(gateway, 'chatterbox'), fields)
    const { status, body } = await postForm(gateway, '/oauth/token', form, {
      dpop: await proof(alg, jwk(), '/oauth/token'),
    })
    expect([status, body['error']]).toEqual([400, 'invalid_dpop_proof'])
  })

  test.each(BAD_PROOF_KEYS)('a proof with a key %s is refused at the GraphQL endpoint', async (_what, alg, jwk) => {
    const token = await gateway.own('chatterbox', 'webhooks:manage')
    const answer = await fetch(`${gateway.issuer}/graphql`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        authorization: `DPoP ${token.accessToken}`,
        dpop: await proof(alg, jwk(), '/graphql', token.accessToken),
      },
      body: JSON.stringify({ query: '{ banks { nodes { id } } }' }),
    })
    expect(answer.status).toBe(401)
    expect(answer.headers.get('www-authenticate')).toContain('error="invalid_dpop_proof"')
  })

  test('a proof that can be forged without a private key is refused', async () => {
    // With the neutral element as the key, R = 0 and S = 0 is a signature of every message.
    const neutral = Buffer.concat([Buffer.from([1]), Buffer.alloc(31)])
    const jwk = { kty: 'OKP', crv: 'Ed25519', x: neutral.toString('base64url') }
    const [header, claims] = (await proof('EdDSA', jwk, '/oauth/token')).split('.')
    const forged = `${header!}.${claims!}.${Buffer.concat([neutral, Buffer.alloc(32)]).toString('base64url')}`
    const fields = { grant_type: 'client_credentials', scope: 'webhooks:manage' }
    const form = authenticatedForm('chatterbox', await clientAssertion(gateway, 'chatterbox'), fields)
    const { status, body } = await postForm(gateway, '/oauth/token', form, { dpop: forged })
    expect([status, body['error']]).toEqual([400, 'invalid_dpop_proof'])
    expect(body['error_description']).toMatch(/jwk.*on the curve/)
  })
})
