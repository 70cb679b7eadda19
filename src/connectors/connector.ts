import type { z } from 'zod'
import type { AlertAction, AlertSeverity, AlertType } from '../kernel/alert-vocabulary.ts'
import type { AccountStatus, AccountType, AccountUsage, BalanceType } from '../kernel/bank-vocabulary.ts'
import type { Clock } from '../kernel/clock.ts'
import type { GatewayError } from '../kernel/errors.ts'
import type { Randomness } from '../kernel/ids.ts'
import type { Log } from '../kernel/log.ts'
import type { Decimal, Money } from '../kernel/money.ts'
import type { OutboundHttp } from '../kernel/outbound-http.ts'
import type { ResourceServer } from './endpoints.ts'
import type { ResponseIssue } from './response-issues.ts'
import type { UrlSchema } from './registration.ts'

/** The bank standards that Guichet speaks. */
export type StandardId = 'OBIE' | 'BERLIN_GROUP' | 'FDX' | 'CDR'

/**
 * One bank standard. A new one is a folder that exports this and a line in `index.ts`; nothing in `modules/` knows
 * which standard a bank speaks.
 */
export interface Standard<R extends Registration = Registration> {
  readonly id: StandardId
  readonly name: string
  /**
   * Parses what a bank partner registers. Each URL is declared as an `address`, the one check of all registered URLs;
   * unknown keys are refused, so that a typing error is not ignored.
   */
  registration(address: UrlSchema): z.ZodType<R>
  /** The account APIs of a registration: no endpoint of the authorization server may lie there. */
  resourceServers(registration: R): readonly ResourceServer[]
  /** True where a new consent of the same customer ends the earlier ones at the bank (Berlin Group 1.3.11, 6.3). */
  readonly newConsentReplacesPrevious: boolean
  connect(registration: R, tools: ConnectorTools): BankInterface
  /**
   * Has the gateway register itself at the bank by a software statement, and gives the name that the bank knows it by from
   * then on. Absent where the standard has no such thing.
   */
  registerDynamically?(registration: R, tools: ConnectorTools, softwareStatement: string): Promise<string>
  /** Reads what a bank delivered. Throws `EVENT_REJECTED` for anything that is not exactly right. */
  readEvent(received: ReceivedEvent, registration: R, clock: Clock): Promise<BankEvent>
}

/** What every standard's registration holds. */
export interface Registration {
  readonly bank: { readonly id: string; readonly name: string; readonly country: string }
  /** Issuer of the bank's authorization server; its metadata is found by RFC 8414. */
  readonly authorizationServer: string
  /** Further origins on which the authorization server has endpoints, or the bank its sign-in pages. */
  readonly authorizationOrigins?: readonly string[] | undefined
  /** Where the account information API begins; the standard's own paths follow. */
  readonly apiBase: string
  /** The bank's own app or page, where its customers go on by themselves. */
  readonly bankAppUrl?: string | undefined
  /** Where the bank lets itself be tested. */
  readonly testInterface?: string | undefined
  /** Whether the gateway shows its certificate on every connection. */
  readonly mutualTls?: boolean | undefined
  /** How long a read may take, in milliseconds. */
  readonly readTimeoutMs?: number | undefined
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
  /** Where the bank delivers its events, and what its tokens must be meant for. */
  readonly eventsUrl: string
  /** Tells of what in the bank's answers could not be used: a word of our own, and nothing of the bank's. */
  report(problem: ResponseIssue): void
}

/** A bank as one customer's consent reaches it. Every method throws a `GatewayError` of category BANK, or returns. */
export interface BankInterface {
  /** Creates the bank-side consent, where the standard has one, and says where the customer signs in. */
  requestConsent(request: ConsentRequest): Promise<SignIn>
  /** Exchanges what the bank's callback brought; throws `BANK_REFUSED` where the customer or the bank said no. */
  completeSignIn(callback: URL, pending: PendingSignIn): Promise<BankAccess>
  /** New tokens from the refresh token; throws `RECONNECT_REQUIRED` where the bank has ended the consent. */
  refresh(access: BankAccess): Promise<BankAccess>
  accounts(access: BankAccess, customer: PresentCustomer | null): Promise<BankAccount[]>
  balances(access: BankAccess, accountRef: string, customer: PresentCustomer | null): Promise<Balances>
  /**
   * The balances of several accounts in one look, where the bank offers that: the accounts that it told of, or why it
   * does not tell of one, and no others. Absent where there is no such look.
   */
  readonly bulkBalances?: BulkBalances | undefined
  /** Events that the bank keeps until they are asked for; absent where it only delivers them. */
  readonly pollEvents?: PollEvents | undefined
  /** Whether the bank-side consent has ended, asked by the gateway for itself; absent where only a bank's event tells. */
  readonly isConsentEnded?: ((consentRef: string) => Promise<boolean>) | undefined
  /** Ends the bank-side consent; one that is already gone counts as ended. */
  revokeConsent(consentRef: string): Promise<void>
}

/** One look at several accounts. */
export type BulkBalances = (
  access: BankAccess,
  accountRefs: readonly string[],
  customer: PresentCustomer | null,
) => Promise<ReadonlyMap<string, Balances | GatewayError>>

/** Tells a bank what became of the events that it gave before, and takes those that it gives now. */
export type PollEvents = (acknowledgements: EventAcknowledgements) => Promise<readonly PolledEvent[]>

/** Events that a bank need not keep any longer, by the names that it gave them. */
export interface EventAcknowledgements {
  readonly acknowledged: readonly string[]
  /** Not acceptable, and never will be. */
  readonly rejected: readonly string[]
}

/** An event that a bank kept: as if it had been delivered just now. */
export interface PolledEvent {
  /** The name by which the bank is told what became of it. */
  readonly id: string
  readonly event: ReceivedEvent
}

/** The customer, while they are there: banks count such a look otherwise, and must never be told so falsely. */
export interface PresentCustomer {
  /** Where their browser or app connects from. */
  readonly ip: string
  /** The `User-Agent` of the same. */
  readonly userAgent: string | null
}

/** What the bank is asked to agree to, and how the customer will be known again. */
export interface ConsentRequest {
  readonly expiresAt: Date
  /** Names this sign-in in the bank's callback. */
  readonly state: string
  /** The customer is on our pages while this is asked; nobody is, where it is only tried. */
  readonly customer: PresentCustomer
}

/** Where the customer goes, and what to keep until they are back. */
export interface SignIn {
  readonly url: string
  readonly pending: PendingSignIn
}

/** What must be kept, sealed, until the customer comes back. */
export interface PendingSignIn {
  /** The bank's id of its consent; empty where it gets one only when the customer agrees. */
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
  /** When the customer signed in, ISO 8601, UTC; some standards want it told with every look. */
  readonly signedInAt?: string | undefined
  /**
   * The bank's own identifier of the person who signed in: unique at this bank and never reassigned (OpenID Connect Core
   * 1.0, section 2, `sub`). Absent where the standard has none, or where the bank only repeats the consent's id.
   */
  readonly customerRef?: string | undefined
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
  /**
   * The account's whole number in its canonical form, the same for whatever id the bank gives the account, or `null` where
   * the bank gives none. Digested where it arrives and dropped: it is never stored, logged or shown.
   */
  readonly number: string | null
  /** The last four digits of the number. */
  readonly lastFourDigits: string | null
  /** Made from the type, never from the bank's text. */
  readonly displayName: string
}

/** What a bank said of one account's balances. */
export interface Balances {
  /** Those that can be trusted, each kind and currency once, or twice where a credit line is told apart. */
  readonly balances: readonly BankBalance[]
  /** The kinds that the bank gave in a way that cannot be right: absent, and never a made-up number. */
  readonly invalidTypes: readonly BalanceType[]
  /** The kinds, if any, that the bank gave in a currency that is not supported: absent as well. */
  readonly unsupportedTypes?: readonly BalanceType[] | undefined
}

/** One balance as a bank states it: from the customer's side, negative when owed. */
export interface BankBalance extends Money {
  readonly type: BalanceType
  /** Whether the amount already counts a credit line; `null` where the bank does not say. */
  readonly creditLineIncluded: boolean | null
  /** The whole credit line beside it, in the same currency; `null` where there is none or the bank does not say. */
  readonly creditLimit: Decimal | null
}

/** What a bank sent to the address for its events, before anybody trusts it. */
export interface ReceivedEvent {
  /** Without parameters, in lower case. */
  readonly contentType: string
  /** The names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** The address that it was sent to. */
  readonly url: string
  /** The address that the bank was given for its events: what its tokens must be meant for. */
  readonly audience: string
}

/** An event of a bank that proved to be the bank's, reduced to our vocabulary; nothing else of it is kept. */
export interface BankEvent {
  readonly issuer: string
  readonly jti: string
  readonly payload:
    | {
        readonly kind: 'ALERT'
        /** The account, by every ref that this bank's id of it may stand for. */
        readonly accountRefs: readonly string[]
        readonly type: AlertType
        readonly severity: AlertSeverity
        readonly requestedAction: AlertAction
        readonly occurredAt: Date
      }
    | { readonly kind: 'CONSENT_REVOKED'; readonly consentRef: string }
    /** Somebody says that something about it changed, and cannot prove who they are: the bank must be asked. */
    | { readonly kind: 'CONSENT_CHECK_REQUIRED'; readonly consentRef: string }
    /** Well formed and the bank's, but of a type that we do not take part in. */
    | { readonly kind: 'IGNORED' }
}
