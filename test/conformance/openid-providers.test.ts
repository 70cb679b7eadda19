import { createPublicKey, X509Certificate, type KeyObject } from 'node:crypto'
import { decodeJwt, exportJWK, type JWTPayload } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { newKey } from '../support/certificate-authority.ts'
import { CUSTOMER, startOpenIdProvider, thumbprintOf } from '../support/conformance/openid-provider.ts'
import { BERLIN_GROUP_CONSENT, type ProviderKind } from '../support/conformance/provider-settings.ts'
import { createPkce, createReferenceClient, halfHash, signForServer } from '../support/conformance/reference-client.ts'

const REDIRECT_URI = 'https://gateway.example/bank/callback'
const CLIENT = 'client-1'
const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

const toPem = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'pem' }).toString()
const publicJwk = async (key: KeyObject, algorithm: string) => ({
  keys: [{ ...(await exportJWK(createPublicKey(key))), kid: 'client', use: 'sig', alg: algorithm }],
})

/** A provider and a client of it with a certificate, which is made once and issued by the provider's authority. */
async function startBank(kind: ProviderKind, metadata: Record<string, unknown> = {}, options = {}) {
  const signing = newKey('rsa')
  const transport = newKey('ec')
  const provider = await startOpenIdProvider(
    kind,
    {
      client_id: CLIENT,
      redirect_uris: [REDIRECT_URI],
      jwks: await publicJwk(signing, 'PS256'),
      ...(kind === 'UK' || kind === 'BERLIN_GROUP' ? { tls_client_auth_subject_dn: 'CN=guichet,O=Guichet,C=GB' } : {}),
      ...metadata,
    },
    options,
  )
  const { leaf: certificate } = await provider.authority.issueFor(transport, { subject: 'C=GB, O=Guichet, CN=guichet' })
  const connect = (withCertificate: boolean) =>
    createReferenceClient({
      authority: provider.authority.root,
      ...(withCertificate && { certificate, key: toPem(transport) }),
    })
  const client = connect(true)
  const anonymous = connect(false)
  return {
    provider,
    signing,
    certificate,
    client,
    anonymous,
    sign: (claims: JWTPayload, algorithm = 'PS256', key = signing) =>
      signForServer(claims, { clientId: CLIENT, audience: provider.issuer, algorithm, key }),
    close: async () => {
      await Promise.all([client.close(), anonymous.close()])
      await provider.close()
    },
  }
}
type Bank = Awaited<ReturnType<typeof startBank>>

const parametersOf = (callback: URL) => new URLSearchParams(callback.hash ? callback.hash.slice(1) : callback.search)

describe('the independent provider of a UK bank', () => {
  let bank: Bank
  const requestClaims = {
    client_id: CLIENT,
    response_type: 'code id_token',
    redirect_uri: REDIRECT_URI,
    scope: 'openid accounts',
    state: 's1',
    nonce: 'n1',
    claims: { id_token: { openbanking_intent_id: { value: 'intent-1', essential: true } } },
  }
  const authorizationUrl = (request: string, other: Record<string, string> = {}) =>
    `${bank.provider.issuer}/auth?${new URLSearchParams({
      client_id: CLIENT,
      response_type: 'code id_token',
      scope: 'openid accounts',
      redirect_uri: REDIRECT_URI,
      request,
      ...other,
    }).toString()}`

  beforeAll(async () => {
    bank = await startBank('UK')
  })
  afterAll(() => bank.close())

  test('a signed request leads to a code, an ID token with the consent, and bound tokens', async () => {
    const callback = await bank.client.signIn(authorizationUrl(await bank.sign(requestClaims)), REDIRECT_URI)
    expect(callback.search).toBe('')
    const parameters = parametersOf(callback)
    const code = parameters.get('code')!
    const claims = await bank.client.verify(bank.provider.issuer, parameters.get('id_token'), 'PS256', CLIENT)
    expect(claims).toMatchObject({ openbanking_intent_id: 'intent-1', nonce: 'n1', sub: CUSTOMER })
    expect(claims).toMatchObject({ c_hash: halfHash(code), s_hash: halfHash('s1') })
    const { status, body } = await bank.client.send(`${bank.provider.issuer}/token`, {
      form: { grant_type: 'authorization_code', code, redirect_uri: REDIRECT_URI, client_id: CLIENT },
    })
    expect(status).toBe(200)
    expect(body).toMatchObject({ token_type: 'Bearer', refresh_token: expect.any(String) as string })
    expect(await bank.provider.findAccessToken(String(body['access_token']))).toEqual({
      scope: 'openid accounts',
      certificateThumbprint: thumbprintOf(new X509Certificate(bank.certificate)),
    })
    const refreshed = await bank.client.send(`${bank.provider.issuer}/token`, {
      form: { grant_type: 'refresh_token', refresh_token: String(body['refresh_token']), client_id: CLIENT },
    })
    expect(refreshed.status).toBe(200)
  })

  test('a client without its certificate gets no token', async () => {
    const form = { grant_type: 'client_credentials', scope: 'accounts', client_id: CLIENT }
    expect((await bank.client.send(`${bank.provider.issuer}/token`, { form })).status).toBe(200)
    expect((await bank.anonymous.send(`${bank.provider.issuer}/token`, { form })).body).toMatchObject({
      error: 'invalid_client',
    })
  })

  test('a request that is unsigned, or signed with another algorithm, is refused', async () => {
    const unsigned = await bank.client.signIn(
      authorizationUrl('', { state: 's1', nonce: 'n1' }).replace('request=&', ''),
      REDIRECT_URI,
    )
    expect(parametersOf(unsigned).get('error')).toBe('invalid_request')
    const weak = await bank.client.signIn(authorizationUrl(await bank.sign(requestClaims, 'RS256')), REDIRECT_URI)
    expect(parametersOf(weak).get('error')).toBe('invalid_request_object')
  })

  test('a customer who refuses leads to an error', async () => {
    bank.provider.refuses = true
    const callback = await bank.client.signIn(authorizationUrl(await bank.sign(requestClaims)), REDIRECT_URI)
    bank.provider.refuses = false
    expect(parametersOf(callback).get('error')).toBe('access_denied')
  })
})

describe('the independent provider of a UK bank with responses in the query', () => {
  test('a client that authenticates by private_key_jwt gets its code in the query', async () => {
    const bank = await startBank('UK', { token_endpoint_auth_method: 'private_key_jwt' }, { queryResponses: true })
    const request = await bank.sign({
      client_id: CLIENT,
      response_type: 'code id_token',
      redirect_uri: REDIRECT_URI,
      scope: 'openid accounts',
      state: 's1',
      nonce: 'n1',
    })
    const query = {
      client_id: CLIENT,
      response_type: 'code id_token',
      scope: 'openid',
      redirect_uri: REDIRECT_URI,
      request,
    }
    const url = `${bank.provider.issuer}/auth?${new URLSearchParams(query).toString()}`
    const { hash, searchParams } = await bank.client.signIn(url, REDIRECT_URI)
    expect(hash).toBe('')
    const form = { grant_type: 'authorization_code', code: searchParams.get('code')!, redirect_uri: REDIRECT_URI }
    const send = (other: Record<string, string>) =>
      bank.client.send(`${bank.provider.issuer}/token`, { form: { ...form, client_id: CLIENT, ...other } })
    expect((await send({})).body).toMatchObject({ error: 'invalid_client' })
    const assertion = await bank.sign({ sub: CLIENT })
    expect((await send({ client_assertion_type: ASSERTION_TYPE, client_assertion: assertion })).status).toBe(200)
    await bank.close()
  })
})

describe('the independent provider of a CDR holder', () => {
  let bank: Bank
  beforeAll(async () => {
    bank = await startBank('CDR')
  })
  afterAll(() => bank.close())

  const authenticate = async () => ({
    client_assertion_type: ASSERTION_TYPE,
    client_assertion: await bank.sign({ sub: CLIENT }),
    client_id: CLIENT,
  })

  test('a pushed request leads to a signed response and to bound tokens with an arrangement', async () => {
    const { verifier, challenge } = createPkce()
    const request = await bank.sign({
      client_id: CLIENT,
      response_type: 'code',
      response_mode: 'jwt',
      redirect_uri: REDIRECT_URI,
      scope: 'openid bank:accounts.basic:read',
      state: 's1',
      nonce: 'n1',
      code_challenge: challenge,
      code_challenge_method: 'S256',
      claims: { sharing_duration: 86_400, id_token: { acr: { essential: true, values: ['urn:cds.au:cdr:2'] } } },
    })
    const pushed = await bank.client.send(`${bank.provider.issuer}/request`, {
      form: { ...(await authenticate()), request },
    })
    expect(pushed.body).toMatchObject({ expires_in: expect.any(Number) as number })
    const url = `${bank.provider.issuer}/auth?client_id=${CLIENT}&request_uri=${String(pushed.body['request_uri'])}`
    const response = (await bank.client.signIn(url, REDIRECT_URI)).searchParams.get('response')
    const claims = await bank.client.verify(bank.provider.issuer, response, 'PS256', CLIENT)
    expect(claims).toMatchObject({ state: 's1', code: expect.any(String) as string })
    const { body } = await bank.client.send(`${bank.provider.issuer}/token`, {
      form: {
        ...(await authenticate()),
        grant_type: 'authorization_code',
        code: String(claims['code']),
        redirect_uri: REDIRECT_URI,
        code_verifier: verifier,
      },
    })
    expect(body).toMatchObject({ cdr_arrangement_id: 'arrangement-1' })
    expect(decodeJwt(String(body['id_token']))).toMatchObject({ nonce: 'n1', acr: 'urn:cds.au:cdr:2' })
    expect(await bank.provider.findAccessToken(String(body['access_token']))).toEqual({
      scope: 'openid bank:accounts.basic:read',
      certificateThumbprint: thumbprintOf(new X509Certificate(bank.certificate)),
    })
  })

  test('a request that is not pushed is refused', async () => {
    const request = await bank.sign({
      client_id: CLIENT,
      response_type: 'code',
      redirect_uri: REDIRECT_URI,
      scope: 'openid',
    })
    const url = `${bank.provider.issuer}/auth?${new URLSearchParams({ client_id: CLIENT, response_type: 'code', scope: 'openid', redirect_uri: REDIRECT_URI, request }).toString()}`
    const callback = await bank.client.signIn(url, REDIRECT_URI).catch((error: unknown) => String(error))
    expect(String(callback)).toMatch(/error=invalid_request|with 400/)
  })
})

describe('the independent provider of an FDX bank', () => {
  test.each(['client_secret_basic', 'client_secret_post'] as const)(
    'a client with %s gets tokens, and revokes them by RFC 7009',
    async (method) => {
      const secret = 'a-secret-of-a-client'
      const bank = await startBank('FDX', { token_endpoint_auth_method: method, client_secret: secret })
      const { issuer } = bank.provider
      const send = (path: string, form: Record<string, string>, password = secret) =>
        bank.anonymous.send(`${issuer}${path}`, {
          form: method === 'client_secret_post' ? { ...form, client_id: CLIENT, client_secret: password } : form,
          ...(method === 'client_secret_basic' && {
            authorization: `Basic ${Buffer.from(`${CLIENT}:${password}`).toString('base64')}`,
          }),
        })
      const { verifier, challenge } = createPkce()
      const query = {
        client_id: CLIENT,
        response_type: 'code',
        redirect_uri: REDIRECT_URI,
        scope: 'openid accounts',
        state: 's1',
      }
      const url = `${issuer}/auth?${new URLSearchParams({ ...query, code_challenge: challenge, code_challenge_method: 'S256' }).toString()}`
      const code = (await bank.anonymous.signIn(url, REDIRECT_URI)).searchParams.get('code')!
      const form = { grant_type: 'authorization_code', code, redirect_uri: REDIRECT_URI, code_verifier: verifier }
      expect((await send('/token', form, 'another-secret')).body).toMatchObject({ error: 'invalid_client' })
      const { body } = await send('/token', form)
      expect(await bank.anonymous.verify(issuer, body['id_token'], 'RS256', CLIENT)).toMatchObject({ sub: CUSTOMER })
      const refresh = { grant_type: 'refresh_token', refresh_token: String(body['refresh_token']) }
      expect((await send('/token/revocation', { token: refresh.refresh_token })).status).toBe(200)
      expect((await send('/token', refresh)).body).toMatchObject({ error: 'invalid_grant' })
      const unproven = await bank.anonymous.signIn(
        `${issuer}/auth?${new URLSearchParams(query).toString()}`,
        REDIRECT_URI,
      )
      expect(unproven.searchParams.get('error')).toBe('invalid_request')
      await bank.close()
    },
  )
})

describe('the independent provider of a Berlin Group bank', () => {
  test('a certificate is the identification, and the scope names the consent', async () => {
    const bank = await startBank('BERLIN_GROUP')
    const { verifier, challenge } = createPkce()
    const query = {
      client_id: CLIENT,
      response_type: 'code',
      redirect_uri: REDIRECT_URI,
      scope: `AIS:${BERLIN_GROUP_CONSENT}`,
      state: 's1',
      code_challenge: challenge,
      code_challenge_method: 'S256',
    }
    const url = `${bank.provider.issuer}/auth?${new URLSearchParams(query).toString()}`
    const code = (await bank.client.signIn(url, REDIRECT_URI)).searchParams.get('code')!
    const form = {
      grant_type: 'authorization_code',
      code,
      redirect_uri: REDIRECT_URI,
      code_verifier: verifier,
      client_id: CLIENT,
    }
    expect((await bank.anonymous.send(`${bank.provider.issuer}/token`, { form })).body).toMatchObject({
      error: 'invalid_client',
    })
    const { body } = await bank.client.send(`${bank.provider.issuer}/token`, { form })
    expect(await bank.provider.findAccessToken(String(body['access_token']))).toEqual({
      scope: `AIS:${BERLIN_GROUP_CONSENT}`,
      certificateThumbprint: thumbprintOf(new X509Certificate(bank.certificate)),
    })
    await bank.close()
  })
})
