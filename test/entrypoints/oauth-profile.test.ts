import { createHash, generateKeyPairSync, randomBytes, randomUUID, type KeyObject } from 'node:crypto'
import { importJWK, SignJWT, type JWK } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { generateDpopKey } from '../../src/entrypoints/cli/oauth-client.ts'
import { AGREE, answerOf, BANK, CANCEL, consentPages, GO, SHARING, SIGN_IN } from '../support/consent-pages.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

type Change = Readonly<Record<string, unknown>>
interface Answer {
  readonly status: number
  readonly body: Record<string, unknown>
}

const CLIENT = 'chatterbox'
const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
const nowS = (): number => Math.floor(Date.now() / 1_000)
const issuer = (): string => gateway.issuer

/** The client's proof of itself (RFC 7523), with claims replaced, or removed where the value is undefined. */
async function assertion(change: Change = {}, signer?: { client: string; alg: string; key: KeyObject; kid: string }) {
  const { key } = gateway.client(CLIENT)
  const client = signer?.client ?? CLIENT
  const claims = { iss: client, sub: client, aud: issuer(), jti: randomUUID(), iat: nowS(), exp: nowS() + 60 }
  return new SignJWT({ ...claims, ...change })
    .setProtectedHeader({ alg: signer?.alg ?? 'ES256', kid: signer?.kid ?? key.kid! })
    .sign(signer?.key ?? (await importJWK(key, 'ES256')))
}

/** A proof of possession (RFC 9449, 4.2) with claims or header members replaced. */
async function proof(key: JWK, url: string, claims: Change = {}, header: Change = {}): Promise<string> {
  const { d: _private, ...jwk } = key
  return new SignJWT({ htm: 'POST', htu: url, jti: randomUUID(), iat: nowS(), ...claims })
    .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk, ...header })
    .sign(await importJWK(key, 'ES256'))
}

async function post(path: string, fields: URLSearchParams, headers: Record<string, string> = {}): Promise<Answer> {
  const answer = await fetch(`${issuer()}${path}`, { method: 'POST', headers, body: fields })
  const text = await answer.text()
  return { status: answer.status, body: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>) }
}

const pushedRequest = (): Record<string, string> => ({
  response_type: 'code',
  redirect_uri: gateway.client(CLIENT).redirectUri!,
  scope: 'openid accounts:read',
  state: 'abcdefgh',
  code_challenge: createHash('sha256').update(randomBytes(32).toString('base64url')).digest('base64url'),
  code_challenge_method: 'S256',
  authorization_details: JSON.stringify([
    { type: 'urn:guichet:account-information', actions: ['accounts:read'], purposes: ['ANSWER_CUSTOMER'] },
  ]),
})

const withAssertion = (fields: Record<string, string>, value: string, client = CLIENT): URLSearchParams =>
  new URLSearchParams({
    ...fields,
    client_id: client,
    client_assertion_type: ASSERTION_TYPE,
    client_assertion: value,
  })

/** Every endpoint at which a client authenticates, with a request that is good but for its assertion. */
const ENDPOINTS: readonly (readonly [path: string, status: number, request: () => Record<string, string>])[] = [
  ['/oauth/par', 201, pushedRequest],
  ['/oauth/token', 200, () => ({ grant_type: 'client_credentials', scope: 'webhooks:manage' })],
  ['/oauth/revoke', 200, () => ({ token: 'x'.repeat(43) })],
  ['/oauth/introspect', 200, () => ({ token: 'x'.repeat(43) })],
]

async function authenticate(path: string, value: string, client = CLIENT): Promise<Answer> {
  const [, , request] = ENDPOINTS.find(([one]) => one === path)!
  const dpop: Record<string, string> =
    path === '/oauth/token' ? { dpop: await proof(await generateDpopKey(), `${issuer()}${path}`) } : {}
  return post(path, withAssertion(request(), value, client), dpop)
}

const REFUSED_ASSERTIONS: readonly (readonly [what: string, change: () => Change])[] = [
  ['aud is the token endpoint', () => ({ aud: `${issuer()}/oauth/token` })],
  ['aud is the endpoint for pushed requests', () => ({ aud: `${issuer()}/oauth/par` })],
  ['aud is the revocation endpoint', () => ({ aud: `${issuer()}/oauth/revoke` })],
  ['aud is the introspection endpoint', () => ({ aud: `${issuer()}/oauth/introspect` })],
  ['aud is a list with the issuer only', () => ({ aud: [issuer()] })],
  ['aud is a list with the issuer and another server', () => ({ aud: [issuer(), 'https://other.example'] })],
  ['aud is the issuer with a slash', () => ({ aud: `${issuer()}/` })],
  ['aud is absent', () => ({ aud: undefined })],
  ['iat is absent', () => ({ iat: undefined })],
  ['iat is a text', () => ({ iat: String(nowS()) })],
  ['iat is 60 s ahead', () => ({ iat: nowS() + 60, exp: nowS() + 120 })],
  ['iat is an hour ahead', () => ({ iat: nowS() + 3_600, exp: nowS() + 3_660 })],
  ['nbf is 60 s ahead', () => ({ nbf: nowS() + 60 })],
  ['exp is absent', () => ({ exp: undefined })],
  ['exp is in the past', () => ({ iat: nowS() - 90, exp: nowS() - 30 })],
  ['exp is before iat', () => ({ iat: nowS() + 5, exp: nowS() + 1 })],
  ['exp is a year ahead', () => ({ exp: nowS() + 31_536_000 })],
  ['exp is 301 s after iat', () => ({ iat: nowS(), exp: nowS() + 301 })],
  ['it was issued an hour ago', () => ({ iat: nowS() - 3_600, exp: nowS() + 60 })],
  ['jti is absent', () => ({ jti: undefined })],
  ['jti is empty', () => ({ jti: '' })],
  ['iss is another client', () => ({ iss: 'explorer' })],
  ['sub is absent', () => ({ sub: undefined })],
]

const ACCEPTED_ASSERTIONS: readonly (readonly [what: string, change: () => Change])[] = [
  ['it lives one minute', () => ({})],
  ['it lives five minutes', () => ({ iat: nowS(), exp: nowS() + 300 })],
  ['iat is 8 s ahead', () => ({ iat: nowS() + 8, exp: nowS() + 68 })],
  ['nbf is 8 s ahead', () => ({ nbf: nowS() + 8 })],
]

describe.each(ENDPOINTS)('client authentication at %s', (path, accepted) => {
  test.each(REFUSED_ASSERTIONS)('a client assertion is refused if %s', async (_what, change) => {
    const { status, body } = await authenticate(path, await assertion(change()))
    expect({ status, error: body['error'] }).toEqual({ status: 401, error: 'invalid_client' })
  })

  test.each(ACCEPTED_ASSERTIONS)('a client assertion is accepted if %s', async (_what, change) => {
    expect((await authenticate(path, await assertion(change()))).status).toBe(accepted)
  })

  test('a client assertion is accepted once', async () => {
    const one = await assertion()
    expect((await authenticate(path, one)).status).toBe(accepted)
    expect(await authenticate(path, one)).toMatchObject({ status: 401, body: { error: 'invalid_client' } })
  })

  test('a client assertion that was used at another endpoint is refused', async () => {
    const one = await assertion()
    const other = path === '/oauth/revoke' ? '/oauth/introspect' : '/oauth/revoke'
    expect((await authenticate(other, one)).status).toBe(200)
    expect(await authenticate(path, one)).toMatchObject({ status: 401, body: { error: 'invalid_client' } })
  })

  test('the refusal of a signed assertion names the claim and its valid values', async () => {
    const { body } = await authenticate(path, await assertion({ aud: [issuer()] }))
    expect(body['error_description']).toBe(`client_assertion: aud must be the issuer as one string, ${issuer()}`)
  })
})

describe('the algorithms of client assertions', () => {
  const pairs = {
    EdDSA: generateKeyPairSync('ed25519'),
    PS256: generateKeyPairSync('rsa', { modulusLength: 2_048 }),
    ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  }
  beforeAll(async () => {
    const { clients } = gateway.app.services
    const { organizationId } = (await clients.find(CLIENT))!
    const keys = Object.entries(pairs).map(([kid, { publicKey }]) => ({ ...publicKey.export({ format: 'jwk' }), kid }))
    const registration = {
      organizationId,
      name: 'Three keys',
      jwks: { keys },
      redirectUris: [],
      scopes: ['webhooks:manage'],
      tokenBinding: 'DPOP' as const,
    }
    await clients.register('admin', registration, { id: 'three-keys' })
  })
  const signed = (alg: string, kid: keyof typeof pairs) =>
    assertion({}, { client: 'three-keys', alg, key: pairs[kid].privateKey, kid })

  test.each(['EdDSA', 'PS256', 'ES256'] as const)('%s is accepted', async (alg) => {
    expect((await authenticate('/oauth/token', await signed(alg, alg), 'three-keys')).status).toBe(200)
  })

  test.each(['RS256', 'PS384', 'PS512', 'RS512'])('%s is refused', async (alg) => {
    expect(await authenticate('/oauth/token', await signed(alg, 'PS256'), 'three-keys')).toMatchObject({
      status: 401,
      body: { error: 'invalid_client' },
    })
  })

  test('an unsigned client assertion is refused', async () => {
    const [, body] = (await signed('ES256', 'ES256')).split('.')
    const none = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${body!}.`
    expect(await authenticate('/oauth/token', none, 'three-keys')).toMatchObject({ status: 401 })
  })
})

describe('a pushed authorization request', () => {
  const push = async (change: Record<string, string | undefined>, more: [string, string][] = []): Promise<Answer> => {
    const fields = withAssertion(pushedRequest(), await assertion())
    for (const [name, value] of Object.entries(change))
      if (value === undefined) fields.delete(name)
      else fields.set(name, value)
    for (const [name, value] of more) fields.append(name, value)
    return post('/oauth/par', fields)
  }

  test.each([
    ['no code challenge', { code_challenge: undefined, code_challenge_method: undefined }, 'invalid_request'],
    ['a method and no code challenge', { code_challenge: undefined }, 'invalid_request'],
    ['a code challenge and no method', { code_challenge_method: undefined }, 'invalid_request'],
    ['a plain code challenge', { code_challenge_method: 'plain' }, 'invalid_request'],
    ['a code challenge that is too short', { code_challenge: 'x'.repeat(42) }, 'invalid_request'],
    ['a request object', { request: 'e30.e30.' }, 'request_not_supported'],
    [
      'an address of a request object',
      { request_uri: 'https://platform.example/request' },
      'request_uri_not_supported',
    ],
    ['the response mode fragment', { response_mode: 'fragment' }, 'invalid_request'],
    ['the response mode form_post', { response_mode: 'form_post' }, 'invalid_request'],
    ['the response mode web_message', { response_mode: 'web_message' }, 'unsupported_response_mode'],
    ['the response mode jwt', { response_mode: 'jwt' }, 'unsupported_response_mode'],
    ['the response type token', { response_type: 'token' }, 'invalid_request'],
    ['the response type code id_token', { response_type: 'code id_token' }, 'invalid_request'],
    ['the response type none', { response_type: 'none' }, 'unsupported_response_type'],
    ['no address to come back to', { redirect_uri: undefined }, 'invalid_request'],
    ['an address that is not registered', { redirect_uri: 'https://evil.example/' }, 'invalid_request'],
  ])('a pushed authorization request with %s is refused', async (_what, change, error) => {
    const { status, body } = await push(change)
    expect({ status, error: body['error'] }).toEqual({ status: 400, error })
    expect(body).not.toHaveProperty('request_uri')
  })

  test('a pushed authorization request with a repeated parameter is refused', async () => {
    expect(await push({}, [['code_challenge', 'x'.repeat(43)]])).toMatchObject({
      status: 400,
      body: { error: 'invalid_request' },
    })
  })

  test.each([
    ['a code challenge by S256', {}],
    ['the response mode query', { response_mode: 'query' }],
  ])('a pushed authorization request with %s is accepted for less than ten minutes', async (_what, change) => {
    const { status, body } = await push(change)
    expect(status).toBe(201)
    expect(body['expires_in']).toBeLessThan(600)
  })
})

describe('a proof of possession at the token endpoint', () => {
  const ask = async (dpop: string): Promise<Answer> =>
    post(
      '/oauth/token',
      withAssertion({ grant_type: 'client_credentials', scope: 'webhooks:manage' }, await assertion()),
      { dpop },
    )
  const url = () => `${issuer()}/oauth/token`

  test.each([
    ['issued 60 s ahead', () => ({ iat: nowS() + 60 }), {}],
    ['issued 250 s ahead', () => ({ iat: nowS() + 250 }), {}],
    ['not valid for another 60 s', () => ({ nbf: nowS() + 60 }), {}],
    ['for another endpoint', () => ({ htu: `${issuer()}/oauth/par` }), {}],
    ['for another method', () => ({ htm: 'GET' }), {}],
    ['without an identifier', () => ({ jti: undefined }), {}],
    ['of another type', () => ({}), { typ: 'JWT' }],
  ])('%s is refused', async (_what, claims: () => Change, header: Change) => {
    const { status, body } = await ask(await proof(await generateDpopKey(), url(), claims(), header))
    expect({ status, error: body['error'] }).toEqual({ status: 400, error: 'invalid_dpop_proof' })
  })

  test('a proof that was issued ten minutes ago is refused with a nonce', async () => {
    const { status, body } = await ask(await proof(await generateDpopKey(), url(), { iat: nowS() - 600 }))
    expect({ status, error: body['error'] }).toEqual({ status: 400, error: 'use_dpop_nonce' })
  })

  test('a token request with two proofs is refused', async () => {
    const [one, two] = [await proof(await generateDpopKey(), url()), await proof(await generateDpopKey(), url())]
    expect(await ask(`${one}, ${two}`)).toMatchObject({ status: 400, body: { error: 'invalid_dpop_proof' } })
  })

  test('a proof that is issued 8 s in the future is accepted once at the token endpoint', async () => {
    const one = await proof(await generateDpopKey(), url(), { iat: nowS() + 8 })
    expect((await ask(one)).status).toBe(200)
    expect((await ask(one)).status).toBe(400)
  })
})

describe('a proof of possession at the graph', () => {
  const askGraph = async (iat: number): Promise<number> => {
    const token = await gateway.own(CLIENT, 'webhooks:manage')
    const ath = createHash('sha256').update(token.accessToken).digest('base64url')
    const answer = await fetch(`${issuer()}/graphql`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        authorization: `DPoP ${token.accessToken}`,
        dpop: await proof(token.dpopJwk, `${issuer()}/graphql`, { iat, ath }),
      },
      body: JSON.stringify({ query: '{ banks { nodes { id } } }' }),
    })
    return answer.status
  }

  test('a proof at the GraphQL endpoint may be issued 8 s in the future, but not 60 s', async () => {
    expect(await askGraph(nowS() + 8)).toBe(200)
    expect(await askGraph(nowS() + 60)).toBe(401)
  })
})

describe('an authorization response', () => {
  const walk = async (...steps: (typeof BANK)[]) => {
    const pages = consentPages(gateway)
    const browser = createBrowser()
    const { page, redeem } = await pages.begin(browser)
    return { answer: answerOf(await pages.walk(browser, page, ...steps)), redeem }
  }

  test('an authorization response names the issuer, whether it grants or refuses (RFC 9207)', async () => {
    const { answer } = await walk(BANK, SHARING, GO, SIGN_IN, AGREE)
    expect(answer['code']).toBeDefined()
    expect(answer['iss']).toBe(issuer())
    expect((await walk(CANCEL)).answer).toMatchObject({ error: 'access_denied', iss: issuer() })
  })

  test('an authorization code can be redeemed for 60 s', async () => {
    const { answer, redeem } = await walk(BANK, SHARING, GO, SIGN_IN, AGREE)
    gateway.forward(61_000)
    await expect(redeem(answer['code']!)).rejects.toThrow(/invalid_grant/)
  })

  test('an authorization code can be redeemed once', async () => {
    const { answer, redeem } = await walk(BANK, SHARING, GO, SIGN_IN, AGREE)
    expect((await redeem(answer['code']!)).accessToken).toBeDefined()
    await expect(redeem(answer['code']!)).rejects.toThrow(/invalid_grant/)
  })
})

test('the metadata announces only what is accepted', async () => {
  const metadata = (await (await fetch(`${issuer()}/.well-known/oauth-authorization-server`)).json()) as Change
  expect(metadata).toMatchObject({
    require_pushed_authorization_requests: true,
    code_challenge_methods_supported: ['S256'],
    response_types_supported: ['code'],
    response_modes_supported: ['query'],
    token_endpoint_auth_methods_supported: ['private_key_jwt'],
    token_endpoint_auth_signing_alg_values_supported: ['PS256', 'ES256', 'EdDSA', 'Ed25519'],
    authorization_response_iss_parameter_supported: true,
  })
  expect(metadata['request_parameter_supported'] ?? false).toBe(false)
  expect(metadata['request_uri_parameter_supported']).toBe(false)
})
