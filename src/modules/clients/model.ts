import { GatewayError } from '../../kernel/errors.ts'
import { publicKeySetSchema, type PublicKeySet } from '../../kernel/public-keys.ts'
import type { Scope } from '../../kernel/scopes.ts'

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
  /** RETIRED is the end: it is never lifted. */
  readonly status: 'ACTIVE' | 'SUSPENDED' | 'RETIRED'
  readonly tokenBinding: TokenBinding
  /** Public keys (RFC 7517) for private_key_jwt. */
  readonly keys: { readonly keys: readonly Record<string, unknown>[] }
  /** The `kid` of each key by which the client has authenticated: somebody holds its private part. */
  readonly provenKids: readonly string[]
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
  readonly name?: string | null | undefined
  readonly keys?: unknown
  readonly redirectUris?: readonly string[] | null | undefined
  readonly scopes?: readonly string[] | null | undefined
  readonly quotaPerMinute?: number | null | undefined
  readonly customerQuotaPerMinute?: number | null | undefined
  readonly operations?: Client['operations'] | null | undefined
}

/** What a client may spend where nobody said otherwise, in points per minute. */
export const DEFAULT_QUOTA = { quotaPerMinute: 600_000, customerQuotaPerMinute: 6_000 } as const

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

const MAX_KEYS = 5
const clientKeys = publicKeySetSchema(MAX_KEYS)

/** Client keys that can be trusted with a customer's data. Throws `INVALID_INPUT` with every fault, at `keys`. */
export function parseKeys(input: unknown): PublicKeySet {
  const parsed = clientKeys.safeParse(input)
  if (parsed.success) return parsed.data
  throw new GatewayError('INVALID_INPUT', {
    faults: parsed.error.issues.map(({ path, message }) => ({ path: ['keys', ...path.map(String)], message })),
  })
}

/** The names of the keys. */
export const kidsOf = ({ keys }: Client['keys']): string[] => keys.map((key) => String(key['kid']))
