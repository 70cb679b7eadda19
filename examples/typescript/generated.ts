/** Internal type. DO NOT USE DIRECTLY. */
type Exact<T extends { [key: string]: unknown }> = { [K in keyof T]: T[K] };
/** Internal type. DO NOT USE DIRECTLY. */
export type Incremental<T> = T | { [P in keyof T]?: P extends ' $fragmentName' | '__typename' ? T[P] : never };
/** Every code of docs/ERRORS.md. May grow. */
export type ErrorCode =
  /** The bank gives nothing about this account for now. */
  | 'ACCOUNT_UNAVAILABLE'
  /** This address may not be used. */
  | 'ADDRESS_NOT_ALLOWED'
  /** The bank gave a balance that cannot be right. */
  | 'BALANCE_INCONSISTENT'
  /** The bank gives no such balance for this account. */
  | 'BALANCE_NOT_PROVIDED'
  /** The bank returns no more about this customer today while they are not present. */
  | 'BANK_QUOTA_EXHAUSTED'
  /** The bank allows no more requests for now. */
  | 'BANK_RATE_LIMITED'
  /** The bank refused the request. */
  | 'BANK_REFUSED'
  /** The bank sent a response that cannot be trusted. */
  | 'BANK_RESPONSE_INVALID'
  /** The bank did not answer in time. */
  | 'BANK_TIMEOUT'
  /** The bank does not answer. */
  | 'BANK_UNAVAILABLE'
  /** The client is suspended. */
  | 'CLIENT_SUSPENDED'
  /** The customer has to agree again. */
  | 'CONSENT_NOT_ACTIVE'
  /** The currency is not one of the ISO 4217 currencies that an account can be held in. */
  | 'CURRENCY_NOT_SUPPORTED'
  /** Exact balances need a fresh signed statement that the customer is present. */
  | 'CUSTOMER_PRESENCE_REQUIRED'
  /** The gateway cannot reach its storage at the moment. */
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
  /** Something went wrong on our side. */
  | 'INTERNAL'
  /** The DPoP proof is not valid for this request. */
  | 'INVALID_DPOP_PROOF'
  /** A value in the request is not acceptable. */
  | 'INVALID_INPUT'
  /** The statement that the customer is present is not valid. */
  | 'INVALID_PRESENCE_STATEMENT'
  /** No client could undo this change: the last admin would lose its access. */
  | 'LAST_ADMIN'
  /** The request could not be read. */
  | 'MALFORMED_REQUEST'
  /** The method is not allowed here. */
  | 'METHOD_NOT_ALLOWED'
  /** The Accept header names none of application/graphql-response+json, application/json and text/event-stream. */
  | 'NOT_ACCEPTABLE'
  /** The customer did not agree to share this. */
  | 'NOT_CONSENTED'
  /** There is nothing at this address or under this ID. */
  | 'NOT_FOUND'
  /** This client may send registered operations only. */
  | 'OPERATION_NOT_REGISTERED'
  /** The operation holds more than is allowed, or costs too much. */
  | 'OPERATION_TOO_LARGE'
  /** An exact balance of another type of this account was disclosed in the last 24 hours. */
  | 'OTHER_BALANCE_TYPE_DISCLOSED'
  /** The gateway has too much to do at the moment. */
  | 'OVERLOADED'
  /** The request body is too large. */
  | 'PAYLOAD_TOO_LARGE'
  /** No operation is stored under this hash; send the query with it. */
  | 'PERSISTED_QUERY_NOT_FOUND'
  /** Too many requests. */
  | 'RATE_LIMITED'
  /** The customer has to connect this bank again. */
  | 'RECONNECT_REQUIRED'
  /** The state does not allow this step. */
  | 'STATE_CONFLICT'
  /** The threshold is not a multiple of its step. */
  | 'THRESHOLD_NOT_A_MULTIPLE'
  /** A valid access token is needed. */
  | 'UNAUTHENTICATED'
  /** The token does not allow this field. */
  | 'UNAUTHORIZED_FIELD_OR_TYPE'
  /** The body is not of a content type that is accepted here, in UTF-8 and without a content encoding. */
  | 'UNSUPPORTED_MEDIA_TYPE';

/** Who can resolve a problem. */
export type Party =
  /** The bank. */
  | 'BANK'
  /** The calling client. */
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
