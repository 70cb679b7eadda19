import { generateKeyPairSync } from 'node:crypto'
import { type JWTPayload } from 'jose'
import { describe, expect, test } from 'vitest'
import {
  bankKeys,
  codeOf,
  connectTo,
  faultsOf,
  formOf,
  halfHash,
  HYBRID,
  ISSUER,
  request,
  sign,
  TLS,
} from '../support/oauth-bank.ts'
import { common } from '../support/standards.ts'
import { completeSignIn, redirectOf } from '../support/sign-in.ts'

describe('the hybrid response', () => {
  const pending = { consentRef: 'c1', state: 's', codeVerifier: 'v'.repeat(43), nonce: 'n' }
  const goodClaims = { nonce: 'n', openbanking_intent_id: 'c1', c_hash: halfHash('the-code'), s_hash: halfHash('s') }
  const callbackWith = async (claims: JWTPayload, signed: typeof sign = sign): Promise<URL> => {
    const parameters = { code: 'the-code', state: 's', id_token: await signed(claims) }
    return new URL(`https://gateway.example/bank/callback?${new URLSearchParams(parameters).toString()}`)
  }

  test('the ID token of the front channel names customer and consent, and that of the token endpoint is ignored', async () => {
    const tokens = { id_token: 'nonsense' }
    const { bank, to } = connectTo({ oauth: HYBRID, algorithm: 'PS256', tokens })
    const access = await completeSignIn(bank, await callbackWith(goodClaims), pending)
    expect(access).toMatchObject({ consentRef: 'c1', customerRef: 'person', accessToken: 'a' })
    expect(formOf(to('/token')[0]!).get('code_verifier')).toBe(pending.codeVerifier)
  })

  test.each([
    ['for another consent', { openbanking_intent_id: 'c2' }],
    ['with another nonce', { nonce: 'other' }],
    ['for another code', { c_hash: halfHash('other-code') }],
    ['for another state', { s_hash: halfHash('other') }],
    ['without a hash of the state', { s_hash: undefined }],
    ['of another issuer', { iss: 'https://attacker.example' }],
    ['for another client', { aud: 'other' }],
  ])('a front-channel ID token %s is refused', async (_reason, change) => {
    const { bank } = connectTo({ oauth: HYBRID, algorithm: 'PS256' })
    const callback = await callbackWith({ ...goodClaims, ...change })
    expect(await codeOf(completeSignIn(bank, callback, pending))).toBe('BANK_RESPONSE_INVALID')
  })

  test('a front-channel ID token with a forged signature is refused and its code is not redeemed', async () => {
    const { bank, to } = connectTo({ oauth: HYBRID, algorithm: 'PS256' })
    const other = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const callback = await callbackWith(goodClaims, (claims) => sign(claims, other.privateKey))
    expect(await codeOf(completeSignIn(bank, callback, pending))).toBe('BANK_RESPONSE_INVALID')
    expect(to('/token')).toEqual([])
  })

  test('RS256 is accepted only if the profile names it, also for a key that is labelled with it', async () => {
    const callback = await callbackWith(goodClaims, (claims) => sign(claims, bankKeys.privateKey, 'RS256'))
    const strict = connectTo({ oauth: HYBRID, algorithm: 'PS256' })
    expect(await codeOf(completeSignIn(strict.bank, callback, pending))).toBe('BANK_RESPONSE_INVALID')
    const lenient = { ...HYBRID, bankAlgorithm: 'RS256' }
    for (const bankKeyAlgorithm of ['RS256', undefined]) {
      const { bank } = connectTo({ oauth: lenient, algorithm: 'PS256', ...(bankKeyAlgorithm && { bankKeyAlgorithm }) })
      expect(await codeOf(completeSignIn(bank, callback, pending))).toBe('NONE')
    }
  })

  test('a profile without a consent in the ID token relies on nonce, state and code challenge', async () => {
    const { bank } = connectTo({ oauth: { ...HYBRID, idTokenNamesConsent: false }, algorithm: 'PS256' })
    const { openbanking_intent_id: _dropped, ...claims } = goodClaims
    expect(await codeOf(completeSignIn(bank, await callbackWith(claims), pending))).toBe('NONE')
  })

  test('a plain code response is verified by state alone if the profile has no OpenID Connect', async () => {
    const oauth = {
      usesOpenIdConnect: false,
      idToken: 'NONE',
      idTokenNamesConsent: false,
      responseMode: 'query',
      requestObject: null,
    }
    const { bank } = connectTo({ oauth })
    const callback = (state: string): URL => new URL(`https://gateway.example/bank/callback?code=x&state=${state}`)
    expect(await codeOf(completeSignIn(bank, callback('s'), pending))).toBe('NONE')
    expect(await codeOf(completeSignIn(bank, callback('other'), pending))).toBe('BANK_RESPONSE_INVALID')
  })
})

describe('FDX by plain OAuth', () => {
  const oauth = {
    clientAuthentication: 'client_secret_basic',
    usesPar: false,
    scope: 'openid offline_access',
    usesOpenIdConnect: true,
    idToken: 'TOKEN_ENDPOINT',
    bankAlgorithm: 'RS256',
    authorizationParameters: { connector: 'bank-1' },
  }
  const plain = {
    standard: 'FDX' as const,
    registration: { consent: 'OAUTH_SCOPE' },
    credentials: { clientSecret: 'x' },
  }

  test('a sign-in needs neither a pushed request nor a consent of the bank, and gets a reference of the gateway', async () => {
    const { bank, to } = connectTo({ ...plain, oauth })
    const { url, pending } = await redirectOf(bank.requestConsent(request))
    const parameters = Object.fromEntries(new URL(url).searchParams)
    expect(parameters).toMatchObject({ scope: 'openid offline_access', connector: 'bank-1', response_type: 'code' })
    expect(parameters).not.toHaveProperty('authorization_details')
    expect(to('/par')).toEqual([])
    expect(pending.consentRef).toMatch(/^[\w-]{43}$/)
  })

  test('the ID token is the bearer if the profile says so, also after a refresh', async () => {
    const pending = { consentRef: 'own', state: 's', codeVerifier: 'v'.repeat(43), nonce: 'n' }
    const idToken = await sign({ nonce: 'n' }, bankKeys.privateKey, 'RS256')
    const { bank } = connectTo({
      ...plain,
      oauth: { ...oauth, bearerToken: 'ID_TOKEN' },
      tokens: { id_token: idToken },
    })
    const access = await completeSignIn(bank, new URL('https://gateway.example/bank/callback?code=x&state=s'), pending)
    expect(access).toMatchObject({ accessToken: idToken, consentRef: 'own', customerRef: 'person' })
    expect((await bank.refresh(access)).accessToken).toBe(idToken)
  })

  test('the end of a consent revokes the refresh token (RFC 7009), or the access token if there is no other', async () => {
    const { bank, to } = connectTo({ ...plain, oauth })
    await bank.revokeConsent({ consentRef: 'own', accessToken: 'a', refreshToken: 'r' })
    await bank.revokeConsent({ consentRef: 'own', accessToken: 'a', refreshToken: null })
    await bank.revokeConsent({ consentRef: 'own' })
    expect(to('/revoke').map((sent) => formOf(sent).get('token'))).toEqual(['r', 'a'])
  })
})

describe('a contradictory profile', () => {
  test.each([
    [
      { responseType: 'code id_token' },
      '`registration.oauth.responseMode` must be query or fragment with `code id_token`.',
    ],
    [{ responseMode: 'fragment' }, '`registration.oauth.responseMode` `fragment` needs `code id_token`.'],
    [{ idToken: 'FRONT_CHANNEL' }, '`registration.oauth.idToken` `FRONT_CHANNEL` needs `code id_token`.'],
    [{ idToken: 'NONE' }, '`registration.oauth.idTokenNamesConsent` must be false without an ID token.'],
    [{ clientAuthentication: 'tls_client_auth' }, '`registration.mutualTls` must be true with `tls_client_auth`.'],
    [
      { metadataUrl: 'https://elsewhere.example/x' },
      '`registration.oauth.metadataUrl` must be on the origin of authorizationServer or apiBase, or on one of authorizationOrigins.',
    ],
    [
      { endpoints: { authorization: `${ISSUER}/a`, token: `${common.apiBase}/accounts` } },
      '`registration.oauth.endpoints.token` must not be below the account API (apiBase, eventsApi).',
    ],
    [{ nonsense: 1 }, '`registration.oauth.nonsense`'],
  ])('the registration with oauth %j is refused by the path of the member', (oauth, message) => {
    expect(faultsOf('OBIE', { oauth }).join('\n')).toContain(message)
  })

  test('the rules between certificates and the client id are refused by path', () => {
    expect(faultsOf('OBIE', { certificates: { transport: 'ISSUED' } })).toEqual([
      '`registration.mutualTls` must be true if `certificates.transport` is ISSUED.',
    ])
    expect(faultsOf('OBIE', { mutualTls: true, certificates: { identifyClient: true } })).toEqual([
      '`registration.certificates.transport` must be ISSUED if `certificates.identifyClient` is true.',
      '`registration.clientId` must be absent if `certificates.identifyClient` is true: it is in the certificate.',
    ])
    expect(faultsOf('OBIE', { ...TLS, oauth: { clientAuthentication: 'tls_client_auth' } })).toEqual([])
  })
})
