import type { CustomerScope, Purpose } from '../../kernel/scopes.ts'

/** Held by this module alone: `index.ts` exports the type of `Grant` and nothing that could make one. */
export const MINT: unique symbol = Symbol('only consents may mint a grant')

/** What a grant is minted from. */
export interface GrantFacts {
  readonly consentId: string
  readonly customerId: string
  readonly clientId: string
  readonly bankId: string
  readonly connectionId: string
  readonly scopes: readonly CustomerScope[]
  readonly purposes: readonly Purpose[]
  readonly accountIds: readonly string[]
  readonly since: Date
  readonly expiresAt: Date
}

/**
 * The proof that a live consent stands behind a read. Whoever holds rows of a customer was given one first; it opens
 * the accounts and scopes of its own consent and no others.
 */
export class Grant {
  readonly consentId: string
  readonly customerId: string
  readonly clientId: string
  readonly bankId: string
  readonly connectionId: string
  readonly purposes: readonly Purpose[]
  readonly accountIds: readonly string[]
  /** When the customer agreed; what happened before is not opened. */
  readonly since: Date
  readonly expiresAt: Date
  readonly #scopes: ReadonlySet<CustomerScope>

  constructor(mint: typeof MINT, facts: GrantFacts) {
    if (mint !== MINT) throw new TypeError('a grant is minted from a live consent only')
    this.consentId = facts.consentId
    this.customerId = facts.customerId
    this.clientId = facts.clientId
    this.bankId = facts.bankId
    this.connectionId = facts.connectionId
    this.purposes = facts.purposes
    this.accountIds = facts.accountIds
    this.since = facts.since
    this.expiresAt = facts.expiresAt
    this.#scopes = new Set(facts.scopes)
  }

  /** Whether the customer agreed to this, whatever the caller's token says. */
  allows(scope: CustomerScope): boolean {
    return this.#scopes.has(scope)
  }
}
