import type { CustomerScope, Purpose } from '../../kernel/scopes.ts'

/** What the constructors below require. `index.ts` exports types only, so no other module can create a grant or an access. */
export const CONSENTS_KEY: unique symbol = Symbol('consents')

/** The contents of a grant. */
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
 * Proof of an active consent. A grant alone gives access to nothing: `open` checks scope, account and expiry, and returns the
 * access that reads require.
 */
export class Grant {
  readonly consentId: string
  readonly customerId: string
  readonly clientId: string
  readonly bankId: string
  readonly connectionId: string
  readonly purposes: readonly Purpose[]
  readonly accountIds: readonly string[]
  /** When the customer agreed. The grant gives no access to what happened before. */
  readonly grantedAt: Date
  readonly expiresAt: Date
  /** The scopes that the customer agreed to. `open` checks them. */
  readonly scopes: readonly CustomerScope[]
  readonly #scopes: ReadonlySet<CustomerScope>
  readonly #accesses = new Map<CustomerScope, ReadonlyMap<string, AccountAccess>>()

  constructor(key: typeof CONSENTS_KEY, data: GrantData) {
    assertKey(key)
    this.consentId = data.consentId
    this.customerId = data.customerId
    this.clientId = data.clientId
    this.bankId = data.bankId
    this.connectionId = data.connectionId
    this.purposes = data.purposes
    this.accountIds = data.accountIds
    this.grantedAt = data.grantedAt
    this.expiresAt = data.expiresAt
    this.scopes = data.scopes
    this.#scopes = new Set(data.scopes)
  }

  /** Access to one account. Undefined if the customer did not agree to the scope or the account, or if the consent has expired. */
  open(scope: CustomerScope, accountId: string, now: Date): AccountAccess | undefined {
    return this.#accessesFor(scope, now)?.get(accountId)
  }

  /** Access to every account of the grant. Empty if the customer did not agree to the scope, or if the consent has expired. */
  openAll(scope: CustomerScope, now: Date): readonly AccountAccess[] {
    return [...(this.#accessesFor(scope, now)?.values() ?? [])]
  }

  /** By account. Created once for each scope: a request for a long list of accounts opens each of them several times. */
  #accessesFor(scope: CustomerScope, now: Date): ReadonlyMap<string, AccountAccess> | undefined {
    if (!this.#scopes.has(scope) || this.expiresAt.getTime() <= now.getTime()) return undefined
    let accesses = this.#accesses.get(scope)
    if (!accesses) {
      const toAccess = (accountId: string) => new AccountAccess(CONSENTS_KEY, this, accountId, scope)
      accesses = new Map(this.accountIds.map((accountId) => [accountId, toAccess(accountId)]))
      this.#accesses.set(scope, accesses)
    }
    return accesses
  }
}

/**
 * The capability to use one account for one scope, as the customer agreed. Whatever reads an account, calls its bank or records
 * the read takes one. Only `open` checks expiry: open the access again in each request, and do not keep it.
 */
export class AccountAccess {
  readonly grant: Grant
  readonly accountId: string
  readonly scope: CustomerScope

  constructor(key: typeof CONSENTS_KEY, grant: Grant, accountId: string, scope: CustomerScope) {
    assertKey(key)
    this.grant = grant
    this.accountId = accountId
    this.scope = scope
  }
}

function assertKey(key: unknown): void {
  if (key !== CONSENTS_KEY) throw new TypeError('only the consents module can create this')
}
