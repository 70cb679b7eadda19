import type { TokenType } from './challenges.ts'
import { GatewayError } from './errors.ts'
import type { Scope } from './scopes.ts'

/** The limits of points per minute. */
export interface Quota {
  /** For the client, over all of its customers. */
  readonly pointsPerMinute: number
  /** For each customer. */
  readonly pointsPerCustomerPerMinute: number
}

/** A caller without a token. Only `@public` fields are available to it. */
export interface AnonymousCaller {
  readonly kind: 'ANONYMOUS'
  /** The address that the request came from. */
  readonly address: string
  readonly scopes: ReadonlySet<Scope>
}

/** A client that acts for itself, with a token of the client credentials grant. */
export interface ClientCaller {
  readonly kind: 'CLIENT'
  readonly clientId: string
  readonly tokenType: TokenType
  readonly quota: Quota
  /** Whether the client may execute registered operations only. */
  readonly registeredOnly: boolean
  readonly scopes: ReadonlySet<Scope>
}

/** A customer as one client knows them: a holder of this may see only their ID and their consents. */
export interface CustomerOfClient {
  readonly clientId: string
  readonly customerId: string
}

/** A client that acts for one customer, with a token that depends on one consent. */
export interface CustomerCaller extends CustomerOfClient {
  readonly kind: 'CUSTOMER'
  readonly tokenType: TokenType
  /** The consent that this very token was issued for; the customer may have others with the same client. */
  readonly consentId: string
  /** Identifies the token: a digest, not a credential. */
  readonly tokenId: string
  /** When the token expires, in milliseconds since 1970. */
  readonly tokenExpiresAtMs: number
  readonly quota: Quota
  /** Whether the client may execute registered operations only. */
  readonly registeredOnly: boolean
  readonly scopes: ReadonlySet<Scope>
}

/** The caller of a request. */
export type Caller = AnonymousCaller | ClientCaller | CustomerCaller

/** The context of every resolver. `requestId` identifies the request in log and ledger. */
export interface RequestContext {
  readonly caller: Caller
  readonly requestId: string
  /** Whether the client has proven that the customer is present, or the code of the reason why not. */
  readonly presence: Presence
  /** What the client states about the customer; null unless the customer is present. */
  readonly customer: PresentCustomer | null
}

/** The IP address and user agent of a present customer, as the client states them; banks receive them. */
export interface PresentCustomer {
  readonly ip: string
  readonly userAgent: string | null
}

/** Whether the customer is present, and what the client states about them. */
export interface CustomerPresence {
  readonly presence: Presence
  readonly customer: PresentCustomer | null
}

/** PRESENT if proven by a statement that the client signed. Otherwise the reason why exact amounts are withheld. */
export type Presence = 'PRESENT' | 'CUSTOMER_PRESENCE_REQUIRED' | 'INVALID_PRESENCE_STATEMENT'

/** A caller without a token and without an address. */
export const ANONYMOUS: AnonymousCaller = { kind: 'ANONYMOUS', address: '', scopes: new Set() }

/**
 * Creates a value once per request, such as a loader. Requests never share one, so no caller receives data that was loaded
 * for another.
 */
export function perRequest<T>(create: (context: RequestContext) => T): (context: RequestContext) => T {
  const values = new WeakMap<RequestContext, { value: T }>()
  return (context) => {
    let entry = values.get(context)
    if (!entry) values.set(context, (entry = { value: create(context) }))
    return entry.value
  }
}

/**
 * The caller who acts for this customer, or for any if none is given. Throws `FORBIDDEN` for every other: a client token
 * reaches customers through their consents, and none of their accounts or alerts.
 */
export function requireCustomer(caller: Caller, customer?: CustomerOfClient): CustomerCaller {
  const actsForIt =
    caller.kind === 'CUSTOMER' &&
    (customer === undefined || (customer.customerId === caller.customerId && customer.clientId === caller.clientId))
  if (!actsForIt) throw new GatewayError('FORBIDDEN')
  return caller
}

/** The client that acts for itself. Throws `FORBIDDEN` for a token that stands for a customer, or none. */
export function requireClientId(caller: Caller): string {
  if (caller.kind !== 'CLIENT') throw new GatewayError('FORBIDDEN')
  return caller.clientId
}

/** Throws `FORBIDDEN` unless the caller's token was issued to this client, for any scopes. */
export function assertOwnClient(caller: Caller, clientId: string): void {
  if (caller.kind === 'ANONYMOUS' || caller.clientId !== clientId) throw new GatewayError('FORBIDDEN')
}
