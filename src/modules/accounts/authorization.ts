import type { ErrorCode } from '../../kernel/errors.ts'
import type { RequestContext } from '../../kernel/request-context.ts'
import type { Scope } from '../../kernel/scopes.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Grant, SharedAccess } from '../consents/index.ts'
import { grantFor, type AccountFilter, type AuthorizedAccount } from './model.ts'

/** What a request for balances may be given: under which grant, and how much. */
export interface BalanceAuthorization {
  /** `undefined` if nothing may be disclosed. */
  readonly grant: Grant | undefined
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
): BalanceAuthorization {
  const scopes: ReadonlySet<Scope> = caller.scopes
  const exactGrant = scopes.has('balances:exact') ? grantFor(row, 'balances:exact') : undefined
  const mayReadBands = scopes.has('balances:exact') || scopes.has('balances:band')
  const bandGrant = mayReadBands ? (grantFor(row, 'balances:band') ?? grantFor(row, 'balances:exact')) : undefined
  if (detail === 'BAND') return { grant: bandGrant, fallbackCode: null }
  if (!exactGrant) return { grant: bandGrant, fallbackCode: 'NOT_CONSENTED' }
  return { grant: exactGrant, fallbackCode: presence === 'PRESENT' ? undefined : presence }
}

/** The accounts of a customer as one client sees them, made once for as long as what is shared is cached. */
export function createAuthorization(seal: Pick<Seal, 'digest'>) {
  const accountsByShared = new WeakMap<SharedAccess, readonly AuthorizedAccount[]>()
  return {
    /** Those that a grant for `accounts:read` covers, in the order in which they are shared. */
    accountsOf(shared: SharedAccess, clientId: string): readonly AuthorizedAccount[] {
      let rows = accountsByShared.get(shared)
      if (!rows) {
        rows = shared.accounts.flatMap((account) => {
          const grants = shared.grants.filter(({ accountIds }) => accountIds.includes(account.id))
          const publicId = `account_${seal.digest('public', 'account', clientId, account.id)}`
          return grants.some((grant) => grant.allows('accounts:read')) ? [{ publicId, account, grants }] : []
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
