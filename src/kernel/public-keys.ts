import { createPublicKey } from 'node:crypto'
import type { JSONWebKeySet } from 'jose'
import { z } from 'zod'
import { isEd25519PublicKey } from './ed25519.ts'
import { digest } from './ids.ts'
import { isStorable } from './text.ts'

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
interface KeyKind {
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
const KINDS: Readonly<Record<string, KeyKind>> = {
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
    faultsOf: (key) => pointFaults(key, ['x'], () => isEd25519PublicKey(bytesOf(key['x'])!)),
  },
  RSA: { required: ['e', 'kty', 'n'], algorithms: ['PS256'], faultsOf: rsaFaults },
}

const algorithmsOf = (...kinds: readonly (keyof typeof KINDS)[]): string[] =>
  kinds.flatMap((kind) => KINDS[kind]!.algorithms)

/** What clients and banks may sign with. */
export const SIGNING_ALGORITHMS: readonly string[] = algorithmsOf('RSA', 'EC', 'OKP')
/** What a DPoP proof may be signed with (RFC 9449). */
export const PROOF_ALGORITHMS: readonly string[] = algorithmsOf('EC', 'OKP')

/**
 * Parses a set of 1 to `max` public keys by the policy; every fault is an issue of its own, with its path. Unknown members
 * are dropped (RFC 7517, 4), and so is `alg`, which follows from the kind of key.
 */
export const publicKeySet = (max: number) =>
  z.unknown().transform((given, context): PublicKeySet => {
    for (const { path, message } of keySetFaults(given, max))
      context.addIssue({ code: 'custom', path: [...path], message })
    if (context.issues.length > 0) return z.NEVER
    return { keys: (given as { keys: Jwk[] }).keys.map(usedMembers) }
  })

/**
 * The same keys for a library that compares names of algorithms: a key for `EdDSA` verifies `Ed25519` too, which is the
 * same algorithm by its newer name (RFC 9864, 2.2). Keys that were stored before `alg` was dropped still have it.
 */
export const verificationKeys = ({ keys }: { readonly keys: readonly Jwk[] }): JSONWebKeySet => ({
  keys: keys.map(({ alg, ...key }) => ({
    ...key,
    kty: String(key['kty']),
    ...(typeof alg === 'string' && !KINDS['OKP']!.algorithms.includes(alg) && { alg }),
  })),
})

/**
 * The keys of a published set that fit the policy. Whoever publishes a set may have keys in it for other purposes (RFC 7517,
 * 5), so the others are left out.
 */
export const fittingKeys = (keys: readonly unknown[]): unknown[] => keys.filter((key) => keyFaults(key).length === 0)

/** The faults of a key set, of every key in it. */
function keySetFaults(given: unknown, max: number): KeyFault[] {
  const keys = isObject(given) ? given['keys'] : undefined
  if (!Array.isArray(keys) || keys.length === 0 || keys.length > max)
    return [{ path: ['keys'], message: `must be a list of 1 to ${max} public keys (RFC 7517)` }]
  const kids = new Map<unknown, number>()
  const thumbprints = new Map<string, number>()
  return keys.flatMap((key: unknown, index) => {
    const faults = [...keyFaults(key), ...nameFaults(key)]
    if (faults.length === 0) {
      const jwk = key as Jwk
      const sameName = firstAt(kids, jwk['kid'], index)
      const sameKey = firstAt(thumbprints, thumbprintOf(jwk), index)
      if (sameName !== undefined) faults.push(fault(`must be unique, and is that of keys[${sameName}]`, 'kid'))
      if (sameKey !== undefined) faults.push(fault(`must be another key than keys[${sameKey}]`))
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
  const kind = typeof key['kty'] === 'string' && Object.hasOwn(KINDS, key['kty']) ? KINDS[key['kty']]! : undefined
  if (!kind) return [fault('must be EC, OKP or RSA', 'kty')]
  if (kind.curve !== undefined && key['crv'] !== kind.curve) return [fault(`must be ${kind.curve}`, 'crv')]
  return [...usageFaults(key, kind), ...kind.faultsOf(key)]
}

/** What a key says of its own use must fit. */
function usageFaults({ use, key_ops: operations, alg }: Jwk, { algorithms }: KeyKind): KeyFault[] {
  const faults: KeyFault[] = []
  if (use !== undefined && use !== 'sig') faults.push(fault('must be sig, or absent', 'use'))
  if (operations !== undefined && !(Array.isArray(operations) && operations.length === 1 && operations[0] === 'verify'))
    faults.push(fault('must be ["verify"], or absent', 'key_ops'))
  if (alg !== undefined && !(typeof alg === 'string' && algorithms.includes(alg)))
    faults.push(fault(`must be ${algorithms.join(' or ')} for this key, or absent`, 'alg'))
  return faults
}

function nameFaults(key: unknown): KeyFault[] {
  const kid = isObject(key) ? key['kid'] : undefined
  const isName = typeof kid === 'string' && kid.length >= 1 && kid.length <= 128 && isStorable(kid)
  return isName ? [] : [fault('must have 1 to 128 characters, none of them NUL or half of a surrogate pair', 'kid')]
}

function pointFaults(key: Jwk, coordinates: readonly string[], isOnCurve: () => boolean): KeyFault[] {
  const faults = coordinates.flatMap((member) => {
    const bytes = bytesOf(key[member])
    if (!bytes) return [fault('must be base64url in its only form, without padding', member)]
    return bytes.length === COORDINATE_BYTES ? [] : [fault(`must have ${COORDINATE_BYTES} bytes`, member)]
  })
  return faults.length > 0 || isOnCurve() ? faults : [fault(OFF_CURVE)]
}

function rsaFaults(key: Jwk): KeyFault[] {
  const faults = key['e'] === RSA_EXPONENT ? [] : [fault('must be 65537 (AQAB)', 'e')]
  const modulus = bytesOf(key['n'])
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
function bytesOf(text: unknown): Buffer | undefined {
  if (typeof text !== 'string') return undefined
  const bytes = Buffer.from(text, 'base64url')
  return bytes.toString('base64url') === text ? bytes : undefined
}

/** Names a key by itself (RFC 7638). The key must fit the policy. */
export const thumbprintOf = (key: Jwk): string =>
  digest(JSON.stringify(Object.fromEntries(KINDS[String(key['kty'])]!.required.map((member) => [member, key[member]]))))

function usedMembers(key: Jwk): PublicKey {
  const { required } = KINDS[String(key['kty'])]!
  const used = ['kid', ...required].map((member) => [member, key[member]])
  return { ...(Object.fromEntries(used) as PublicKey), use: 'sig' }
}

/** Where `value` was seen first, if it was; otherwise notes that it is seen at `index`. */
function firstAt<T>(seen: Map<T, number>, value: T, index: number): number | undefined {
  const first = seen.get(value)
  if (first === undefined) seen.set(value, index)
  return first
}

const fault = (message: string, member?: string): KeyFault => ({ path: member === undefined ? [] : [member], message })
const isObject = (value: unknown): value is Jwk => typeof value === 'object' && value !== null && !Array.isArray(value)
