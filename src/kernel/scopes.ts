/** Who can hold a scope: a customer grants it, or a client, a bank partner or an administrator is registered for it. */
type ScopeHolder = 'CUSTOMER' | 'CLIENT' | 'PARTNER' | 'ADMIN'

/** What the pages that a customer reads say of a scope. */
export interface CustomerScopeText {
  /** What the platform asks for, as the object of "wants to see". */
  readonly requested: string
  readonly label: string
  /** What that means, as whole sentences. Empty if the label says it all. */
  readonly details: string
}

interface ScopeDefinition {
  readonly holder: ScopeHolder
  /** What a token with the scope authorizes, for developers and administrators. */
  readonly meaning: string
  readonly customerText?: CustomerScopeText
}

/** Every scope: who holds it, what it authorizes, and the customer's words for it. */
export const SCOPE_TABLE = {
  'accounts:read': {
    holder: 'CUSTOMER',
    meaning: 'Read the accounts that the customer shares, without balances.',
    customerText: {
      requested: 'your accounts',
      label: 'the kind and name of each account and the last digits of its number',
      details: '',
    },
  },
  'balances:threshold': {
    holder: 'CUSTOMER',
    meaning: 'Ask whether a balance is at least an amount.',
    customerText: {
      requested: 'your balances',
      label: 'Whether a balance is at least an amount',
      details: 'The answer is “at least that” or “not certain”, at most six times in any 24 hours.',
    },
  },
  'balances:band': {
    holder: 'CUSTOMER',
    meaning: 'Read balances as ranges.',
    customerText: {
      requested: 'your balances',
      label: 'Account balances, as a range',
      details: 'Such as “between 400 and 450”. Updated at most every six hours.',
    },
  },
  'balances:exact': {
    holder: 'CUSTOMER',
    meaning: 'Read exact balances while the customer is present, and otherwise ranges.',
    customerText: {
      requested: 'your balances',
      label: 'Account balances, exact, when you ask',
      details:
        'The amount itself, while you are writing to them, at most four new amounts in any 24 hours; otherwise a range. Frequent exact amounts can reveal single purchases.',
    },
  },
  'alerts:read': {
    holder: 'CUSTOMER',
    meaning: 'Read and receive the alerts of the accounts that the customer shares.',
    customerText: {
      requested: 'security alerts',
      label: 'Security alerts',
      details: 'That your bank suspects something, and what to do. Not where, with whom or how much.',
    },
  },
  'alerts:respond': {
    holder: 'CUSTOMER',
    meaning: 'Send the answers of the customer, while they are present, to alerts that the client may read.',
    customerText: {
      requested: 'security alerts',
      label: 'Your answers to security alerts',
      details: 'If you answer an alert there, they pass your answer on to your bank.',
    },
  },
  'webhooks:manage': { holder: 'CLIENT', meaning: 'Manage webhook endpoints of the client, and replay deliveries.' },
  'deliveries:read': { holder: 'CLIENT', meaning: 'Read webhook endpoints and deliveries of the client.' },
  // The names are those of Grant Management for OAuth 2.0.
  grant_management_query: { holder: 'CLIENT', meaning: 'Read grants that customers gave the client.' },
  grant_management_revoke: { holder: 'CLIENT', meaning: 'Revoke grants that customers gave the client.' },
  'connectors:manage': { holder: 'PARTNER', meaning: 'Register, certify and change connectors of the bank partner.' },
  'connectors:read': { holder: 'PARTNER', meaning: 'Read connectors of the bank partner, with their health.' },
  'alerts:publish': { holder: 'PARTNER', meaning: 'Report alerts to customers of the bank, without events.' },
  'clients:manage': { holder: 'ADMIN', meaning: 'Register, change, suspend and retire OAuth clients.' },
  'organizations:manage': { holder: 'ADMIN', meaning: 'Register and rename organizations.' },
  'banks:manage': { holder: 'ADMIN', meaning: 'Activate, suspend and retire connectors of every bank.' },
  'ledger:read': { holder: 'ADMIN', meaning: 'Read the audit log.' },
} as const satisfies Record<string, ScopeDefinition>

/** Any scope. */
export type Scope = keyof typeof SCOPE_TABLE
type ScopeOf<Holder extends ScopeHolder> = {
  [Name in Scope]: (typeof SCOPE_TABLE)[Name]['holder'] extends Holder ? Name : never
}[Scope]
/** A scope that a customer grants. */
export type CustomerScope = ScopeOf<'CUSTOMER'>
/** A scope of grant management. */
export type GrantManagementScope = Extract<Scope, `grant_management_${string}`>

/** Every scope, in the order of the table. */
export const SCOPES = Object.keys(SCOPE_TABLE) as readonly Scope[]
const scopesOf = <Holder extends ScopeHolder>(holder: Holder): readonly ScopeOf<Holder>[] =>
  SCOPES.filter((name): name is ScopeOf<Holder> => SCOPE_TABLE[name].holder === holder)

/** Scopes that a customer grants. Each authorizes fields of that customer only. */
export const CUSTOMER_SCOPES = scopesOf('CUSTOMER')
/** Scopes for what a client owns, and for the grants that customers gave it. */
export const CLIENT_SCOPES = scopesOf('CLIENT')
/** Scopes for the connectors that a bank partner owns. */
export const PARTNER_SCOPES = scopesOf('PARTNER')
/** Scopes for administration. None of them authorizes anything of a customer. */
export const ADMIN_SCOPES = scopesOf('ADMIN')

const CUSTOMER_SCOPE_SET = new Set<string>(CUSTOMER_SCOPES)
/** Whether a customer can grant the scope. */
export const isCustomerScope = (text: string): text is CustomerScope => CUSTOMER_SCOPE_SET.has(text)
/** Whether the scope exists. */
export const isScope = (text: string): text is Scope => Object.hasOwn(SCOPE_TABLE, text)

/** Why a platform may read: a closed list without advertising, profiling or resale. */
export const PURPOSES = ['ANSWER_CUSTOMER', 'FRAUD_AND_SECURITY_ALERTS', 'ACCOUNT_SERVICE'] as const
/** One of the purposes. */
export type Purpose = (typeof PURPOSES)[number]
/** Whether the purpose exists. */
export const isPurpose = (text: string): text is Purpose => (PURPOSES as readonly string[]).includes(text)
