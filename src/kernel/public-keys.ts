import { createPublicKey } from 'node:crypto'
import type { JSONWebKeySet } from 'jose'
import { z } from 'zod'
import { isEd25519PublicKey } from './ed25519.ts'
import { digest } from './ids.ts'
import { isStorable } from './storable-text.ts'

/** A public key (RFC 7517) that the policy accepts, with the members that are used and no others. */
export interface PublicKey extends Readonly<Record<string, unknown>> {
  readonly kid: string
  readonly kty: string
}
/** A set of public keys that the policy accepts. */
export interface PublicKeySet {
  readonly keys: readonly PublicKey[]
}
/** A fault of a key or key set. Its message holds nothing of the key. */
export interface KeyFault {
  readonly path: readonly (string | number)[]
  readonly message: string
}

type Jwk = Readonly<Record<string, unknown>>

/** The policy for one key type. */
interface KeyTypePolicy {
  /** The required members in alphabetical order, as the thumbprint needs them (RFC 7638, 3.2). */
  readonly required: readonly string[]
  readonly curve?: string
  /** All names of the one algorithm. */
  readonly algorithms: readonly string[]
  faultsOf(key: Jwk): KeyFault[]
}

const RSA_MIN_BITS = 2_048
const RSA_MAX_BITS = 8_192
const RSA_EXPONENT = 'AQAB'
const COORDINATE_BYTES = 32
/** Members of private and symmetric keys (RFC 7518, 6; RFC 9964 for `priv`). */
const SECRET_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k', 'priv']
const OFF_CURVE = 'must be a point on the curve that is safe as a public key'

/** The accepted keys and their algorithms (RFC 7518, RFC 8037, RFC 9864). */
const KEY_TYPES: Readonly<Record<string, KeyTypePolicy>> = {
  EC: {
    required: ['crv', 'kty', 'x', 'y'],
    curve: 'P-256',
    algorithms: ['ES256'],
    faultsOf: (key) => pointFaults(key, ['x', 'y'], () => isImportable(key)),
  },
  OKP: {
    required: ['crv', 'kty', 'x'],
    curve: 'Ed25519',
    algorithms: ['EdDSA', 'Ed25519'],
    faultsOf: (key) => pointFaults(key, ['x'], () => isEd25519PublicKey(decodeBase64url(key['x'])!)),
  },
  RSA: { required: ['e', 'kty', 'n'], algorithms: ['PS256'], faultsOf: rsaFaults },
}

const algorithmsOf = (...keyTypes: readonly (keyof typeof KEY_TYPES)[]): string[] =>
  keyTypes.flatMap((keyType) => KEY_TYPES[keyType]!.algorithms)

/** The algorithms that clients and banks may sign with. */
export const SIGNING_ALGORITHMS: readonly string[] = algorithmsOf('RSA', 'EC', 'OKP')
/** The algorithms that a DPoP proof may be signed with (RFC 9449). */
export const PROOF_ALGORITHMS: readonly string[] = algorithmsOf('EC', 'OKP')

/**
 * Parses a set of 1 to `max` public keys by the policy; every fault is an issue with its path. Unknown members are dropped
 * (RFC 7517, 4), and so is `alg`, which follows from the key type.
 */
export const publicKeySetSchema = (max: number) =>
  z.unknown().transform((input, context): PublicKeySet => {
    for (const { path, message } of keySetFaults(input, max))
      context.addIssue({ code: 'custom', path: [...path], message })
    if (context.issues.length > 0) return z.NEVER
    return { keys: (input as { keys: Jwk[] }).keys.map(pickUsedMembers) }
  })

/**
 * The keys without an `alg` of `EdDSA` or `Ed25519`. Both name the same algorithm (RFC 9864, 2.2), but the library compares
 * the names. Keys that were stored by older versions still have `alg`.
 */
export const toVerificationKeys = ({ keys }: { readonly keys: readonly Jwk[] }): JSONWebKeySet => ({
  keys: keys.map(({ alg, ...key }) => ({
    ...key,
    kty: String(key['kty']),
    ...(typeof alg === 'string' && !KEY_TYPES['OKP']!.algorithms.includes(alg) && { alg }),
  })),
})

/**
 * The keys of a published set that the policy accepts. The others are left out, because a set may hold keys for other purposes
 * (RFC 7517, 5). `furtherAlgorithm` is RS256 for a bank whose profile accepts it.
 */
export const filterAcceptedKeys = (keys: readonly unknown[], furtherAlgorithm?: string): unknown[] =>
  keys.filter((key) => keyFaults(isForAlgorithm(key, furtherAlgorithm) ? { ...key, alg: undefined } : key).length === 0)

/** Whether a key is for an RSA algorithm outside the policy, which one bank's profile accepts. */
const isForAlgorithm = (key: unknown, algorithm: string | undefined): key is Jwk =>
  algorithm === 'RS256' && isObject(key) && key['kty'] === 'RSA' && key['alg'] === algorithm

/** The faults of a key set and of every key in it. */
function keySetFaults(input: unknown, max: number): KeyFault[] {
  const keys = isObject(input) ? input['keys'] : undefined
  if (!Array.isArray(keys) || keys.length === 0 || keys.length > max)
    return [{ path: ['keys'], message: `must be a list of 1 to ${max} public keys (RFC 7517)` }]
  const kids = new Map<unknown, number>()
  const thumbprints = new Map<string, number>()
  return keys.flatMap((key: unknown, index) => {
    const faults = [...keyFaults(key), ...kidFaults(key)]
    if (faults.length === 0) {
      const jwk = key as Jwk
      const duplicateKidIndex = recordFirstIndex(kids, jwk['kid'], index)
      const duplicateKeyIndex = recordFirstIndex(thumbprints, jwkThumbprint(jwk), index)
      if (duplicateKidIndex !== undefined)
        faults.push(fault(`must be unique, but keys[${duplicateKidIndex}] has the same`, 'kid'))
      if (duplicateKeyIndex !== undefined) faults.push(fault(`must not be the same key as keys[${duplicateKeyIndex}]`))
    }
    return faults.map(({ path, message }) => ({ path: ['keys', index, ...path], message }))
  })
}

/** The faults of one public key, apart from its `kid`. */
export function keyFaults(key: unknown): KeyFault[] {
  if (!isObject(key)) return [fault('must be a public key (RFC 7517)')]
  const secrets = SECRET_MEMBERS.filter((member) => member in key)
  if (secrets.length > 0) return secrets.map((member) => fault('must be absent: it belongs to a private key', member))
  const keyType =
    typeof key['kty'] === 'string' && Object.hasOwn(KEY_TYPES, key['kty']) ? KEY_TYPES[key['kty']]! : undefined
  if (!keyType) return [fault('must be EC, OKP or RSA', 'kty')]
  if (keyType.curve !== undefined && key['crv'] !== keyType.curve) return [fault(`must be ${keyType.curve}`, 'crv')]
  return [...usageFaults(key, keyType), ...keyType.faultsOf(key)]
}

/** Checks the members by which a key restricts its own use. */
function usageFaults({ use, key_ops: operations, alg }: Jwk, { algorithms }: KeyTypePolicy): KeyFault[] {
  const faults: KeyFault[] = []
  if (use !== undefined && use !== 'sig') faults.push(fault('must be sig, or absent', 'use'))
  if (operations !== undefined && !(Array.isArray(operations) && operations.length === 1 && operations[0] === 'verify'))
    faults.push(fault('must be ["verify"], or absent', 'key_ops'))
  if (alg !== undefined && !(typeof alg === 'string' && algorithms.includes(alg)))
    faults.push(fault(`must be ${algorithms.join(' or ')} for this key, or absent`, 'alg'))
  return faults
}

function kidFaults(key: unknown): KeyFault[] {
  const kid = isObject(key) ? key['kid'] : undefined
  const isValidKid = typeof kid === 'string' && kid.length >= 1 && kid.length <= 128 && isStorable(kid)
  return isValidKid ? [] : [fault('must have 1 to 128 characters, none of them NUL or half of a surrogate pair', 'kid')]
}

function pointFaults(key: Jwk, coordinates: readonly string[], isOnCurve: () => boolean): KeyFault[] {
  const faults = coordinates.flatMap((member) => {
    const bytes = decodeBase64url(key[member])
    if (!bytes) return [fault('must be canonical base64url without padding', member)]
    return bytes.length === COORDINATE_BYTES ? [] : [fault(`must have ${COORDINATE_BYTES} bytes`, member)]
  })
  return faults.length > 0 || isOnCurve() ? faults : [fault(OFF_CURVE)]
}

function rsaFaults(key: Jwk): KeyFault[] {
  const faults = key['e'] === RSA_EXPONENT ? [] : [fault('must be 65537 (AQAB)', 'e')]
  const modulus = decodeBase64url(key['n'])
  if (!modulus || modulus.length === 0) return [...faults, fault('must be canonical base64url without padding', 'n')]
  if (modulus[0] === 0) return [...faults, fault('must have no leading zero (RFC 7518, 6.3.1.1)', 'n')]
  const bits = (modulus.length - 1) * 8 + (32 - Math.clz32(modulus[0]!))
  const isOdd = (modulus.at(-1)! & 1) === 1
  if (bits < RSA_MIN_BITS || bits > RSA_MAX_BITS || !isOdd)
    faults.push(fault(`must be an odd number of ${RSA_MIN_BITS} bits to ${RSA_MAX_BITS} bits`, 'n'))
  else if (faults.length === 0 && !isImportable(key)) faults.push(fault('must be an RSA key'))
  return faults
}

function isImportable(key: Jwk): boolean {
  try {
    createPublicKey({ key: { ...key }, format: 'jwk' })
    return true
  } catch {
    return false
  }
}

/** Decodes canonical base64url only: with other encodings, one key could have two thumbprints. */
function decodeBase64url(text: unknown): Buffer | undefined {
  if (typeof text !== 'string') return undefined
  const bytes = Buffer.from(text, 'base64url')
  return bytes.toString('base64url') === text ? bytes : undefined
}

/** The thumbprint of a key (RFC 7638). The policy must accept the key. */
export const jwkThumbprint = (key: Jwk): string =>
  digest(
    JSON.stringify(Object.fromEntries(KEY_TYPES[String(key['kty'])]!.required.map((member) => [member, key[member]]))),
  )

function pickUsedMembers(key: Jwk): PublicKey {
  const { required } = KEY_TYPES[String(key['kty'])]!
  const used = ['kid', ...required].map((member) => [member, key[member]])
  return { ...(Object.fromEntries(used) as PublicKey), use: 'sig' }
}

/** The index at which `value` was seen before. If it is new, records `index` and returns `undefined`. */
function recordFirstIndex<T>(seen: Map<T, number>, value: T, index: number): number | undefined {
  const first = seen.get(value)
  if (first === undefined) seen.set(value, index)
  return first
}

const fault = (message: string, member?: string): KeyFault => ({ path: member === undefined ? [] : [member], message })
const isObject = (value: unknown): value is Jwk => typeof value === 'object' && value !== null && !Array.isArray(value)
