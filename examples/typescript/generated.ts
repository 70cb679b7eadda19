/** Internal type. DO NOT USE DIRECTLY. */
type Exact<T extends { [key: string]: unknown }> = { [K in keyof T]: T[K] };
/** Internal type. DO NOT USE DIRECTLY. */
export type Incremental<T> = T | { [P in keyof T]?: P extends ' $fragmentName' | '__typename' ? T[P] : never };
/** The error codes of docs/ERRORS.md. New values may be added. */
export type ErrorCode =
  /** The bank does not provide this account at the moment. */
  | 'ACCOUNT_UNAVAILABLE'
  /** This address may not be used. */
  | 'ADDRESS_NOT_ALLOWED'
  /** The bank sent a balance that contradicts itself. */
  | 'BALANCE_INCONSISTENT'
  /** An account can have two lines and one change of them in 24 hours, over all clients. */
  | 'BALANCE_LINE_LIMIT_REACHED'
  /** The bank does not provide this balance for this account. */
  | 'BALANCE_NOT_PROVIDED'
  /** The bank allows no more requests for this customer today while they are not present. */
  | 'BANK_QUOTA_EXHAUSTED'
  /** The bank allows no more requests for now. */
  | 'BANK_RATE_LIMITED'
  /** The bank refused the request. */
  | 'BANK_REFUSED'
  /** The bank sent an invalid response. */
  | 'BANK_RESPONSE_INVALID'
  /** The bank did not respond in time. */
  | 'BANK_TIMEOUT'
  /** The bank does not respond. */
  | 'BANK_UNAVAILABLE'
  /** This client is suspended. Its tokens work again when an admin of the gateway resumes it. */
  | 'CLIENT_SUSPENDED'
  /** The consent is not active. The customer has to consent again. Reserved: not returned yet. */
  | 'CONSENT_NOT_ACTIVE'
  /** The balance is in a currency that is not supported: no ISO 4217 currency that an account can be held in. */
  | 'CURRENCY_NOT_SUPPORTED'
  /** The request needs a signed statement, at most 60 s old, that the customer is present. */
  | 'CUSTOMER_PRESENCE_REQUIRED'
  /** The gateway cannot reach its database at the moment. */
  | 'DATABASE_UNAVAILABLE'
  /** The limit of this account for the last 24 hours, over all clients, is used up. */
  | 'DISCLOSURE_BUDGET_EXHAUSTED'
  /** The event could not be accepted. */
  | 'EVENT_REJECTED'
  /** This caller may not do that. */
  | 'FORBIDDEN'
  /** The key was used with another input. */
  | 'IDEMPOTENCY_KEY_REUSED'
  /** This page is no longer valid. Please start again. */
  | 'INTERACTION_EXPIRED'
  /** The gateway failed. */
  | 'INTERNAL'
  /** The DPoP proof is not valid for this request. */
  | 'INVALID_DPOP_PROOF'
  /** The request has an invalid value. */
  | 'INVALID_INPUT'
  /** The statement that the customer is present is not valid. */
  | 'INVALID_PRESENCE_STATEMENT'
  /** After this change, no client could administer the gateway. An administering client is ACTIVE, holds clients:manage, has operationPolicy ANY and at least 1000 points per minute, and has authenticated with one of its keys. To replace a key, authenticate with the new key first, then remove the old one. Otherwise, first register or resume another administering client. */
  | 'LAST_ADMIN'
  /** The request could not be read. */
  | 'MALFORMED_REQUEST'
  /** The method is not allowed here. */
  | 'METHOD_NOT_ALLOWED'
  /** The Accept header names none of application/graphql-response+json, application/json and text/event-stream. */
  | 'NOT_ACCEPTABLE'
  /** The customer did not consent to share this. */
  | 'NOT_CONSENTED'
  /** Not found, or not visible to the caller. */
  | 'NOT_FOUND'
  /** This client may send registered operations only. */
  | 'OPERATION_NOT_REGISTERED'
  /** The operation exceeds a limit, or costs too much. */
  | 'OPERATION_TOO_LARGE'
  /** Another balance type of this account was disclosed in the last 24 hours. */
  | 'OTHER_BALANCE_TYPE_DISCLOSED'
  /** The gateway is overloaded at the moment. */
  | 'OVERLOADED'
  /** The request body is too large. */
  | 'PAYLOAD_TOO_LARGE'
  /** PersistedQueryNotFound */
  | 'PERSISTED_QUERY_NOT_FOUND'
  /** The bank does not serve this platform. */
  | 'PLATFORM_NOT_ALLOWED'
  /** Too many requests. */
  | 'RATE_LIMITED'
  /** The customer has to connect this bank again. */
  | 'RECONNECT_REQUIRED'
  /** The status of the object does not allow this. */
  | 'STATE_CONFLICT'
  /** The amount is not a multiple of the step. */
  | 'THRESHOLD_NOT_A_MULTIPLE'
  /** A valid access token is needed. */
  | 'UNAUTHENTICATED'
  /** The token does not authorize this field. */
  | 'UNAUTHORIZED_FIELD_OR_TYPE'
  /** The body is not of a content type that is accepted here, in UTF-8 and without a content encoding. */
  | 'UNSUPPORTED_MEDIA_TYPE';

/** Who can resolve a problem or grant access. */
export type Party =
  /** The bank. */
  | 'BANK'
  /** The calling client, or its developers. */
  | 'CLIENT'
  /** The customer. */
  | 'CUSTOMER'
  /** The operator of the gateway. */
  | 'OPERATOR';

export type BalancesQueryVariables = Exact<{
  first: number;
}>;


export type BalancesQuery = { readonly customer: { readonly id: string, readonly accounts: { readonly nodes: ReadonlyArray<{ readonly id: string, readonly displayName: string, readonly maskedNumber: string | null, readonly bank: { readonly name: string }, readonly balances: ReadonlyArray<
          | { readonly __typename: 'BalanceBand', readonly lowerBound: { readonly amount: string, readonly currency: string }, readonly upperBound: { readonly amount: string, readonly currency: string }, readonly fallbackReason: { readonly code: ErrorCode } | null }
          | { readonly __typename: 'BalanceUnavailable', readonly currency: string | null, readonly reason: { readonly code: ErrorCode, readonly resolvableBy: Party, readonly retryAt: string | null } }
          | { readonly __typename: 'ExactBalance', readonly asOf: string, readonly value: { readonly amount: string, readonly currency: string }, readonly budget: { readonly remaining: number } }
        > | null }> } | null } | null };

export type AmountFragment = { readonly amount: string, readonly currency: string };
