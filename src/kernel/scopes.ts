/** What a customer may agree to share; each opens fields of that customer only. */
export const CUSTOMER_SCOPES = [
  'accounts:read',
  'balances:threshold',
  'balances:band',
  'balances:exact',
  'alerts:read',
  'alerts:respond',
] as const

/** What a client needs to read and to end what customers granted it, by the names of Grant Management for OAuth 2.0. */
export const GRANT_MANAGEMENT_SCOPES = ['grant_management_query', 'grant_management_revoke'] as const

/** What opens a client's own things. */
export const CLIENT_SCOPES = ['webhooks:manage', 'deliveries:read', ...GRANT_MANAGEMENT_SCOPES] as const

/** What opens a bank partner's own banks and connectors. */
export const PARTNER_SCOPES = ['connectors:manage', 'connectors:read', 'alerts:publish'] as const

/** What opens administration. None of these opens anything of a customer. */
export const ADMIN_SCOPES = [
  'clients:manage',
  'platforms:manage',
  'banks:manage',
  'ledger:read',
  'ledger:verify',
] as const

/** A scope that a customer agrees to. */
export type CustomerScope = (typeof CUSTOMER_SCOPES)[number]
/** A scope of grant management. */
export type GrantManagementScope = (typeof GRANT_MANAGEMENT_SCOPES)[number]
/** Any scope. */
export type Scope =
  CustomerScope | (typeof CLIENT_SCOPES)[number] | (typeof PARTNER_SCOPES)[number] | (typeof ADMIN_SCOPES)[number]

const CUSTOMER_SCOPE_SET = new Set<string>(CUSTOMER_SCOPES)
/** Every scope that there is. */
export const SCOPES: readonly Scope[] = [...CUSTOMER_SCOPES, ...CLIENT_SCOPES, ...PARTNER_SCOPES, ...ADMIN_SCOPES]
const SCOPE_SET = new Set<string>(SCOPES)

/** Whether the scope is a customer's to give. */
export const isCustomerScope = (text: string): text is CustomerScope => CUSTOMER_SCOPE_SET.has(text)
/** Whether the scope exists. */
export const isScope = (text: string): text is Scope => SCOPE_SET.has(text)

/** Why a platform may read: a closed list, in which advertising or profiling cannot be said. */
export const PURPOSES = ['ANSWER_CUSTOMER', 'FRAUD_AND_SECURITY_ALERTS', 'ACCOUNT_SERVICE'] as const
/** One of the purposes. */
export type Purpose = (typeof PURPOSES)[number]
/** Whether the purpose can be said. */
export const isPurpose = (text: string): text is Purpose => (PURPOSES as readonly string[]).includes(text)
