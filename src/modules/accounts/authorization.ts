import type { ErrorCode } from '../../kernel/errors.ts'
import type { RequestContext } from '../../kernel/request-context.ts'
import type { Scope } from '../../kernel/scopes.ts'
import type { Seal } from '../../storage/seal.ts'
import { publicAccountIdOf, type AccountAccess, type SharedAccess } from '../consents/index.ts'
import { openAccount, type AccountFilter, type AuthorizedAccount } from './model.ts'

/** How much of a balance a request may see, with the access to read it. */
export interface BalanceAuthorization {
  /** Undefined if nothing may be disclosed. */
  readonly access: AccountAccess | undefined
  /** Why bands are disclosed in place of exact balances: `null` if bands were requested, `undefined` for exact balances. */
  readonly fallbackCode: ErrorCode | null | undefined
}

/**
 * Decides how much of a balance is disclosed: the most that token, consent and presence allow, but not more than `detail`. Token
 * and consent must both have the scope for it. The scope for exact balances includes bands.
 */
export function authorizeBalances(
  row: AuthorizedAccount,
  detail: 'EXACT' | 'BAND',
  { caller, presence }: RequestContext,
  now: Date,
): BalanceAuthorization {
  const scopes: ReadonlySet<Scope> = caller.scopes
  const exactAccess = scopes.has('balances:exact') ? openAccount(row, 'balances:exact', now) : undefined
  if (detail === 'EXACT' && exactAccess)
    return { access: exactAccess, fallbackCode: presence === 'PRESENT' ? undefined : presence }
  const mayReadBands = scopes.has('balances:exact') || scopes.has('balances:band')
  const bandAccess = mayReadBands
    ? (openAccount(row, 'balances:band', now) ?? openAccount(row, 'balances:exact', now))
    : undefined
  return { access: bandAccess, fallbackCode: detail === 'BAND' ? null : 'NOT_CONSENTED' }
}

/** Derives the accounts of a customer as one client sees them, once for each cached `SharedAccess`. */
export function createAuthorization(seal: Pick<Seal, 'digest'>) {
  const accountsByShared = new WeakMap<SharedAccess, readonly AuthorizedAccount[]>()
  return {
    /** The accounts that a grant with `accounts:read` covers, in the order of `shared`. */
    accountsOf(shared: SharedAccess, clientId: string, now: Date): readonly AuthorizedAccount[] {
      let rows = accountsByShared.get(shared)
      if (!rows) {
        rows = shared.accounts.flatMap((account) => {
          const grants = shared.grants.filter(({ accountIds }) => accountIds.includes(account.id))
          const publicId = publicAccountIdOf(seal, clientId, account.id)
          const row = { publicId, account, grants }
          return openAccount(row, 'accounts:read', now) ? [row] : []
        })
        accountsByShared.set(shared, rows)
      }
      return rows
    },
  }
}

/** Whether an account matches every given condition of a filter. */
export const matchesFilter =
  ({ bankIds, types, currencies, statuses }: AccountFilter) =>
  ({ account }: AuthorizedAccount): boolean =>
    (bankIds?.includes(account.bankId) ?? true) &&
    (types?.includes(account.type) ?? true) &&
    (!currencies || account.currencies.some((code) => currencies.includes(code))) &&
    (statuses?.includes(account.status) ?? true)
