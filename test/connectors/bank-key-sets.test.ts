import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { SignJWT, type JWK } from 'jose'
import { describe, expect, test } from 'vitest'
import { STANDARDS } from '../../src/connectors/index.ts'
import { toGatewayError } from '../../src/kernel/errors.ts'
import { ok, scriptedBank } from '../support/scripted-bank.ts'
import { ADDRESS, common, EXAMPLES } from '../support/standards.ts'
import { completeSignIn } from '../support/sign-in.ts'

const ISSUER = common.authorizationServer
const METADATA = {
  issuer: ISSUER,
  token_endpoint: `${ISSUER}/token`,
  authorization_endpoint: `${ISSUER}/authorize`,
  pushed_authorization_request_endpoint: `${ISSUER}/par`,
  jwks_uri: `${ISSUER}/jwks`,
}
const pair = () => generateKeyPairSync('ec', { namedCurve: 'P-256' })
const { privateKey, publicKey } = pair()
const GOOD: JWK = { ...(publicKey.export({ format: 'jwk' }) as JWK), kid: 'bank', use: 'sig', alg: 'ES256' }
const { alg: _alg, ...WITHOUT_ALG } = GOOD
/** The same coordinate in another text: its last character has bits that no byte has. */
const otherText = (coordinate: string): string => {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  return coordinate.slice(0, -1) + alphabet[alphabet.indexOf(coordinate.at(-1)!) + 1]!
}

/** The end of a CDR sign-in whose response is signed by the bank's key, where the bank publishes these keys at this address. */
async function signInWith(keys: readonly unknown[], jwksUri = METADATA.jwks_uri): Promise<string> {
  const sign = (claims: Record<string, unknown>, key: KeyObject = privateKey): Promise<string> =>
    new SignJWT({ iss: ISSUER, aud: common.clientId, ...claims })
      .setProtectedHeader({ alg: 'ES256', kid: 'bank' })
      .setIssuedAt()
      .setExpirationTime('5m')
      .sign(key)
  const idToken = await sign({ sub: 'person', nonce: 'n', auth_time: Math.floor(Date.now() / 1_000) })
  const { tools, sent } = scriptedBank(({ url }) => {
    if (url.includes('/.well-known/')) return ok({ ...METADATA, jwks_uri: jwksUri })
    if (url === jwksUri) return ok({ keys })
    return ok({
      access_token: 't',
      refresh_token: 'r',
      token_type: 'Bearer',
      expires_in: 60,
      cdr_arrangement_id: 'a1',
      id_token: idToken,
    })
  })
  const { registration: schema, connect } = STANDARDS.CDR
  const bank = connect(schema(ADDRESS).parse(EXAMPLES.CDR.registration), tools)
  const response = await sign({ code: 'c', state: 's' })
  const resume = { consentRef: '', state: 's', codeVerifier: 'v'.repeat(43), nonce: 'n' }
  const outcome = await completeSignIn(bank, new URL(`${tools.redirectUri}?response=${response}`), resume).then(
    ({ consentRef }) => consentRef,
    (error: unknown) => toGatewayError(error).code,
  )
  return sent.some(({ url }) => url === jwksUri) ? outcome : `${outcome}, keys not requested`
}

describe('the key set that a bank publishes', () => {
  test('a valid key set verifies an authorization response, so the refusals below are due to the key', async () => {
    expect(await signInWith([GOOD])).toBe('a1')
  })

  test.each<[string, unknown]>([
    ['a private part', privateKey.export({ format: 'jwk' })],
    ['a coordinate in a second spelling', { ...WITHOUT_ALG, x: otherText(GOOD.x!) }],
    ['a use for encryption', { ...GOOD, use: 'enc' }],
    ['operations that are none of a public key', { ...WITHOUT_ALG, key_ops: ['verify', 'sign'] }],
    ['an algorithm of another kind of key', { ...GOOD, alg: 'PS256' }],
  ])('a key with %s verifies no signature', async (_what, key) => {
    expect(await signInWith([{ kid: 'bank', ...(key as object) }])).toBe('BANK_RESPONSE_INVALID')
  })

  test('keys of a key set that are not for signatures or not trusted are ignored, and the others are used', async () => {
    const other = { ...pair().publicKey.export({ format: 'jwk' }), kid: 'enc', use: 'enc' }
    const small = { kty: 'RSA', n: createHash('sha512').update('n').digest('base64url'), e: 'AQAB', kid: 'small' }
    expect(await signInWith([other, small, 'no key', GOOD])).toBe('a1')
  })

  test('two keys with one key ID in a key set are both ignored', async () => {
    const second = { ...pair().publicKey.export({ format: 'jwk' }), kid: 'bank', use: 'sig', alg: 'ES256' }
    expect(await signInWith([GOOD, second])).toBe('BANK_RESPONSE_INVALID')
  })

  test.each(['https://attacker.example/jwks', `${common.apiBase}/jwks`])(
    'a key set is not requested from %s, even if the metadata names it',
    async (jwksUri) => {
      expect(await signInWith([GOOD], jwksUri)).toBe('BANK_RESPONSE_INVALID, keys not requested')
    },
  )
})
