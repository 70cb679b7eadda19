import type { z } from 'zod'
import type { AccountStatus, AccountType, AccountUsage, BalanceType } from '../kernel/bank-vocabulary.ts'
import type { Clock } from '../kernel/clock.ts'
import type { GatewayError } from '../kernel/errors.ts'
import type { Randomness } from '../kernel/ids.ts'
import type { Log } from '../kernel/log.ts'
import type { Decimal, Money } from '../kernel/money.ts'
import type { OutboundHttp } from '../kernel/outbound-http.ts'
import type { BankAccess, PresentCustomer } from './access.ts'
import type { AlertResponseRules, SendAlertResponse } from './alert-response-rules.ts'
import type { BankEvent, EventTools, ReceivedEvent } from './bank-event.ts'
import type { ResourceServer } from './endpoints.ts'
import type { EventSender } from './event-rules.ts'
import type { ResponseIssue } from './response-issues.ts'
import type { GatewayCredentials } from './credentials.ts'
import type { OauthProfile, StatedOauthProfile } from './oauth-profile.ts'
import type { OpenSignInStep, PendingSignIn, SignInField, SignInInput, SignInKind, SignInStep } from './sign-in.ts'
import type { EventStreamControl } from './stream-status.ts'
import type { UrlSchema } from './url-schema.ts'

export type { BankAccess, PresentCustomer } from './access.ts'

/** The bank standards that Guichet supports. */
export type StandardId = 'OBIE' | 'BERLIN_GROUP' | 'FDX' | 'CDR'

/**
 * One bank standard. A new standard is a folder that exports this and one line in `index.ts`; `modules/` does not depend on
 * which standard a bank uses.
 */
export interface Standard<R extends Registration = Registration> {
  readonly id: StandardId
  readonly name: string
  /**
   * The schema of a bank partner's registration. Every URL in it uses `urlSchema`, the shared check of registered URLs.
   * Unknown keys are rejected, so that a typo is reported.
   */
  registration(urlSchema: UrlSchema): z.ZodType<R>
  /** The contradictions between members of a registration that only this standard has. */
  registrationFaults?(registration: R, oauth: OauthProfile): readonly RegistrationFault[]
  /** The account APIs of a registration. No endpoint of the authorization server may be below them. */
  resourceServers(registration: R): readonly ResourceServer[]
  /** What the gateway sends to the account APIs, for the preview of a registration. */
  describe(registration: R): ApiDescription
  /** How the standard uses OAuth if the registration states nothing else. */
  readonly oauthDefaults: OauthProfile
  /** Whether a new consent of a customer ends the earlier ones at the bank (Berlin Group 1.3.11, 6.3). */
  readonly newConsentReplacesPrevious: boolean
  connect(registration: R, tools: ConnectorTools): BankInterface
  /**
   * Registers the gateway at the bank with a software statement (RFC 7591). Absent if the standard has no dynamic registration.
   */
  registerDynamically?(registration: R, tools: ConnectorTools, softwareStatement: string): Promise<IssuedClient>
  /**
   * Verifies and reads an event of the bank. Throws `EVENT_REJECTED` if any check fails, and `BANK_UNAVAILABLE` if the bank's keys
   * cannot be had now.
   */
  readEvent(received: ReceivedEvent, registration: R, tools: EventTools): Promise<BankEvent>
  /** The refs of all accounts that the bank's account id in an alert can refer to. By default, the id is the ref. */
  readonly toAccountRefs?: ((accountId: string) => readonly string[]) | undefined
  /** The bank's account id of a ref. Undefined if the bank gave none. By default, the ref is the id. */
  readonly toAccountId?: ((ref: string) => string | undefined) | undefined
}

/** What a bank issues to the gateway in response to a registration request (RFC 7591, 3.2.1). */
export interface IssuedClient {
  readonly clientId: string
  /** Only if the gateway authenticates with a secret, and the bank issued one. */
  readonly clientSecret?: string | undefined
}

/** A contradiction between members of a registration. */
export interface RegistrationFault {
  readonly path: readonly string[]
  /** Continues the name of the member. */
  readonly message: string
  readonly code?: 'ADDRESS_NOT_ALLOWED'
}

/** What the gateway sends to a bank's account APIs. */
export interface ApiDescription {
  /** The data that the gateway asks the customer to share, in the standard's own terms. */
  readonly requestedData: readonly string[]
  /** The header names of each operation that can be used, besides those of the content. */
  readonly headers: Readonly<Record<string, readonly string[]>>
  /** The names in the query of every request that only this bank has. */
  readonly query?: readonly string[]
  /** Whether the gateway gets tokens of its own. Absent means that it does. */
  readonly usesClientToken?: boolean
  /** Whether the customer's tokens come from the authorization server. Absent means that they do. */
  readonly usesCustomerTokens?: boolean
  /** How the customer agrees. Absent means by OAuth. */
  readonly signInKind?: SignInKind
  /** What the gateway's own pages ask the customer. */
  readonly questions?: readonly SignInField['name'][]
  /** The member of the metadata with the endpoint that ends a consent, if that is no operation of the account API. */
  readonly consentEndEndpoint?: 'revocation_endpoint' | 'cdr_arrangement_revocation_endpoint'
}

/** The members that every standard's registration has. */
export interface Registration {
  readonly bank: { readonly id: string; readonly name: string; readonly country: string }
  /** Issuer of the bank's authorization server; its metadata is discovered (RFC 8414). Absent if the bank is used without OAuth. */
  readonly authorizationServer?: string | undefined
  /** Further origins of the authorization server's endpoints or the bank's sign-in pages. */
  readonly authorizationOrigins?: readonly string[] | undefined
  /** Base URL of the account information API; the standard's paths are appended. */
  readonly apiBase: string
  /** The bank's own app or web page, to which customers are referred. */
  readonly bankAppUrl?: string | undefined
  /** Base URL of the bank's test interface (docs/ADD-A-BANK.md). */
  readonly testInterface?: string | undefined
  /** Whether the gateway presents its client certificate on every connection (RFC 8705). */
  readonly mutualTls?: boolean | undefined
  /** Which certificates the gateway needs for this bank. */
  readonly certificates?: CertificateRules | undefined
  /** Certificate authorities of a scheme, in PEM, that are trusted for this bank besides the public ones. */
  readonly trustAnchors?: readonly string[] | undefined
  /** How this bank differs from the standard's use of OAuth. */
  readonly oauth?: StatedOauthProfile | undefined
  /** The deadline of a read, in milliseconds. */
  readonly readTimeoutMs?: number | undefined
  /** The gateway's OAuth client id at the bank. Absent until there is one. */
  readonly clientId?: string | undefined
  /** The sender of the bank's events. Absent if it sends none. */
  readonly events?: EventSender | undefined
  /** Where the bank receives its customers' answers to alerts. Absent if it takes none. */
  readonly alertResponses?: AlertResponseRules | undefined
}

/** Who issues the gateway's certificates for a bank. */
export interface CertificateRules {
  /** The certificate of mutual TLS: made and signed by the gateway, or issued by an authority (OBWAC, QWAC, CDR CA). */
  readonly transport?: 'SELF_SIGNED' | 'ISSUED' | undefined
  /** The certificate of the signing key: none, or issued by an authority (OBSeal, QSealC). */
  readonly signing?: 'NONE' | 'ISSUED' | undefined
  /** Whether the client id is the `organizationIdentifier` of the transport certificate (ETSI TS 119 495). */
  readonly identifyClient?: boolean | undefined
}

/** The dependencies of a connector. It has no other access to the network, the clock, randomness or the log. */
export interface ConnectorTools {
  readonly http: OutboundHttp
  readonly clock: Clock
  readonly randomness: Randomness
  readonly log: Log
  readonly connectorId: string
  /** The keys, certificates and secrets with which the gateway authenticates to this bank. */
  readonly credentials: GatewayCredentials
  /** The redirect URI to which the bank returns the customer. */
  readonly redirectUri: string
  /** The deadline of a read, in milliseconds. No request for a read is given up earlier because of a default. */
  readonly readTimeoutMs?: number | undefined
  /** The URL to which the bank delivers events; also the audience of its event tokens. */
  readonly eventsUrl: string
  /** The gateway's issuer: that of the tokens that it sends to the bank. */
  readonly issuer: string
  /** Reports a part of the bank's response that cannot be used. An issue never contains data of the bank. */
  report(issue: ResponseIssue): void
}

/** Absent if the bank has no stream control. */
type OptionalStreamControl = { readonly [M in keyof EventStreamControl]?: EventStreamControl[M] | undefined }

/** The operations of a bank. Every method throws only a `GatewayError` of category BANK. */
export interface BankInterface extends OptionalStreamControl {
  /** Begins a sign-in: creates the bank-side consent, if the standard has one and nothing must be asked before. */
  requestConsent(request: ConsentRequest): Promise<OpenSignInStep>
  /**
   * Continues a sign-in, once for each step, until it is COMPLETE. Throws `BANK_REFUSED` if the customer or the bank refused, or if
   * the bank took too long.
   */
  continueSignIn(input: SignInInput, pending: PendingSignIn): Promise<SignInStep>
  /** Gets new tokens with the refresh token. Throws `RECONNECT_REQUIRED` if the bank has ended the consent. */
  refresh(access: BankAccess): Promise<BankAccess>
  /**
   * The accounts that the customer shares, each once. An account that is missing is not known to be closed or unshared: the bank's
   * list may be partial, which is reported.
   */
  accounts(access: BankAccess, customer: PresentCustomer | null): Promise<BankAccount[]>
  balances(access: BankAccess, accountRef: string, customer: PresentCustomer | null): Promise<Balances>
  /**
   * Fetches the balances of several accounts in one request. The result has only requested accounts that the bank
   * returned, each with its balances or an error. Absent if the bank has no bulk endpoint.
   */
  readonly bulkBalances?: BulkBalances | undefined
  /** Polls the events that the bank queues. Absent if the bank only pushes events. */
  readonly pollEvents?: PollEvents | undefined
  /** Sends a customer's answer to an alert. Absent if the bank takes none. */
  readonly sendAlertResponse?: SendAlertResponse | undefined
  /** Checks with the bank, with the gateway's own token, whether the consent has ended. Absent if the bank has no such call. */
  readonly isConsentEnded?: ((consentRef: string) => Promise<boolean>) | undefined
  /** Ends the bank-side consent. Succeeds if it has already ended. */
  revokeConsent(consent: EndedConsent): Promise<void>
}

/** A bank-side consent to end, with its tokens if there are any: some banks end a consent by its token. */
export type EndedConsent = Pick<BankAccess, 'consentRef'> & Partial<BankAccess>

/** Fetches the balances of several accounts in one request. */
export type BulkBalances = (
  access: BankAccess,
  accountRefs: readonly string[],
  customer: PresentCustomer | null,
) => Promise<ReadonlyMap<string, Balances | GatewayError>>

/** Acknowledges the events of the previous poll and returns the next ones. */
export type PollEvents = (acknowledgements: EventAcknowledgements) => Promise<readonly PolledEvent[]>

/** The ids of events that the bank can remove from its queue. */
export interface EventAcknowledgements {
  readonly acknowledged: readonly string[]
  /** Events that are invalid and must not be sent again. */
  readonly rejected: readonly RejectedEvent[]
}

/** An event that must not be sent again. */
export interface RejectedEvent {
  readonly id: string
  readonly err: EventErrorCode
}

/** Why an event is rejected: the codes of RFC 8935, 2.4, and of the Shared Signals Framework 1.0 ("IANA Considerations"). */
export type EventErrorCode = 'invalid_request' | 'invalid_state'

/** A queued event, in the same form as a pushed one. */
export interface PolledEvent {
  /** The bank's id, used in the acknowledgement. */
  readonly id: string
  readonly event: ReceivedEvent
}

/** The parameters of a new consent and of its sign-in. */
export interface ConsentRequest {
  readonly expiresAt: Date
  /** Identifies this sign-in in the bank's callback. */
  readonly state: string
  /** The customer on the consent pages. In a certification run nobody is present. */
  readonly customer: PresentCustomer
}

/** An account of a bank, mapped to the domain. */
export interface BankAccount {
  /** The bank's own id. */
  readonly ref: string
  readonly type: AccountType
  readonly usage: AccountUsage
  readonly status: AccountStatus
  /** ISO 4217; `null` if the account has no single, supported currency. */
  readonly currency: string | null
  /**
   * The full account number in canonical form, which stays the same if the bank changes the account's id; `null` if the bank
   * does not state it. Only its digest is stored: the number itself is never stored, logged or shown.
   */
  readonly number: string | null
  /** The last four digits of the number; `null` if unknown. */
  readonly lastFourDigits: string | null
  /** Derived from the type, never from the bank's text. */
  readonly displayName: string
}

/** The balances that a bank returned for one account. */
export interface Balances {
  /** The valid balances, at most one per type, currency and `creditLineIncluded`. */
  readonly balances: readonly BankBalance[]
  /** The types whose value is invalid or contradictory; they are missing from `balances`. */
  readonly invalidTypes: readonly BalanceType[]
  /** The types whose currency is not supported; they are missing from `balances`. */
  readonly unsupportedTypes?: readonly BalanceType[] | undefined
  /** Whether the bank's list could not be read to its end, so that a balance that is missing here may exist. */
  readonly isPartial?: boolean | undefined
}

/** One balance of a bank, from the customer's side: negative when owed. */
export interface BankBalance extends Money {
  readonly type: BalanceType
  /** Whether the amount includes a credit line; `null` if the bank does not say. */
  readonly creditLineIncluded: boolean | null
  /** The total credit line, in the same currency; `null` if there is none or the bank does not say. */
  readonly creditLimit: Decimal | null
}
