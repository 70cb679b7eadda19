import type { BankAccount } from '../../connectors/index.ts'
import { DAY_MS } from '../../kernel/clock.ts'
import { throwInvalidInput } from '../../kernel/input-faults.ts'
import type { CustomerScope, Purpose } from '../../kernel/scopes.ts'
import type { Grant } from './grant.ts'

/** Where a consent is in its life. Only ACTIVE authorizes anything. */
export type ConsentStatus = 'PENDING' | 'ACTIVE' | 'PAUSED' | 'SUSPENDED' | 'REVOKED' | 'EXPIRED' | 'REJECTED'
/** Who ended a consent. */
export type ConsentActor = 'CUSTOMER_AT_BANK' | 'CUSTOMER_AT_GATEWAY' | 'CLIENT' | 'BANK' | 'ADMIN' | 'SYSTEM'

/** What a customer agreed to share with one client, from one bank, for how long and for what. */
export interface Consent {
  readonly id: string
  readonly clientId: string
  /** `null` until the customer came back from the bank. */
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
  readonly connectionId: string | null
  /** The grant of the authorization server, which tokens name once the customer has agreed. */
  readonly oauthGrantId: string
}

/** What a visit of the consent pages has come to. */
export interface VisitOutcome {
  readonly consent: Consent
  /** Whether the client has redeemed the authorization code. */
  readonly isRedeemed: boolean
  /** Whether the customer is back from the bank, or the way there is closed. */
  readonly hasReturned: boolean
}

/** An account that a customer shares, in our words. */
export interface SharedAccount extends Omit<BankAccount, 'ref' | 'number' | 'currency'> {
  readonly id: string
  /** Currencies that it holds, ISO 4217, main one first; empty until the bank has named one. */
  readonly currencies: readonly string[]
  readonly customerId: string
  readonly bankId: string
  /**
   * The account at its bank, the same for everybody who shares it: two clients who know one person under two names, or
   * two holders of one account, have two of our accounts and one of these.
   */
  readonly bankAccountKey: string
  /**
   * The account whose balance is limited in how much of it is disclosed: the same whatever id the bank gives it in another
   * consent or through another connector, where the bank gives its number.
   */
  readonly disclosureKey: string
}

/** Names an account at its bank, as `SharedAccount.bankAccountKey` and `SharedAccount.disclosureKey` do. */
export const accountKey = (bankId: string, accountDigest: string): string => `${bankId}/${accountDigest}`

/** Everything that a customer shares with one client at this moment. */
export interface SharedAccess {
  readonly grants: readonly Grant[]
  /** Every account that a grant opens, each once, in an order that does not change. */
  readonly accounts: readonly SharedAccount[]
}

/** Whose consents are listed: all of one client, or those of one customer with it. */
export interface ConsentOwner {
  readonly clientId: string
  readonly customerId?: string | undefined
}

/** Which consents are listed. Each condition that is given must hold. */
export interface ConsentFilter {
  readonly statuses?: readonly ConsentStatus[] | null | undefined
  readonly bankIds?: readonly string[] | null | undefined
  /** The `sub` of each customer with the owner's client. */
  readonly customerIds?: readonly string[] | null | undefined
  /** OAuth grants. */
  readonly grantIds?: readonly string[] | null | undefined
  /** ACTIVE ones that end before this. */
  readonly expiringBefore?: Date | undefined
}

/** The place of a consent in a list that is ordered by creation, newest first. */
export type ConsentPosition = Pick<Consent, 'id' | 'createdAt'>

/** What one party was told when a consent began or ended. */
export interface Receipt {
  readonly kind: 'GRANTED' | 'REVOKED'
  readonly party: 'CUSTOMER' | 'CLIENT' | 'BANK'
  /** NOT_NEEDED: the bank’s consent stayed, because another consent here depended on it when this one ended. */
  readonly result: 'DONE' | 'PENDING' | 'FAILED' | 'NOT_NEEDED'
}

/** How long a customer may choose to share, in days; the first is offered as the usual. */
export const DURATIONS_DAYS = [90, 30, 365, 1] as const

/** How long a customer chose to share, as a form says it. Throws `INVALID_INPUT` for a choice that was not offered. */
export function parseDays(text: string | null): number {
  const days = DURATIONS_DAYS.find((offered) => String(offered) === text)
  return days ?? throwInvalidInput(['days'], `must be one of ${DURATIONS_DAYS.join(', ')}`)
}

/** The length of a choice that was offered. */
export const durationMs = (days: number): number => parseDays(String(days)) * DAY_MS

/** The consent as it is at `now`: one whose time is over has expired, even if nobody has stored that yet. */
export const asOf = (consent: Consent, now: Date): Consent =>
  consent.status === 'ACTIVE' && consent.expiresAt <= now
    ? { ...consent, status: 'EXPIRED', endedAt: consent.expiresAt, endedBy: 'SYSTEM' }
    : consent

/** Whether the consent opens anything at `now`. */
export const isActive = (consent: Pick<Consent, 'status' | 'expiresAt'>, now: Date): boolean =>
  consent.status === 'ACTIVE' && consent.expiresAt > now
