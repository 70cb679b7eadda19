import { createPublicKey, type JsonWebKey } from 'node:crypto'
import { z } from 'zod'
import { GatewayError } from '../../kernel/errors.ts'
import { isScope, type Scope } from '../../kernel/scopes.ts'

/** An organisation that owns clients. */
export interface Platform {
  readonly id: string
  readonly name: string
}

/** DPOP: tokens are bound to the client's key (RFC 9449). BEARER: for the sandbox, where a plain curl should do. */
export type TokenBinding = 'DPOP' | 'BEARER'

/** An OAuth registration of a platform, a bank partner or an admin; its scopes say which. */
export interface Client {
  readonly id: string
  readonly platformId: string
  readonly name: string
  readonly state: 'ACTIVE' | 'SUSPENDED'
  readonly tokenBinding: TokenBinding
  /** Public keys (RFC 7517) for private_key_jwt. */
  readonly keys: { readonly keys: readonly Record<string, unknown>[] }
  readonly redirectUris: readonly string[]
  readonly scopes: readonly Scope[]
  /** Points per minute, over all of its customers. */
  readonly quotaPerMinute: number
  /** Points per minute for each customer. */
  readonly customerQuotaPerMinute: number
  /** ANY: whatever the token opens. REGISTERED: only documents that the client registered before. */
  readonly operations: 'ANY' | 'REGISTERED'
}

/** A document that a client asks by its hash. */
export interface RegisteredOperation {
  /** SHA-256 of the text, hex. */
  readonly hash: string
  readonly registeredAt: Date
}

/** What an admin changes of a client; what is absent stays. */
export interface ClientChange {
  readonly keys?: unknown
  readonly scopes?: readonly string[] | null | undefined
  readonly quotaPerMinute?: number | null | undefined
  readonly customerQuotaPerMinute?: number | null | undefined
  readonly operations?: Client['operations'] | null | undefined
}

/** What a client may spend where nobody said otherwise, in points per minute. */
export const USUAL_QUOTA = { quotaPerMinute: 600_000, customerQuotaPerMinute: 6_000 } as const

/** What an admin states of a new client. */
export interface NewClient {
  readonly platformId: string
  readonly name: string
  readonly keys: unknown
  readonly redirectUris: readonly string[]
  readonly scopes: readonly string[]
  readonly tokenBinding: TokenBinding
}

/** The one-time right to register an admin client; its secret is not in the database. */
export interface Enrolment {
  readonly salt: string
  readonly secretDigest: string
  /** FIRST_START: there was no client at all. RECOVERY: an operator with access to the database asked for it. */
  readonly reason: 'FIRST_START' | 'RECOVERY'
  readonly openedAt: Date
  readonly expiresAt: Date
  readonly usedAt: Date | null
}

const base64url = z.string().regex(/^[A-Za-z0-9_-]+$/)
const named = { kid: z.string().min(1).max(128), use: z.literal('sig').optional(), alg: z.string().max(10).optional() }
/** P-256, Ed25519, or RSA of at least 2,048 bits with the usual exponent; a private member anywhere is refused. */
const publicKey = z.discriminatedUnion('kty', [
  z.strictObject({ ...named, kty: z.literal('EC'), crv: z.literal('P-256'), x: base64url, y: base64url }),
  z.strictObject({ ...named, kty: z.literal('OKP'), crv: z.literal('Ed25519'), x: base64url }),
  z.strictObject({ ...named, kty: z.literal('RSA'), e: z.literal('AQAB'), n: base64url.min(342).max(1_366) }),
])
const keySet = z.strictObject({ keys: z.array(publicKey).min(1).max(5) })

/** The one algorithm that the authorization server accepts of each kind of key. */
const ALGORITHM_OF = { EC: 'ES256', OKP: 'EdDSA', RSA: 'PS256' } as const

/** Whether a signature can be checked with the key: its point is on the curve, its parts have their length. */
function isUsable(key: JsonWebKey): boolean {
  try {
    createPublicKey({ key, format: 'jwk' })
    return true
  } catch {
    return false
  }
}

/** Client keys that can be trusted with a customer's data. Throws `INVALID_INPUT` at `keys`. */
export function readKeys(given: unknown): Client['keys'] {
  const parsed = keySet.safeParse(given)
  if (!parsed.success)
    throw new GatewayError('INVALID_INPUT', { path: ['keys', ...(parsed.error.issues[0]?.path.map(String) ?? [])] })
  const kids = parsed.data.keys.map(({ kid }) => kid)
  if (new Set(kids).size !== kids.length) throw new GatewayError('INVALID_INPUT', { path: ['keys', 'kid'] })
  parsed.data.keys.forEach((key, index) => {
    const path = ['keys', 'keys', String(index)]
    if (key.alg !== undefined && key.alg !== ALGORITHM_OF[key.kty])
      throw new GatewayError('INVALID_INPUT', { path: [...path, 'alg'] })
    if (!isUsable(key)) throw new GatewayError('INVALID_INPUT', { path })
  })
  return parsed.data
}

/** Throws `INVALID_INPUT` at `scopes` for one that does not exist. */
export function readScopes(given: readonly string[]): Scope[] {
  const known = given.filter(isScope)
  if (known.length !== given.length || known.length === 0) throw new GatewayError('INVALID_INPUT', { path: ['scopes'] })
  return [...new Set(known)]
}

/** Throws `INVALID_INPUT` for a quota that is none. */
export function readQuota(name: 'quotaPerMinute' | 'customerQuotaPerMinute', given: number): number {
  if (!Number.isInteger(given) || given < 1) throw new GatewayError('INVALID_INPUT', { path: [name] })
  return given
}

/** A name that can be shown to a customer. Throws `INVALID_INPUT` at `name`. */
export function readName(given: string): string {
  if (!/^[\p{L}\p{N}][\p{L}\p{N} .&'-]{0,59}$/u.test(given)) throw new GatewayError('INVALID_INPUT', { path: ['name'] })
  return given
}
