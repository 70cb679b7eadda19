import { createPublicKey } from 'node:crypto'
import type { JSONWebKeySet } from 'jose'
import { z } from 'zod'
import { isEd25519PublicKey } from './ed25519.ts'
import { digest } from './ids.ts'
import { isStorable } from './storable-text.ts'

/** A public key (RFC 7517) that fits the policy, with the members that are used and no others. */
export interface PublicKey extends Readonly<Record<string, unknown>> {
  readonly kid: string
  readonly kty: string
}
/** A set of public keys that fits the policy. */
export interface PublicKeySet {
  readonly keys: readonly PublicKey[]
}
/** One fault of a key or key set: where, and the rule. Holds nothing of the key. */
export interface KeyFault {
  readonly path: readonly (string | number)[]
  readonly message: string
}

type Jwk = Readonly<Record<string, unknown>>

/** A kind of key that signatures are verified with. */
interface KeyTypePolicy {
  /** In the order of their names: what the thumbprint is made of (RFC 7638, 3.2). */
  readonly required: readonly string[]
  readonly curve?: string
  /** The one algorithm, under all of its names. */
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

/** The policy: which keys are accepted, and for which algorithm (RFC 7518, 8037 and 9864). */
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

/** What clients and banks may sign with. */
export const SIGNING_ALGORITHMS: readonly string[] = algorithmsOf('RSA', 'EC', 'OKP')
/** What a DPoP proof may be signed with (RFC 9449). */
export const PROOF_ALGORITHMS: readonly string[] = algorithmsOf('EC', 'OKP')

/**
 * Parses a set of 1 to `max` public keys by the policy; every fault is an issue of its own, with its path. Unknown members
 * are dropped (RFC 7517, 4), and so is `alg`, which follows from the kind of key.
 */
export const publicKeySetSchema = (max: number) =>
  z.unknown().transform((input, context): PublicKeySet => {
    for (const { path, message } of keySetFaults(input, max))
      context.addIssue({ code: 'custom', path: [...path], message })
    if (context.issues.length > 0) return z.NEVER
    return { keys: (input as { keys: Jwk[] }).keys.map(pickUsedMembers) }
  })

/**
 * The same keys for a library that compares names of algorithms: a key for `EdDSA` verifies `Ed25519` too, which is the
 * same algorithm by its newer name (RFC 9864, 2.2). Keys that were stored before `alg` was dropped still have it.
 */
export const toVerificationKeys = ({ keys }: { readonly keys: readonly Jwk[] }): JSONWebKeySet => ({
  keys: keys.map(({ alg, ...key }) => ({
    ...key,
    kty: String(key['kty']),
    ...(typeof alg === 'string' && !KEY_TYPES['OKP']!.algorithms.includes(alg) && { alg }),
  })),
})

/**
 * The keys of a published set that fit the policy. Whoever publishes a set may have keys in it for other purposes (RFC 7517,
 * 5), so the others are left out.
 */
export const filterAcceptedKeys = (keys: readonly unknown[]): unknown[] =>
  keys.filter((key) => keyFaults(key).length === 0)

/** The faults of a key set, of every key in it. */
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
        faults.push(fault(`must be unique, and is that of keys[${duplicateKidIndex}]`, 'kid'))
      if (duplicateKeyIndex !== undefined) faults.push(fault(`must be another key than keys[${duplicateKeyIndex}]`))
    }
    return faults.map(({ path, message }) => ({ path: ['keys', index, ...path], message }))
  })
}

/** The faults of one public key, whatever it is called. */
export function keyFaults(key: unknown): KeyFault[] {
  if (!isObject(key)) return [fault('must be a public key (RFC 7517)')]
  const secrets = SECRET_MEMBERS.filter((member) => member in key)
  if (secrets.length > 0)
    return secrets.map((member) => fault('must not be there: it belongs to a private key', member))
  const keyType =
    typeof key['kty'] === 'string' && Object.hasOwn(KEY_TYPES, key['kty']) ? KEY_TYPES[key['kty']]! : undefined
  if (!keyType) return [fault('must be EC, OKP or RSA', 'kty')]
  if (keyType.curve !== undefined && key['crv'] !== keyType.curve) return [fault(`must be ${keyType.curve}`, 'crv')]
  return [...usageFaults(key, keyType), ...keyType.faultsOf(key)]
}

/** What a key says of its own use must fit. */
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
    if (!bytes) return [fault('must be base64url in its only form, without padding', member)]
    return bytes.length === COORDINATE_BYTES ? [] : [fault(`must have ${COORDINATE_BYTES} bytes`, member)]
  })
  return faults.length > 0 || isOnCurve() ? faults : [fault(OFF_CURVE)]
}

function rsaFaults(key: Jwk): KeyFault[] {
  const faults = key['e'] === RSA_EXPONENT ? [] : [fault('must be 65537 (AQAB)', 'e')]
  const modulus = decodeBase64url(key['n'])
  if (!modulus || modulus.length === 0)
    return [...faults, fault('must be base64url in its only form, without padding', 'n')]
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

/** The bytes of a base64url text in the one form that encodes them: another would give one key two thumbprints. */
function decodeBase64url(text: unknown): Buffer | undefined {
  if (typeof text !== 'string') return undefined
  const bytes = Buffer.from(text, 'base64url')
  return bytes.toString('base64url') === text ? bytes : undefined
}

/** Names a key by itself (RFC 7638). The key must fit the policy. */
export const jwkThumbprint = (key: Jwk): string =>
  digest(
    JSON.stringify(Object.fromEntries(KEY_TYPES[String(key['kty'])]!.required.map((member) => [member, key[member]]))),
  )

function pickUsedMembers(key: Jwk): PublicKey {
  const { required } = KEY_TYPES[String(key['kty'])]!
  const used = ['kid', ...required].map((member) => [member, key[member]])
  return { ...(Object.fromEntries(used) as PublicKey), use: 'sig' }
}

/** Where `value` was seen first, if it was; otherwise notes that it is seen at `index`. */
function recordFirstIndex<T>(seen: Map<T, number>, value: T, index: number): number | undefined {
  const first = seen.get(value)
  if (first === undefined) seen.set(value, index)
  return first
}

const fault = (message: string, member?: string): KeyFault => ({ path: member === undefined ? [] : [member], message })
const isObject = (value: unknown): value is Jwk => typeof value === 'object' && value !== null && !Array.isArray(value)
