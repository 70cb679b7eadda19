import type { z } from 'zod'
import type { AlertAsk, AlertSeverity, AlertType } from '../kernel/alert-vocabulary.ts'
import type { AccountStatus, AccountType, AccountUsage, BalanceType } from '../kernel/bank-vocabulary.ts'
import type { Clock } from '../kernel/clock.ts'
import type { Randomness } from '../kernel/ids.ts'
import type { Log } from '../kernel/log.ts'
import type { Money } from '../kernel/money.ts'
import type { OutboundHttp } from '../kernel/outbound-http.ts'

/** The bank standards that Guichet speaks. */
export type StandardId = 'OBIE' | 'BERLIN_GROUP'

/**
 * One bank standard. A new one is a folder that exports this and a line in `index.ts`; nothing in `modules/` knows
 * which standard a bank speaks.
 */
export interface Standard<R extends Registration = Registration> {
  readonly id: StandardId
  readonly name: string
  /** Parses what a bank partner registers; unknown keys are refused, so that a typing error is not ignored. */
  readonly registration: z.ZodType<R>
  /** True where a new consent of the same customer ends the earlier ones at the bank (Berlin Group 1.3.11, 6.3). */
  readonly newConsentEndsEarlier: boolean
  connect(registration: R, tools: ConnectorTools): BankInterface
  /** Reads a signed event of the bank. Throws `EVENT_REJECTED` for anything that is not exactly right. */
  readEvent(token: string, registration: R, audience: string, clock: Clock): Promise<BankEvent>
}

/** What every standard's registration holds. */
export interface Registration {
  readonly bank: { readonly id: string; readonly name: string; readonly country: string }
  /** Issuer of the bank's authorization server; its metadata is found by RFC 8414. */
  readonly authorizationServer: string
  /** Where the account information API begins; the standard's own paths follow. */
  readonly apiBase: string
  /** The bank's own app or page, where its customers go on by themselves. */
  readonly handoff?: string | undefined
  /** How long a read may take, in milliseconds. */
  readonly deadlineMs?: number | undefined
  /** The name under which the bank knows the gateway. */
  readonly clientId: string
  readonly events: { readonly issuer: string; readonly keys: { readonly keys: readonly Record<string, unknown>[] } }
}

/** What a connector works with; it reaches nothing else. */
export interface ConnectorTools {
  readonly http: OutboundHttp
  readonly clock: Clock
  readonly randomness: Randomness
  readonly log: Log
  readonly connectorId: string
  /** The private key, as a JWK, that the gateway authenticates to this bank with. */
  readonly key: Record<string, unknown>
  /** Where the bank sends the customer back. */
  readonly redirectUri: string
}

/** A bank as one customer's consent reaches it. Every method throws a `GatewayError` of category BANK, or returns. */
export interface BankInterface {
  /** Creates the bank-side consent and says where the customer signs in. */
  requestConsent(request: ConsentRequest): Promise<SignIn>
  /** Exchanges what the bank's callback brought; throws `BANK_REFUSED` where the customer or the bank said no. */
  completeSignIn(callback: URL, resume: Resume): Promise<BankAccess>
  /** New tokens from the refresh token; throws `RECONNECT_REQUIRED` where the bank has ended the consent. */
  refresh(access: BankAccess): Promise<BankAccess>
  accounts(access: BankAccess): Promise<BankAccount[]>
  balances(access: BankAccess, accountRef: string): Promise<BankBalance[]>
  /** Deletes the bank-side consent; a consent that is already gone counts as deleted. */
  revokeConsent(consentRef: string): Promise<void>
}

/** What the bank is asked to agree to, and how the customer will be known again. */
export interface ConsentRequest {
  readonly expiresAt: Date
  /** Names this sign-in in the bank's callback. */
  readonly state: string
  /** Where the customer's browser connects from; sent because the customer is present. */
  readonly customerIp: string
}

/** Where the customer goes, and what to keep until they are back. */
export interface SignIn {
  readonly url: string
  readonly resume: Resume
}

/** What must be kept, sealed, until the customer comes back. */
export interface Resume {
  readonly consentRef: string
  readonly state: string
  readonly codeVerifier: string
  readonly nonce: string
}

/** The bank-side consent and its tokens. */
export interface BankAccess {
  readonly consentRef: string
  readonly accessToken: string
  readonly refreshToken: string | null
  /** ISO 8601, UTC. */
  readonly expiresAt: string
}

/** An account as a bank states it, in our words. */
export interface BankAccount {
  /** The bank's own id. */
  readonly ref: string
  readonly type: AccountType
  readonly usage: AccountUsage
  readonly status: AccountStatus
  /** ISO 4217, or `null` where the account has none of its own. */
  readonly currency: string | null
  /** At most the last four characters of the number. */
  readonly numberEnd: string | null
  /** Made from the type, never from the bank's text. */
  readonly displayName: string
}

/** One balance as a bank states it: from the customer's side, negative when owed. */
export interface BankBalance extends Money {
  readonly type: BalanceType
  /** Whether the amount already counts a credit line; `null` where the bank does not say. */
  readonly creditLineIncluded: boolean | null
}

/** A signed event of a bank, reduced to our vocabulary; nothing else of it is kept. */
export interface BankEvent {
  readonly issuer: string
  readonly jti: string
  readonly notice:
    | {
        readonly kind: 'ALERT'
        /** The account, by every ref that this bank's id of it may stand for. */
        readonly accountRefs: readonly string[]
        readonly type: AlertType
        readonly severity: AlertSeverity
        readonly ask: AlertAsk
        readonly occurredAt: Date
      }
    | { readonly kind: 'CONSENT_REVOKED'; readonly consentRef: string }
    /** Signed and well formed, but of a type that we do not take part in. */
    | { readonly kind: 'IGNORED' }
}
