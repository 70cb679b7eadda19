import { calculateJwkThumbprint, type JWK } from 'jose'
import { describe, expect, test } from 'vitest'
import { isEd25519PublicKey } from '../../src/kernel/ed25519.ts'
import { publicKeySetSchema, jwkThumbprint, toVerificationKeys } from '../../src/kernel/public-keys.ts'
import { GOOD_KEYS } from '../support/bad-keys.ts'

const GOOD = Object.entries(GOOD_KEYS)

/** The eight points of small order in their canonical encodings. */
const SMALL_ORDER = [
  '0100000000000000000000000000000000000000000000000000000000000000',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0000000000000000000000000000000000000000000000000000000000000080',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa',
]

describe('public keys', () => {
  test.each(GOOD)('the thumbprint of a key of kind %s is the one of RFC 7638', async (_kind, key) => {
    expect(jwkThumbprint({ ...key, kid: 'k', use: 'sig' })).toBe(await calculateJwkThumbprint(key as JWK))
  })

  test.each(GOOD)('a parsed key of kind %s contains only the members that are used', (_kind, key) => {
    const given = { keys: [{ ...key, kid: 'k', ext: true, x5c: ['MIIB'], anything: { nested: 1 } }] }
    expect(publicKeySetSchema(1).parse(given)).toEqual({ keys: [{ ...key, kid: 'k', use: 'sig' }] })
  })

  test('a stored key keeps an algorithm other than Ed25519', () => {
    const keys = [
      { kty: 'RSA', alg: 'RS256' },
      { kty: 'OKP', alg: 'EdDSA' },
    ]
    expect(toVerificationKeys({ keys }).keys).toEqual([{ kty: 'RSA', alg: 'RS256' }, { kty: 'OKP' }])
  })

  test.each(SMALL_ORDER)('the point %s, which is of small order, is no Ed25519 key', (point) => {
    expect(isEd25519PublicKey(Buffer.from(point, 'hex'))).toBe(false)
  })

  test("a number that is not below the field's prime encodes no Ed25519 key", () => {
    // 2^255 - 18 and 2^255 - 16 stand for y = 1 and y = 3 in another form.
    for (const low of [0xee, 0xf0]) {
      const bytes = Buffer.alloc(32, 0xff)
      bytes[0] = low
      bytes[31] = 0x7f
      expect(isEd25519PublicKey(bytes)).toBe(false)
    }
  })
})
