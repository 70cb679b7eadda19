import type { TokenType } from './challenges.ts'
import { GatewayError } from './errors.ts'
import type { Scope } from './scopes.ts'

/** Points that may be spent in a minute. */
export interface Quota {
  /** By the client, over all of its customers. */
  readonly pointsPerMinute: number
  /** For each customer. */
  readonly pointsPerCustomerPerMinute: number
}

/** A caller without a token: sees what is `@public` and nothing else. */
export interface AnonymousCaller {
  readonly kind: 'ANONYMOUS'
  /** Where the request came from. */
  readonly address: string
  readonly scopes: ReadonlySet<Scope>
}

/** A client that acts for itself, with a token of the client-credentials grant. */
export interface ClientCaller {
  readonly kind: 'CLIENT'
  readonly clientId: string
  readonly tokenType: TokenType
  readonly quota: Quota
  /** Whether the client may ask only what it registered. */
  readonly registeredOnly: boolean
  readonly scopes: ReadonlySet<Scope>
}

/** A client that acts for one customer, with a token that stands on one consent. */
export interface CustomerCaller {
  readonly kind: 'CUSTOMER'
  readonly clientId: string
  readonly tokenType: TokenType
  readonly customerId: string
  /** The consent that this very token was issued for; the customer may have others with the same client. */
  readonly consentId: string
  /** Names the token; a digest that opens nothing. */
  readonly tokenId: string
  /** When the token expires, in milliseconds since 1970. */
  readonly tokenExpiresAtMs: number
  readonly quota: Quota
  /** Whether the client may ask only what it registered. */
  readonly registeredOnly: boolean
  readonly scopes: ReadonlySet<Scope>
}

/** Who asks. */
export type Caller = AnonymousCaller | ClientCaller | CustomerCaller

/** What every resolver gets: who asks, and under which request id the answer will be found in log and ledger. */
export interface RequestContext {
  readonly caller: Caller
  readonly requestId: string
  /** Whether the client has shown that the customer is present, or the code of why that does not count. */
  readonly presence: Presence
  /** The customer as the client states them, while they are present. */
  readonly customer: PresentCustomer | null
}

/** Where a present customer is, as the client's statement says and banks want to know. */
export interface PresentCustomer {
  readonly ip: string
  readonly userAgent: string | null
}

/** Whether the customer is present, and what the client states of them. */
export interface CustomerPresence {
  readonly presence: Presence
  readonly customer: PresentCustomer | null
}

/** PRESENT: shown by a statement that the client signed. Otherwise why an exact amount is not given. */
export type Presence = 'PRESENT' | 'CUSTOMER_PRESENCE_REQUIRED' | 'INVALID_PRESENCE_STATEMENT'

/** The caller without a token, from nowhere in particular. */
export const ANONYMOUS: AnonymousCaller = { kind: 'ANONYMOUS', address: '', scopes: new Set() }

/**
 * A value made once per request and forgotten with it, such as a DataLoader: two requests never share one, so no
 * answer of one caller is ever handed to another.
 */
export function perRequest<T>(create: (context: RequestContext) => T): (context: RequestContext) => T {
  const values = new WeakMap<RequestContext, { value: T }>()
  return (context) => {
    let entry = values.get(context)
    if (!entry) values.set(context, (entry = { value: create(context) }))
    return entry.value
  }
}

/** The client that acts for itself. Throws `FORBIDDEN` for a token that stands for a customer, or none. */
export function requireClientId(caller: Caller): string {
  if (caller.kind !== 'CLIENT') throw new GatewayError('FORBIDDEN')
  return caller.clientId
}
