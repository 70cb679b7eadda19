import type { Sql } from '../../storage/database.ts'
import {
  BAND_SCOPES,
  findConsentsForAlerts,
  matchAccounts,
  matchCustomers,
  type AlertSubject,
} from './alert-access-store.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import type { Grant } from './grant.ts'
import { mintGrant } from './shared-access.ts'

/** An account that a bank's reference names. */
export interface MatchedAccount {
  /** The place of the reference in the list. */
  readonly index: number
  readonly accountId: string
  readonly customerId: string
}

/** Whether the customer agreed that the client sees the bands of balances. An alert about a line is shown only then. */
export const sharesBands = ({ scopes }: Pick<Grant, 'scopes'>): boolean =>
  BAND_SCOPES.some((scope) => scopes.includes(scope))

/** Finds who may see alerts, for many alerts in one statement. */
export function createAlertAccess({ world, seal }: Pick<ConsentsDependencies, 'world' | 'seal'>) {
  return {
    /** The accounts, of all customers, that these references of banks name. */
    matchAccounts: (
      sql: Sql,
      refs: readonly { readonly bankId: string; readonly ref: string }[],
    ): Promise<readonly MatchedAccount[]> =>
      refs.length === 0
        ? Promise.resolve([])
        : matchAccounts(
            sql,
            refs.map(({ bankId, ref }) => ({ bankId, refDigest: seal.digest('account-ref', bankId, ref) })),
          ),

    /** The customers whom these references of banks name: those who signed in with them through the connector. */
    matchCustomers: (
      sql: Sql,
      refs: readonly { readonly connectorId: string; readonly ref: string }[],
    ): Promise<readonly { readonly index: number; readonly customerId: string }[]> =>
      refs.length === 0
        ? Promise.resolve([])
        : matchCustomers(
            sql,
            refs.map(({ connectorId, ref }) => ({
              connectorId,
              customerDigest: seal.digest('bank-customer', connectorId, ref),
            })),
          ),

    /**
     * For each subject, the grants of all clients under which alerts about it are shown now, oldest first: active consents with
     * `alerts:read` that cover the account, of active clients that the bank serves. A grant covers the account of its subject only.
     * For a subject of one client, only its grants that share the balance, too.
     */
    async findGrantsForAlerts(sql: Sql, subjects: readonly AlertSubject[]): Promise<readonly (readonly Grant[])[]> {
      const grants: Grant[][] = subjects.map(() => [])
      if (subjects.length === 0) return grants
      for (const { index, consent } of await findConsentsForAlerts(sql, subjects, world.clock.now())) {
        const { accountId } = subjects[index]!
        grants[index]!.push(...mintGrant({ ...consent, accountIds: accountId === null ? [] : [accountId] }))
      }
      return grants
    },
  }
}
