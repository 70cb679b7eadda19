import type { CustomerScope, Purpose } from '../../kernel/scopes.ts'

/** Held by this module alone: `index.ts` exports the type of `Grant` and nothing that could make one. */
export const MINT: unique symbol = Symbol('only consents may mint a grant')

/** What a grant is minted from. */
export interface GrantData {
  readonly consentId: string
  readonly customerId: string
  readonly clientId: string
  readonly bankId: string
  readonly connectionId: string
  readonly scopes: readonly CustomerScope[]
  readonly purposes: readonly Purpose[]
  readonly accountIds: readonly string[]
  readonly grantedAt: Date
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
  readonly grantedAt: Date
  readonly expiresAt: Date
  readonly #scopes: ReadonlySet<CustomerScope>

  constructor(key: typeof MINT, data: GrantData) {
    if (key !== MINT) throw new TypeError('a grant is minted from a live consent only')
    this.consentId = data.consentId
    this.customerId = data.customerId
    this.clientId = data.clientId
    this.bankId = data.bankId
    this.connectionId = data.connectionId
    this.purposes = data.purposes
    this.accountIds = data.accountIds
    this.grantedAt = data.grantedAt
    this.expiresAt = data.expiresAt
    this.#scopes = new Set(data.scopes)
  }

  /** Whether the customer agreed to this, whatever the caller's token says. */
  allows(scope: CustomerScope): boolean {
    return this.#scopes.has(scope)
  }
}
