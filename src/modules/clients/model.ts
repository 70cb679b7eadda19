import { GatewayError } from '../../kernel/errors.ts'
import { publicKeySetSchema, type PublicKeySet } from '../../kernel/public-keys.ts'
import type { Scope } from '../../kernel/scopes.ts'

/** PLATFORM: serves customers. BANK: registers connectors. OPERATOR: runs the gateway. */
export type OrganizationKind = 'PLATFORM' | 'BANK' | 'OPERATOR'

/** Who owns clients. */
export interface Organization {
  readonly id: string
  readonly kind: OrganizationKind
  readonly name: string
}

/** Which organizations are wanted; each condition that is given must hold. */
export interface OrganizationFilter {
  readonly kinds?: readonly OrganizationKind[] | null | undefined
  /** Part of the name. */
  readonly search?: string | null | undefined
}

/** DPOP: tokens are bound to the client's key (RFC 9449). BEARER: for the sandbox, where a plain curl should do. */
export type TokenBinding = 'DPOP' | 'BEARER'

/** An OAuth registration of an organization; its scopes say which. */
export interface Client {
  readonly id: string
  readonly organizationId: string
  readonly name: string
  /** RETIRED is the end: it is never lifted. */
  readonly status: 'ACTIVE' | 'SUSPENDED' | 'RETIRED'
  readonly tokenBinding: TokenBinding
  /** Public keys (RFC 7517) for private_key_jwt. */
  readonly jwks: { readonly keys: readonly Record<string, unknown>[] }
  /** The `kid` of each key by which the client has authenticated: somebody holds its private part. */
  readonly authenticatedKids: readonly string[]
  readonly redirectUris: readonly string[]
  readonly scopes: readonly Scope[]
  /** Points per minute, over all of its customers. */
  readonly pointsPerMinute: number
  /** Points per minute for each customer. */
  readonly pointsPerCustomerPerMinute: number
  /** REGISTERED_ONLY: only operations that the client registered before. */
  readonly operationPolicy: 'ANY' | 'REGISTERED_ONLY'
}

/** Which clients are wanted; each condition that is given must hold. */
export interface ClientFilter {
  readonly statuses?: readonly Client['status'][] | null | undefined
  readonly organizationId?: string | null | undefined
  /** Part of the name or the id. */
  readonly search?: string | null | undefined
}

/** The order of a list of clients. */
export interface ClientOrder {
  readonly field: 'CREATED_AT' | 'NAME'
  readonly direction: 'ASC' | 'DESC'
}

/** An operation that a client sends by its hash. */
export interface RegisteredOperation {
  /** SHA-256 of the text, hex. */
  readonly hash: string
  readonly registeredAt: Date
}

/** What an admin changes of a client; what is absent stays. */
export interface ClientChange {
  readonly name?: string | null | undefined
  readonly jwks?: unknown
  readonly redirectUris?: readonly string[] | null | undefined
  readonly scopes?: readonly string[] | null | undefined
  readonly pointsPerMinute?: number | null | undefined
  readonly pointsPerCustomerPerMinute?: number | null | undefined
  readonly operationPolicy?: Client['operationPolicy'] | null | undefined
}

/** What a client may spend where nobody said otherwise, in points per minute. */
export const DEFAULT_QUOTA = { pointsPerMinute: 600_000, pointsPerCustomerPerMinute: 6_000 } as const

/** What an admin states of a new client. */
export interface NewClient {
  readonly organizationId: string
  readonly name: string
  readonly jwks: unknown
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

/** Client keys that can be trusted with a customer's data. Throws `INVALID_INPUT` with every fault, at `jwks`. */
export function parseKeys(input: unknown): PublicKeySet {
  const parsed = clientKeys.safeParse(input)
  if (parsed.success) return parsed.data
  throw new GatewayError('INVALID_INPUT', {
    faults: parsed.error.issues.map(({ path, message }) => ({ path: ['jwks', ...path.map(String)], message })),
  })
}

/** The names of the keys. */
export const kidsOf = ({ keys }: Client['jwks']): string[] => keys.map((key) => String(key['kid']))

/** Whether a column contains the text, in upper or lower case. */
export const containsText = (text: string) => ({
  contains: text.replaceAll(/[\\%_]/g, String.raw`\$&`),
  mode: 'insensitive' as const,
})

/** What a client used in one hour: counts of this process that are not in the database yet. */
export interface UsageCount {
  readonly clientId: string
  readonly hour: Date
  readonly requests: number
  readonly points: number
  readonly errors: number
}

/** The length of the periods that usage is reported for. */
export type UsageInterval = 'HOUR' | 'DAY'
