import type { BankAccount } from '../../connectors/index.ts'
import { DAY_MS } from '../../kernel/clock.ts'
import { throwInvalidInput } from '../../kernel/input-faults.ts'
import type { CustomerScope, Purpose } from '../../kernel/scopes.ts'
import type { Grant } from './grant.ts'

/**
 * The status of a consent. Only ACTIVE authorizes anything. SUSPENDED is not stored: an ACTIVE consent is SUSPENDED while its
 * bank does not serve the client's organization (decision 29).
 */
export type ConsentStatus = 'PENDING' | 'ACTIVE' | 'PAUSED' | 'SUSPENDED' | 'REVOKED' | 'EXPIRED' | 'REJECTED'
/** Who ended a consent. */
export type ConsentActor = 'CUSTOMER_AT_BANK' | 'CUSTOMER_AT_GATEWAY' | 'CLIENT' | 'BANK' | 'ADMIN' | 'SYSTEM'

/** What a customer agreed to share with one client, from one bank, for how long and for what. */
export interface Consent {
  readonly id: string
  readonly clientId: string
  /** `null` until the customer has returned from the bank, and for a REJECTED consent. */
  readonly customerId: string | null
  readonly bankId: string
  readonly status: ConsentStatus
  readonly scopes: readonly CustomerScope[]
  readonly purposes: readonly Purpose[]
  readonly expiresAt: Date
  readonly createdAt: Date
  readonly activatedAt: Date | null
  readonly endedAt: Date | null
  readonly endedBy: ConsentActor | null
  /** When customer and client were notified that the consent is SUSPENDED. Null if they were last notified that it is not. */
  readonly suspendedAt: Date | null
  /** When customer and client were last notified that the consent is no longer SUSPENDED. */
  readonly resumedAt: Date | null
  readonly connectionId: string | null
  /** The ID of the authorization server's grant, which all tokens of the consent belong to. */
  readonly oauthGrantId: string
}

/** The outcome of an interaction of the consent pages so far. */
export interface InteractionOutcome {
  readonly consent: Consent
  /** Whether the client has redeemed the authorization code. */
  readonly isRedeemed: boolean
  /** Whether the customer has returned from the bank, or can no longer sign in there. */
  readonly isSignInClosed: boolean
}

/** An account that a customer shares. */
export interface SharedAccount extends Omit<BankAccount, 'ref' | 'number' | 'currency'> {
  readonly id: string
  /** ISO 4217 codes, main currency first. Empty until the bank has named one. */
  readonly currencies: readonly string[]
  readonly customerId: string
  readonly bankId: string
  /**
   * Identifies the account at its bank. The same for every customer who shares it: each holder of a joint account has an account
   * of their own here, and both have one key.
   */
  readonly bankAccountKey: string
  /**
   * Identifies the account to which disclosure limits apply. If the bank gives the account's number, the key is the same in
   * every consent and through every connector, even if the bank uses another ID there.
   */
  readonly disclosureKey: string
}

/** Names an account at its bank, as `SharedAccount.bankAccountKey` and `SharedAccount.disclosureKey` do. */
export const accountKey = (bankId: string, accountDigest: string): string => `${bankId}/${accountDigest}`

/** An ACTIVE consent whose bank does not serve the client's organization. It has no grant. */
export type SuspendedConsent = Pick<Grant, 'consentId' | 'bankId' | 'purposes' | 'scopes'>

/** Everything that a customer shares with one client. */
export interface SharedAccess {
  readonly grants: readonly Grant[]
  /** Every account of a grant, each once, in an order that does not change. */
  readonly accounts: readonly SharedAccount[]
  /** The customer's consents with the client that are SUSPENDED. */
  readonly suspended: readonly SuspendedConsent[]
}

/** Whose consents are listed: those of a client, or of one customer with it. */
export interface ConsentOwner {
  readonly clientId: string
  readonly customerId?: string | undefined
}

/** Which consents are listed. Every given condition must hold. */
export interface ConsentFilter {
  readonly statuses?: readonly ConsentStatus[] | null | undefined
  readonly bankIds?: readonly string[] | null | undefined
  /** The `sub` of each customer for the owner's client. */
  readonly customerIds?: readonly string[] | null | undefined
  /** IDs of grants of the authorization server. */
  readonly grantIds?: readonly string[] | null | undefined
  /** Only ACTIVE consents that expire before this time. */
  readonly expiringBefore?: Date | undefined
}

/** The position of a consent in a list that is ordered by creation, newest first. */
export type ConsentPosition = Pick<Consent, 'id' | 'createdAt'>

/** The receipt of one party for the start or the end of a consent. */
export interface Receipt {
  readonly kind: 'GRANTED' | 'REVOKED'
  readonly party: 'CUSTOMER' | 'CLIENT' | 'BANK'
  /** NOT_NEEDED: the bank-side consent remains, because another consent depended on it when this one ended. */
  readonly result: 'DONE' | 'PENDING' | 'NOT_NEEDED'
}

/** How long a customer can choose to share, in days. The first is the default. */
export const DURATIONS_DAYS = [90, 30, 365, 1] as const

/** Parses the days of a form. Throws `INVALID_INPUT` for a duration that is not offered. */
export function parseDays(text: string | null): number {
  const days = DURATIONS_DAYS.find((offered) => String(offered) === text)
  return days ?? throwInvalidInput(['days'], `must be one of ${DURATIONS_DAYS.join(', ')}`)
}

/** An offered duration in milliseconds. Throws `INVALID_INPUT` for any other. */
export const durationMs = (days: number): number => parseDays(String(days)) * DAY_MS

/** The consent at `now`. If it has expired, its status says so, even if the database does not yet. */
export const asOf = (consent: Consent, now: Date): Consent =>
  consent.status === 'ACTIVE' && consent.expiresAt <= now
    ? { ...consent, status: 'EXPIRED', endedAt: consent.expiresAt, endedBy: 'SYSTEM' }
    : consent

/** Whether the consent authorizes anything at `now`. */
export const isActive = (consent: Pick<Consent, 'status' | 'expiresAt'>, now: Date): boolean =>
  consent.status === 'ACTIVE' && consent.expiresAt > now
