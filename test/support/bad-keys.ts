import { generateKeyPairSync } from 'node:crypto'

type Jwk = Readonly<Record<string, unknown>>

const publicJwk = (pair: ReturnType<typeof generateKeyPairSync>): Jwk => ({
  ...(pair as unknown as { publicKey: { export(options: object): object } }).publicKey.export({ format: 'jwk' }),
})
const privateJwk = (pair: ReturnType<typeof generateKeyPairSync>): Jwk => ({
  ...(pair as unknown as { privateKey: { export(options: object): object } }).privateKey.export({ format: 'jwk' }),
})
const EC = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const ED = generateKeyPairSync('ed25519')
const RSA = generateKeyPairSync('rsa', { modulusLength: 2_048 })
const SHORT_RSA = generateKeyPairSync('rsa', { modulusLength: 1_024 })
const ODD_RSA = generateKeyPairSync('rsa', { modulusLength: 2_048, publicExponent: 3 })

/** Good keys, one of each kind, without a name. */
export const GOOD_KEYS = { EC: publicJwk(EC), OKP: publicJwk(ED), RSA: publicJwk(RSA) } as const

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url')
const bytesOf = (key: Jwk, member: string): Buffer => Buffer.from(String(key[member]), 'base64url')
const evenOf = (number: Buffer): Buffer => Buffer.concat([number.subarray(0, -1), Buffer.from([number.at(-1)! & 0xfe])])
const ec = (change: Jwk = {}): Jwk => ({ ...GOOD_KEYS.EC, kid: 'k1', ...change })
const ed = (change: Jwk = {}): Jwk => ({ ...GOOD_KEYS.OKP, kid: 'k1', ...change })
const rsa = (change: Jwk = {}): Jwk => ({ ...GOOD_KEYS.RSA, kid: 'k1', ...change })

/** The same 32 bytes with other unused bits in the last character: another thumbprint of the same key. */
function otherSpelling(value: unknown): string {
  const given = String(value)
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  return given.slice(0, -1) + alphabet[alphabet.indexOf(given.at(-1)!) + 1]!
}

/** The neutral element: every signature of a certain form holds for every message. */
const NEUTRAL_POINT = text(Buffer.concat([Buffer.from([1]), Buffer.alloc(31)]))
/** A `y` for which the curve has no `x`. */
const NO_POINT = text(Buffer.concat([Buffer.from([2]), Buffer.alloc(31)]))

/** Key sets that nobody may register: what is wrong, the keys, the path of the fault within the set, and what it says. */
export const BAD_KEY_SETS: readonly (readonly [what: string, keys: readonly Jwk[], path: string, says: RegExp])[] = [
  ['a short RSA key', [{ ...publicJwk(SHORT_RSA), kid: 'k1' }], 'keys.0.n', /2048 bits/],
  [
    'an RSA key that is long enough by leading zeros only',
    [
      {
        ...publicJwk(SHORT_RSA),
        n: text(Buffer.concat([Buffer.alloc(129), bytesOf(publicJwk(SHORT_RSA), 'n')])),
        kid: 'k1',
      },
    ],
    'keys.0.n',
    /leading zero/,
  ],
  [
    'an RSA key with a leading zero',
    [rsa({ n: text(Buffer.concat([Buffer.alloc(1), bytesOf(GOOD_KEYS.RSA, 'n')])) })],
    'keys.0.n',
    /leading zero/,
  ],
  ['an RSA key whose modulus is even', [rsa({ n: text(evenOf(bytesOf(GOOD_KEYS.RSA, 'n'))) })], 'keys.0.n', /odd/],
  ['an RSA key with the exponent 3', [{ ...publicJwk(ODD_RSA), kid: 'k1' }], 'keys.0.e', /65537/],
  ['an RSA key with the exponent 1', [rsa({ e: 'AQ' })], 'keys.0.e', /65537/],
  ['an EC point that is not on the curve', [ec({ x: text(Buffer.alloc(32, 1)) })], 'keys.0', /on the curve/],
  [
    'an EC coordinate that is too short',
    [ec({ x: text(bytesOf(GOOD_KEYS.EC, 'x').subarray(1)) })],
    'keys.0.x',
    /32 bytes/,
  ],
  ['an EC coordinate in another spelling', [ec({ x: otherSpelling(GOOD_KEYS.EC['x']) })], 'keys.0.x', /base64url/],
  ['a key on another curve', [ec({ crv: 'secp256k1' })], 'keys.0.crv', /P-256/],
  ['an Ed25519 key that is too short', [ed({ x: 'AAAA' })], 'keys.0.x', /32 bytes/],
  ['an Ed25519 key that is no point', [ed({ x: NO_POINT })], 'keys.0', /on the curve/],
  ['an Ed25519 key of a small order', [ed({ x: NEUTRAL_POINT })], 'keys.0', /on the curve/],
  ['a private EC key', [{ ...privateJwk(EC), kid: 'k1' }], 'keys.0.d', /private/],
  ['a private RSA key', [{ ...privateJwk(RSA), kid: 'k1' }], 'keys.0.d', /private/],
  ['one prime of an RSA key', [rsa({ p: privateJwk(RSA)['p'] })], 'keys.0.p', /private/],
  ['a symmetric key', [{ kty: 'oct', k: 'c2VjcmV0', kid: 'k1' }], 'keys.0.k', /private/],
  ['an unknown kind of key', [{ kty: 'AKP', kid: 'k1' }], 'keys.0.kty', /EC, OKP or RSA/],
  ['a key for encryption', [ec({ use: 'enc' })], 'keys.0.use', /sig/],
  ['a key that may only sign', [ec({ key_ops: ['sign'] })], 'keys.0.key_ops', /verify/],
  ['a key that may verify and encrypt', [ec({ key_ops: ['verify', 'encrypt'] })], 'keys.0.key_ops', /verify/],
  ['an algorithm of another kind of key', [ec({ alg: 'PS256' })], 'keys.0.alg', /ES256/],
  ['an algorithm that is not accepted', [rsa({ alg: 'RS256' })], 'keys.0.alg', /PS256/],
  ['no name', [GOOD_KEYS.EC], 'keys.0.kid', /1 to 128/],
  ['one name twice', [ec(), ed()], 'keys.1.kid', /unique/],
  ['one key twice', [ec(), ec({ kid: 'k2' })], 'keys.1', /keys\[0\]/],
  ['a good key beside a bad one', [ec(), ed({ kid: 'k2', x: 'AAAA' })], 'keys.1.x', /32 bytes/],
  ['no key', [], 'keys', /1 to/],
]
