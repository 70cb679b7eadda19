import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { importJWK, SignJWT, type JWK } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { createDpopProof, generateDpopKey, type Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let token: Token
beforeAll(async () => {
  gateway = await startGateway()
  token = await gateway.customer('ada', ['northbank'])
})
afterAll(() => gateway.close())

const QUERY = JSON.stringify({ query: '{ customer { id } }' })
const graphqlUrl = () => `${gateway.issuer}/graphql`

async function ask(
  headers: Record<string, string>,
): Promise<{ status: number; code: string | undefined; challenge: string | null }> {
  const answer = await fetch(graphqlUrl(), {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: QUERY,
  })
  const body = (await answer.json()) as { errors?: { extensions: { code: string } }[] }
  return {
    status: answer.status,
    code: body.errors?.[0]?.extensions.code,
    challenge: answer.headers.get('www-authenticate'),
  }
}

async function proof(
  change: { claims?: Record<string, unknown>; header?: Record<string, unknown>; key?: JWK } = {},
): Promise<string> {
  const key = change.key ?? token.dpopJwk
  const { d: _private, ...jwk } = key
  return new SignJWT({
    htm: 'POST',
    htu: graphqlUrl(),
    jti: randomUUID(),
    iat: Math.floor(Date.now() / 1_000),
    ath: createHash('sha256').update(token.accessToken).digest('base64url'),
    ...change.claims,
  })
    .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk, ...change.header })
    .sign(await importJWK(key, 'ES256'))
}

async function assertion(change: Record<string, unknown> = {}, key = gateway.client('admin').key): Promise<string> {
  const now = Math.floor(Date.now() / 1_000)
  return new SignJWT({
    iss: 'admin',
    sub: 'admin',
    aud: gateway.issuer,
    jti: randomUUID(),
    iat: now,
    exp: now + 60,
    ...change,
  })
    .setProtectedHeader({ alg: 'ES256', kid: key.kid! })
    .sign(await importJWK(key, 'ES256'))
}

async function tokenRequest(
  fields: Record<string, string>,
  dpopKey?: JWK,
): Promise<{ status: number; body: Record<string, unknown> }> {
  const url = `${gateway.issuer}/oauth/token`
  const answer = await fetch(url, {
    method: 'POST',
    headers: dpopKey ? { dpop: await createDpopProof(dpopKey, 'POST', url) } : {},
    body: new URLSearchParams(fields),
  })
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
}

const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

describe('a token', () => {
  test('a token with a fresh proof is accepted', async () => {
    expect(await ask({ authorization: `DPoP ${token.accessToken}`, dpop: await proof() })).toMatchObject({
      status: 200,
      code: undefined,
    })
  })

  test('a stolen token authorizes nothing without its key', async () => {
    expect(await ask({ authorization: `Bearer ${token.accessToken}` })).toMatchObject({
      status: 401,
      code: 'UNAUTHENTICATED',
    })
    expect(await ask({ authorization: `DPoP ${token.accessToken}` })).toMatchObject({
      status: 401,
      code: 'INVALID_DPOP_PROOF',
    })
    expect(
      await ask({ authorization: `DPoP ${token.accessToken}`, dpop: await proof({ key: await generateDpopKey() }) }),
    ).toMatchObject({ status: 401, code: 'UNAUTHENTICATED' })
  })

  test.each([
    ['for another method', { claims: { htm: 'GET' } }],
    ['for another address', { claims: { htu: 'https://gateway.example/graphql' } }],
    ['for another path', { claims: { htu: 'http://127.0.0.1:1/graphql' } }],
    ['of five minutes ago', { claims: { iat: Math.floor(Date.now() / 1_000) - 300 } }],
    ['of the future', { claims: { iat: Math.floor(Date.now() / 1_000) + 300 } }],
    ['for another token', { claims: { ath: createHash('sha256').update('another').digest('base64url') } }],
    ['for no token', { claims: { ath: undefined } }],
    ['without an id', { claims: { jti: undefined } }],
    ['of the wrong type', { header: { typ: 'JWT' } }],
  ])('a token with a proof %s is refused with a challenge that states what is required', async (_what, change) => {
    const answer = await ask({ authorization: `DPoP ${token.accessToken}`, dpop: await proof(change) })
    expect(answer).toMatchObject({ status: 401, code: 'INVALID_DPOP_PROOF' })
    expect(answer.challenge).toContain('resource_metadata=')
  })

  test('a proof that is sent in forty concurrent requests is accepted once', async () => {
    const one = await proof()
    const answers = await Promise.all(
      Array.from({ length: 40 }, () => ask({ authorization: `DPoP ${token.accessToken}`, dpop: one })),
    )
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1)
  })

  test.each([
    'Bearer',
    'Bearer ',
    'Basic YTpi',
    'DPoP ../../etc/passwd',
    `Bearer ${'a'.repeat(300)}`,
    'Bearer eyJhbGciOiJub25lIn0.e30.',
    'Bearer null',
  ])('an invalid token (%s) is refused and not repeated', async (header) => {
    const answer = await fetch(graphqlUrl(), {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: header },
      body: QUERY,
    })
    expect(answer.status).toBe(401)
    expect(await answer.text()).not.toMatch(/passwd|aaaa|eyJ/)
  })

  test('an expired token is refused from the second of its expiry, even with a fresh proof', async () => {
    await gateway.withStoppedClock(async () => {
      const short = await gateway.customer('bo', ['northbank'])
      gateway.forward(299_000)
      expect((await gateway.ask(short, '{ customer { id } }')).errors).toBeUndefined()
      gateway.forward(1_000)
      expect((await gateway.ask(short, '{ customer { id } }')).errors![0]!.extensions!.code).toBe('UNAUTHENTICATED')
    })
    token = await gateway.customer('ada', ['northbank'])
  })

  test('no token, code, session or bank token is readable in the database', async () => {
    const tables = await gateway.database.query<{ t: string }>(
      "select table_name t from information_schema.tables where table_schema = 'public'",
    )
    let dump = ''
    for (const { t } of tables) dump += JSON.stringify(await gateway.database.query(`select * from "${t}"`))
    expect(dump).not.toContain(token.accessToken)
    expect(dump).not.toContain(token.refreshToken)
    expect(dump).toContain(createHash('sha256').update(token.accessToken).digest('base64url'))
  })
})

describe('a client', () => {
  const own = async (change?: Record<string, unknown>, key?: JWK) => ({
    grant_type: 'client_credentials',
    scope: 'clients:manage',
    client_id: 'admin',
    client_assertion_type: ASSERTION_TYPE,
    client_assertion: await assertion(change, key),
  })

  test('a client assertion that is sent forty times concurrently is accepted once', async () => {
    const fields = await own()
    const key = await generateDpopKey()
    const answers = await Promise.all(Array.from({ length: 40 }, () => tokenRequest(fields, key)))
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1)
    expect(answers.filter(({ body }) => body['error'] === 'invalid_client')).toHaveLength(39)
  })

  test.each([
    ['for another audience', { aud: 'https://other.example' }],
    ['that has ended', { exp: Math.floor(Date.now() / 1_000) - 60 }],
    ['of somebody else', { iss: 'chatterbox', sub: 'chatterbox' }],
    ['without an id', { jti: undefined }],
  ])('a client with an assertion %s is refused', async (_what, change) => {
    const { status, body } = await tokenRequest(await own(change), await generateDpopKey())
    expect(status).toBeGreaterThanOrEqual(400)
    expect(body['error']).toMatch(/^invalid_(client|request)$/)
    expect(body).not.toHaveProperty('access_token')
  })

  test("a client with another client's key is refused", async () => {
    expect(
      await tokenRequest(
        await own({}, { ...gateway.client('chatterbox').key, kid: 'admin-1' }),
        await generateDpopKey(),
      ),
    ).toMatchObject({ status: 401 })
  })

  test('a client with sender-constrained tokens gets no token without a proof', async () => {
    expect(await tokenRequest(await own())).toMatchObject({ status: 400, body: { error: 'invalid_grant' } })
  })

  test('a client that sends a public key, a secret or nothing instead of an assertion is refused', async () => {
    for (const fields of [{ client_id: 'admin' }, { client_id: 'admin', client_secret: 'admin' }, {}] as Record<
      string,
      string
    >[])
      expect((await tokenRequest({ grant_type: 'client_credentials', ...fields })).status).toBeGreaterThanOrEqual(400)
  })

  test('a client gets no customer scope for itself, and no scope that it was not registered for', async () => {
    for (const scope of ['accounts:read', 'ledger:read clients:manage nonsense', 'webhooks:manage']) {
      const { body } = await tokenRequest({ ...(await own()), scope }, await generateDpopKey())
      expect(body).toMatchObject({ error: 'invalid_scope' })
      expect(body['access_token']).toBeUndefined()
    }
  })
})

describe('an authorization code', () => {
  async function codeOf(): Promise<{ code: string; verifier: string; key: JWK }> {
    const browser = createBrowser()
    const verifier = randomBytes(32).toString('base64url')
    const key = await generateDpopKey()
    const client = gateway.client('chatterbox')
    const url = `${gateway.issuer}/oauth/par`
    const pushed = (await (
      await fetch(url, {
        method: 'POST',
        headers: { dpop: await createDpopProof(key, 'POST', url) },
        body: new URLSearchParams({
          client_id: 'chatterbox',
          response_type: 'code',
          redirect_uri: client.redirectUri!,
          scope: 'openid accounts:read',
          state: 'abcdefgh',
          code_challenge: createHash('sha256').update(verifier).digest('base64url'),
          code_challenge_method: 'S256',
          authorization_details: JSON.stringify([
            { type: 'urn:guichet:account-information', actions: ['accounts:read'], purposes: ['ANSWER_CUSTOMER'] },
          ]),
          client_assertion_type: ASSERTION_TYPE,
          client_assertion: await assertion({ iss: 'chatterbox', sub: 'chatterbox' }, client.key),
        }),
      })
    ).json()) as { request_uri: string }
    const atPlatform = (address: URL) => address.origin === gateway.sandbox.platform
    let page = await browser.open(
      `${gateway.issuer}/oauth/authorize?client_id=chatterbox&request_uri=${encodeURIComponent(pushed.request_uri)}`,
      atPlatform,
    )
    for (const fields of [
      [
        ['bank', 'northbank'],
        ['decision', 'go'],
      ],
      [
        ['days', '30'],
        ['decision', 'go'],
      ],
      [['decision', 'go']],
      [
        ['customer', 'ada'],
        ['password', 'sandbox'],
        ['decision', 'sign-in'],
      ],
      [
        ['account', 'nb-10001'],
        ['decision', 'allow'],
      ],
    ] as [string, string][][])
      page = await browser.submit(page, fields, atPlatform)
    return { code: new URL(page.url).searchParams.get('code')!, verifier, key }
  }
  const redeem = async (code: string, verifier: string, key: JWK, client = 'chatterbox') =>
    tokenRequest(
      {
        grant_type: 'authorization_code',
        code,
        code_verifier: verifier,
        redirect_uri: gateway.client('chatterbox').redirectUri!,
        client_id: client,
        client_assertion_type: ASSERTION_TYPE,
        client_assertion: await assertion({ iss: client, sub: client }, gateway.client(client).key),
      },
      key,
    )

  test('an authorization code that is redeemed twelve times concurrently gives at most one token', async () => {
    const { code, verifier, key } = await codeOf()
    const answers = await Promise.all(Array.from({ length: 12 }, () => redeem(code, verifier, key)))
    expect(answers.filter(({ status }) => status === 200).length).toBeLessThanOrEqual(1)
    expect(answers.filter(({ body }) => body['error'] === 'invalid_grant').length).toBeGreaterThanOrEqual(11)
  })

  test('an authorization code with another verifier, another client or another key is refused', async () => {
    const one = await codeOf()
    expect((await redeem(one.code, randomBytes(32).toString('base64url'), one.key)).status).toBe(400)
    const two = await codeOf()
    expect((await redeem(two.code, two.verifier, two.key, 'chatterbox-bearer')).status).toBe(400)
    const three = await codeOf()
    expect((await redeem(three.code, three.verifier, await generateDpopKey())).status).toBe(400)
  })

  test('an authorization without a pushed request or with an unregistered redirect URI is refused', async () => {
    const bare = new URLSearchParams({
      client_id: 'chatterbox',
      response_type: 'code',
      redirect_uri: gateway.client('chatterbox').redirectUri!,
      scope: 'openid accounts:read',
      code_challenge: 'x'.repeat(43),
      code_challenge_method: 'S256',
    })
    const answer = await fetch(`${gateway.issuer}/oauth/authorize?${bare.toString()}`, { redirect: 'manual' })
    expect(answer.headers.get('location') ?? '').not.toContain('/interaction/')
    const { body } = await (async () => {
      const pushed = await fetch(`${gateway.issuer}/oauth/par`, {
        method: 'POST',
        body: new URLSearchParams({
          client_id: 'chatterbox',
          response_type: 'code',
          redirect_uri: 'https://evil.example/',
          scope: 'openid',
          code_challenge: 'x'.repeat(43),
          code_challenge_method: 'S256',
          client_assertion_type: ASSERTION_TYPE,
          client_assertion: await assertion({ iss: 'chatterbox', sub: 'chatterbox' }, gateway.client('chatterbox').key),
        }),
      })
      return { body: (await pushed.json()) as Record<string, unknown> }
    })()
    expect(body['error']).toMatch(/invalid_(redirect_uri|request)/)
  })
})

describe('the authorization server', () => {
  test("the metadata has only supported values and the issuer's URLs, for any requested host", async () => {
    const metadata = (await (
      await fetch(`${gateway.issuer}/.well-known/oauth-authorization-server`, {
        headers: { 'x-forwarded-host': 'evil.example' },
      })
    ).json()) as Record<string, unknown>
    expect(metadata['issuer']).toBe(gateway.issuer)
    expect(metadata['require_pushed_authorization_requests']).toBe(true)
    expect(metadata['response_types_supported']).toEqual(['code'])
    expect(metadata['token_endpoint_auth_methods_supported']).toEqual(['private_key_jwt'])
    expect(metadata['code_challenge_methods_supported']).toEqual(['S256'])
    for (const [name, value] of Object.entries(metadata))
      if (name.endsWith('_endpoint') || name === 'jwks_uri')
        expect(String(value)).toMatch(new RegExp(`^${gateway.issuer}/`))
    const keys = await (await fetch(String(metadata['jwks_uri']))).text()
    expect(keys).not.toContain('"d"')
  })
})
