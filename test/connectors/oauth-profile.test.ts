import { decodeJwt, decodeProtectedHeader } from 'jose'
import { describe, expect, test } from 'vitest'
import {
  codeOf,
  connectTo,
  faultsOf,
  formOf,
  gatewayKeys,
  HYBRID,
  ISSUER,
  METADATA,
  request,
  verifiedBy,
} from '../support/oauth-bank.ts'
import { common } from '../support/standards.ts'
import { redirectOf } from '../support/sign-in.ts'

describe('client authentication', () => {
  test.each(['ES256', 'PS256', 'EdDSA'] as const)(
    'a client assertion is signed with %s as the profile says',
    async (algorithm) => {
      const { bank, to } = connectTo({ oauth: { signingAlgorithm: algorithm }, algorithm })
      await bank.requestConsent(request)
      const assertion = formOf(to('/token')[0]!).get('client_assertion')!
      expect(decodeProtectedHeader(assertion)).toEqual({ alg: algorithm, kid: 'gateway' })
      expect(await verifiedBy(assertion, gatewayKeys[algorithm].publicKey)).toMatchObject({
        iss: 'guichet',
        sub: 'guichet',
        aud: ISSUER,
      })
    },
  )

  test('a client assertion is addressed to the token endpoint if the profile says so', async () => {
    const { bank, to } = connectTo({ oauth: { assertionAudience: 'TOKEN_ENDPOINT' } })
    await bank.requestConsent(request)
    expect(decodeJwt(formOf(to('/token')[0]!).get('client_assertion')!).aud).toBe(METADATA.token_endpoint)
  })

  test.each(['tls_client_auth', 'self_signed_tls_client_auth'])(
    '%s sends the client id and no assertion or secret',
    async (method) => {
      const transport = method === 'tls_client_auth' ? 'ISSUED' : 'SELF_SIGNED'
      const { bank, to } = connectTo({
        oauth: { clientAuthentication: method },
        registration: { mutualTls: true, certificates: { transport } },
      })
      await bank.requestConsent(request)
      const [token] = to('/token')
      expect(Object.fromEntries(formOf(token!))).toEqual({
        client_id: 'guichet',
        grant_type: 'client_credentials',
        scope: 'accounts',
      })
      expect(token!.headers).not.toHaveProperty('authorization')
    },
  )

  test('client_secret_basic sends id and secret form-encoded in the header and nowhere else (RFC 6749, 2.3.1)', async () => {
    const { bank, to } = connectTo({
      oauth: { clientAuthentication: 'client_secret_basic' },
      credentials: { clientSecret: 'a:b c%' },
    })
    await bank.requestConsent(request)
    const [token] = to('/token')
    expect(token!.headers!['authorization']).toBe(`Basic ${Buffer.from('guichet:a%3Ab+c%25').toString('base64')}`)
    expect(token!.body).not.toContain('secret')
    expect(token!.url).toBe(METADATA.token_endpoint)
  })

  test('client_secret_post sends the secret in the form and nowhere else', async () => {
    const { bank, to, sent } = connectTo({
      oauth: { clientAuthentication: 'client_secret_post' },
      credentials: { clientSecret: 'very-secret' },
    })
    const { url } = await redirectOf(bank.requestConsent(request))
    expect(formOf(to('/token')[0]!).get('client_secret')).toBe('very-secret')
    const elsewhere = sent.filter(({ url: sentTo }) => sentTo !== METADATA.token_endpoint)
    expect(JSON.stringify([url, elsewhere])).not.toContain('very-secret')
  })

  test('a missing secret is an error before anything is sent to the token endpoint', async () => {
    const { bank, to } = connectTo({ oauth: { clientAuthentication: 'client_secret_basic' } })
    expect(await codeOf(bank.requestConsent(request))).toBe('BANK_REFUSED')
    expect(to('/token')).toEqual([])
  })
})

describe('metadata', () => {
  test('metadata at another address than the issuer’s is read there and must name the issuer', async () => {
    const metadataUrl = `${common.apiBase.replace('/base', '')}/openid-configuration`
    const { bank, sent } = connectTo({ oauth: { metadataUrl }, metadataUrl })
    await bank.requestConsent(request)
    expect(sent[0]!.url).toBe(metadataUrl)
    const stranger = connectTo({
      oauth: { metadataUrl },
      metadataUrl,
      registration: { authorizationServer: 'https://other.bank.example', authorizationOrigins: [ISSUER] },
    })
    expect(await codeOf(stranger.bank.requestConsent(request))).toBe('BANK_RESPONSE_INVALID')
  })

  test('stated endpoints are used without reading any metadata', async () => {
    const endpoints = { authorization: `${ISSUER}/a`, token: `${ISSUER}/t` }
    const { bank, sent } = connectTo({ oauth: { endpoints, responseMode: 'query' } })
    const { url } = await redirectOf(bank.requestConsent(request))
    expect(url).toMatch(/^https:\/\/auth\.bank\.example\/a\?/)
    expect(sent.map(({ url: sentTo }) => sentTo)).toEqual([`${ISSUER}/t`, expect.stringMatching(/consents$/)])
  })
})

describe('the authorization request', () => {
  test('a request object has the audience, lifetime and repeated parameters of the profile', async () => {
    const requestObject = {
      audience: 'https://secure1.bank.example',
      lifetimeSeconds: 600,
      repeatedParameters: ['nonce', 'scope'],
    }
    const { bank } = connectTo({ oauth: { ...HYBRID, requestObject }, algorithm: 'PS256' })
    const { url } = await redirectOf(bank.requestConsent(request))
    const visible = Object.fromEntries(new URL(url).searchParams)
    const claims = await verifiedBy(visible['request']!, gatewayKeys.PS256.publicKey)
    expect(claims).toMatchObject({
      aud: 'https://secure1.bank.example',
      response_type: 'code id_token',
      claims: { id_token: { openbanking_intent_id: { value: 'c1', essential: true } } },
    })
    expect(claims.exp! - claims.iat!).toBe(600)
    expect(claims).not.toHaveProperty('response_mode')
    expect(Object.keys(visible).sort()).toEqual(['client_id', 'nonce', 'request', 'scope'])
    expect(visible['nonce']).toBe(claims['nonce'])
  })

  test('a hybrid response in the query is requested by its name', async () => {
    const { bank } = connectTo({ oauth: { ...HYBRID, responseMode: 'query' }, algorithm: 'PS256' })
    const { url } = await redirectOf(bank.requestConsent(request))
    expect(decodeJwt(new URL(url).searchParams.get('request')!)).toMatchObject({ response_mode: 'query' })
  })

  test('parameters have the names that the bank expects, and can hold the id of the consent', async () => {
    const oauth = {
      requestObject: null,
      responseMode: 'query',
      parameterNames: { response_type: 'responseType', client_id: 'clientId' },
      authorizationParameters: { login_hint: 'x', display: '{consentId}' },
    }
    const { bank } = connectTo({ oauth })
    const { searchParams } = new URL((await redirectOf(bank.requestConsent(request))).url)
    expect(Object.fromEntries(searchParams)).toMatchObject({
      responseType: 'code',
      clientId: 'guichet',
      login_hint: 'x',
      display: 'c1',
      code_challenge_method: 'S256',
    })
    expect(searchParams.has('client_id')).toBe(false)
  })

  test('all parameters are in one base64 parameter if the profile names it', async () => {
    const { bank } = connectTo({ oauth: { requestObject: null, responseMode: 'query', base64Parameter: 'request' } })
    const { searchParams } = new URL((await redirectOf(bank.requestConsent(request))).url)
    expect([...searchParams.keys()]).toEqual(['request'])
    const inner = new URLSearchParams(Buffer.from(searchParams.get('request')!, 'base64').toString('utf8'))
    expect(Object.fromEntries(inner)).toMatchObject({ client_id: 'guichet', state: 's', response_type: 'code' })
  })

  test('an authorization address that admits no browser is opened by the gateway, and leads to a registered host only', async () => {
    const open = (location: string | undefined, oauth: object = { opensAuthorization: true }) =>
      connectTo({
        oauth,
        registration: { authorizationOrigins: ['https://app.bank.example'] },
        ...(location !== undefined && { location }),
      })
    const { bank, to } = open('https://app.bank.example/sign-in?request=1')
    expect((await redirectOf(bank.requestConsent(request))).url).toBe('https://app.bank.example/sign-in?request=1')
    const [opened] = to('/authorize')
    expect(opened!.method).toBe('GET')
    expect(new URL(opened!.url).searchParams.get('client_id')).toBe('guichet')
    for (const location of ['https://attacker.example/sign-in', 'javascript:alert(1)', 'https://[', undefined])
      expect([location, await codeOf(open(location).bank.requestConsent(request))]).toEqual([
        location,
        'BANK_RESPONSE_INVALID',
      ])
    const without = open('https://app.bank.example/sign-in', {})
    expect((await redirectOf(without.bank.requestConsent(request))).url).toContain(`${ISSUER}/authorize?`)
    expect(without.to('/authorize')).toEqual([])
  })

  test('a consent id that could add a parameter is refused if parameters are not encoded', async () => {
    const oauth = {
      requestObject: null,
      responseMode: 'query',
      base64Parameter: 'data',
      authorizationParameters: { display: '{consentId}' },
    }
    const begin = (consentId: string, encodesBase64Parameters: boolean) =>
      codeOf(connectTo({ oauth: { ...oauth, encodesBase64Parameters }, consentId }).bank.requestConsent(request))
    expect(await begin('c1', false)).toBe('NONE')
    for (const consentId of ['c1&scope=openid transactions', 'c1%26', 'c1+', 'c1#'])
      expect([await begin(consentId, false), await begin(consentId, true)]).toEqual(['BANK_RESPONSE_INVALID', 'NONE'])
  })

  test('further token parameters are in every token request', async () => {
    const { bank, to } = connectTo({ oauth: { tokenParameters: { role: 'AISP' } } })
    await bank.requestConsent(request)
    await bank.refresh({ consentRef: 'c', accessToken: 'a', refreshToken: 'r', expiresAt: '' })
    expect(to('/token').map((sent) => formOf(sent).get('role'))).toEqual(['AISP', 'AISP'])
  })

  test.each<[string, object]>([
    ['another redirect URI', { authorizationParameters: { redirect_uri: 'https://attacker.example' } }],
    ['another scope', { authorizationParameters: { scope: 'openid transactions' } }],
    ['another scope in other letters', { authorizationParameters: { Scope: 'x' } }],
    ['no code challenge', { authorizationParameters: { code_challenge_method: 'plain' } }],
    ['claims', { authorizationParameters: { claims: '{}' } }],
    ['a scope of every token', { tokenParameters: { scope: 'payments' } }],
    ['another grant', { tokenParameters: { grant_type: 'password' } }],
    ['purchases under another name', { authorizationParameters: { permissions: 'ReadTransactionsDetail' } }],
    ['a second scope by renaming', { parameterNames: { x: 'scope' }, authorizationParameters: { x: 'a' } }],
    ['a parameter in place of another', { parameterNames: { state: 'nonce' } }],
    ['purchases as the name of a parameter', { tokenParameters: { include_transactions: 'true' } }],
    ...['iss', 'sub', 'aud', 'exp', 'nbf', 'iat', 'jti', 'Sub'].map((claim): [string, object] => [
      `the claim ${claim} of a request object`,
      { authorizationParameters: { [claim]: 'guichet' } },
    ]),
    ['two parameters as one', { parameterNames: { state: 'x', nonce: 'x' } }],
    ['everything in a parameter of its own', { base64Parameter: 'redirect_uri' }],
  ])('a profile cannot bring in %s', (_what, oauth) => {
    expect(faultsOf('OBIE', { oauth }).join()).toMatch(/`registration\.oauth\.\w+/)
  })

  test("the customer's tokens are requested with a scope only if the profile states it", async () => {
    for (const [oauth, expected] of [
      [{}, null],
      [{ tokenScope: 'accounts offline' }, 'accounts offline'],
    ] as const) {
      const { bank, to } = connectTo({ oauth })
      await bank.refresh({ consentRef: 'c', accessToken: 'a', refreshToken: 'r', expiresAt: '' })
      expect(to('/token').map((sent) => formOf(sent).get('scope'))).toEqual([expected])
    }
  })

  test.each([
    'openid transactions',
    'accounts payments',
    'bank:payees:read',
    'fdx:transactions:read',
    'fdx:rewards:read',
    'openid BILLS',
    'fdx:images:read',
    'purchases merchants',
  ])('a profile cannot request the scope “%s”, which covers purchases or payments', (scope) => {
    expect(faultsOf('OBIE', { oauth: { scope } })).toEqual([
      '`registration.oauth.scope` must not cover transactions, payees or payments.',
    ])
  })
})
