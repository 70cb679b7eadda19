import { GatewayError } from '../../kernel/errors.ts'
import { publicKeySetSchema, type PublicKeySet } from '../../kernel/public-keys.ts'
import type { Scope } from '../../kernel/scopes.ts'
import type { MailTemplate } from '../mail/index.ts'

/** PLATFORM: serves customers. BANK: registers connectors. OPERATOR: runs the gateway. */
export type OrganizationKind = 'PLATFORM' | 'BANK' | 'OPERATOR'

/** An owner of clients. */
export interface Organization {
  readonly id: string
  readonly kind: OrganizationKind
  readonly name: string
}

/** A filter of organizations. Every given condition must match. */
export interface OrganizationFilter {
  readonly kinds?: readonly OrganizationKind[] | null | undefined
  /** Part of the name. */
  readonly search?: string | null | undefined
}

/** DPOP: tokens are bound to the client's key (RFC 9449). BEARER: tokens are not bound; only in the sandbox. */
export type TokenBinding = 'DPOP' | 'BEARER'

/** An OAuth client of an organization. */
export interface Client {
  readonly id: string
  readonly organizationId: string
  readonly name: string
  /** RETIRED is permanent. */
  readonly status: 'ACTIVE' | 'SUSPENDED' | 'RETIRED'
  readonly tokenBinding: TokenBinding
  /** Public keys (RFC 7517) for private_key_jwt. */
  readonly jwks: { readonly keys: readonly Record<string, unknown>[] }
  /** The `kid` of each key with which the client has authenticated, so that it is known to have the private part. */
  readonly authenticatedKids: readonly string[]
  readonly redirectUris: readonly string[]
  readonly scopes: readonly Scope[]
  /** Points per minute for all of its customers together. */
  readonly pointsPerMinute: number
  /** Points per minute for each customer. */
  readonly pointsPerCustomerPerMinute: number
  /** REGISTERED_ONLY: only operations that the client has registered. */
  readonly operationPolicy: 'ANY' | 'REGISTERED_ONLY'
  /** The email address that notices are sent to; null if there is none. */
  readonly contactEmail: string | null
}

/** The kinds of notices; each has an email text of the same name. */
export type NoticeKind = Extract<MailTemplate, 'WEBHOOK_ENDPOINT_GONE' | 'WEBHOOK_ENDPOINT_FAILING'>

/** What the owner of a client should know. */
export interface ClientNotice {
  readonly id: string
  readonly clientId: string
  readonly kind: NoticeKind
  /** The ID of what it is about, such as a webhook endpoint. */
  readonly subjectId: string
  readonly occurredAt: Date
}

/** A filter of clients. Every given condition must match. */
export interface ClientFilter {
  readonly statuses?: readonly Client['status'][] | null | undefined
  readonly organizationId?: string | null | undefined
  /** Part of the name or ID. */
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

/** The changes of a client. Absent fields are not changed. */
export interface ClientChange {
  readonly name?: string | null | undefined
  readonly jwks?: unknown
  readonly redirectUris?: readonly string[] | null | undefined
  readonly scopes?: readonly string[] | null | undefined
  readonly pointsPerMinute?: number | null | undefined
  readonly pointsPerCustomerPerMinute?: number | null | undefined
  readonly operationPolicy?: Client['operationPolicy'] | null | undefined
  readonly contactEmail?: string | null | undefined
}

/** The default limits of a client, in points per minute. */
export const DEFAULT_QUOTA = { pointsPerMinute: 600_000, pointsPerCustomerPerMinute: 6_000 } as const

/** The data of a new client. */
export interface NewClient {
  readonly organizationId: string
  readonly name: string
  readonly jwks: unknown
  readonly redirectUris: readonly string[]
  readonly scopes: readonly string[]
  readonly tokenBinding: TokenBinding
}

/** The one-time right to register an admin client. Its secret is not in the database. */
export interface Enrollment {
  readonly salt: string
  readonly secretDigest: string
  /** FIRST_START: there were no clients. RECOVERY: an operator with access to the database requested it. */
  readonly reason: 'FIRST_START' | 'RECOVERY'
  readonly openedAt: Date
  readonly expiresAt: Date
  readonly usedAt: Date | null
}

const MAX_KEYS = 5
const clientKeys = publicKeySetSchema(MAX_KEYS)

/** Parses the keys of a client by the key policy. Throws `INVALID_INPUT` with every fault, at `jwks`. */
export function parseKeys(input: unknown): PublicKeySet {
  const parsed = clientKeys.safeParse(input)
  if (parsed.success) return parsed.data
  throw new GatewayError('INVALID_INPUT', {
    faults: parsed.error.issues.map(({ path, message }) => ({ path: ['jwks', ...path.map(String)], message })),
  })
}

/** The `kid` of each key. */
export const kidsOf = ({ keys }: Client['jwks']): string[] => keys.map((key) => String(key['kid']))

/** The condition that a column contains the text, ignoring letter case. */
export const containsText = (text: string) => ({
  contains: text.replaceAll(/[\\%_]/g, String.raw`\$&`),
  mode: 'insensitive' as const,
})

/** Usage of a client in one hour that this process has not written to the database yet. */
export interface UsageCount {
  readonly clientId: string
  readonly hour: Date
  readonly requests: number
  readonly points: number
  readonly errors: number
}

/** The interval of usage figures. */
export type UsageInterval = 'HOUR' | 'DAY'
