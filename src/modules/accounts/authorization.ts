import type { ErrorCode } from '../../kernel/errors.ts'
import type { RequestContext } from '../../kernel/request-context.ts'
import type { Scope } from '../../kernel/scopes.ts'
import type { Seal } from '../../storage/seal.ts'
import type { AccountAccess, SharedAccess } from '../consents/index.ts'
import { openAccount, type AccountFilter, type AuthorizedAccount } from './model.ts'

/** How much of a balance a request may see, and the access to read it with. */
export interface BalanceAuthorization {
  /** Undefined if nothing may be disclosed. */
  readonly access: AccountAccess | undefined
  /** Why it is bands and not exact balances: `null` if bands were requested, `undefined` if it is exact balances. */
  readonly fallbackCode: ErrorCode | null | undefined
}

/**
 * The most that token, consent and presence allow of a request for so much. Token and consent must both hold the scope of what
 * is disclosed; exact balances include bands.
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

/** The accounts of a customer as one client sees them, made once for as long as what is shared is cached. */
export function createAuthorization(seal: Pick<Seal, 'digest'>) {
  const accountsByShared = new WeakMap<SharedAccess, readonly AuthorizedAccount[]>()
  return {
    /** Those that a grant for `accounts:read` covers, in the order in which they are shared. */
    accountsOf(shared: SharedAccess, clientId: string, now: Date): readonly AuthorizedAccount[] {
      let rows = accountsByShared.get(shared)
      if (!rows) {
        rows = shared.accounts.flatMap((account) => {
          const grants = shared.grants.filter(({ accountIds }) => accountIds.includes(account.id))
          const publicId = `account_${seal.digest('public', 'account', clientId, account.id)}`
          const row = { publicId, account, grants }
          return openAccount(row, 'accounts:read', now) ? [row] : []
        })
        accountsByShared.set(shared, rows)
      }
      return rows
    },
  }
}

/** Whether an account matches every part of a filter that is given. */
export const matchesFilter =
  ({ bankIds, types, currencies, statuses }: AccountFilter) =>
  ({ account }: AuthorizedAccount): boolean =>
    (bankIds?.includes(account.bankId) ?? true) &&
    (types?.includes(account.type) ?? true) &&
    (!currencies || account.currencies.some((code) => currencies.includes(code))) &&
    (statuses?.includes(account.status) ?? true)
