import { SECOND_MS } from '../../kernel/clock.ts'
import { createLoadingCache } from '../../kernel/loading-cache.ts'
import { chain, type MaybePromise } from '../../kernel/maybe-promise.ts'
import type { CustomerCaller } from '../../kernel/request-context.ts'
import type { CustomerScope } from '../../kernel/scopes.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import { sharedKeyOf, sharedTagsOf } from './client-view.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import { CONSENTS_KEY, Grant, type AccountAccess } from './grant.ts'
import type { Consent, SharedAccess } from './model.ts'
import type { Stores } from './stores.ts'

const CACHE_OPTIONS = { maxBytes: 16_777_216, ttlMs: 30 * SECOND_MS }

/** Mints grants from ACTIVE consents. */
export function createSharedAccess({ world, signals }: ConsentsDependencies, { consents, accounts }: Stores) {
  const { clock } = world
  const cache = createLoadingCache<SharedAccess>({
    clock,
    ...CACHE_OPTIONS,
    tagsOf: (_shared, key) => sharedTagsOf(key),
    coherence: signals.coherence,
  })
  signals.onSignal((signal) => {
    if (signal.kind === 'CLIENT') cache.invalidateTag(`client/${signal.id}`)
    if ((signal.kind === 'ACCOUNTS' || signal.kind === 'CONSENT') && signal.customerId !== null)
      cache.invalidateTag(`customer/${signal.customerId}`)
  })

  return {
    /** A grant for each active consent of the caller's customer with the caller's client, and the accounts of the grants. */
    findShared(caller: CustomerCaller): MaybePromise<SharedAccess> {
      const key = sharedKeyOf(caller)
      const reloadIfExpired = (shared: SharedAccess): MaybePromise<SharedAccess> => {
        const now = clock.now()
        if (shared.grants.every(({ expiresAt }) => expiresAt > now)) return shared
        cache.invalidate(key)
        return loadShared(caller)
      }
      return chain(
        cache.get(key, () => loadShared(caller), sharedTagsOf(key)),
        reloadIfExpired,
      )
    },

    /** Access to these accounts for the scope, under each active consent of any client that covers one of them. */
    async findAccess(
      accountIds: readonly string[],
      scope: CustomerScope,
      tx?: Transaction,
    ): Promise<readonly AccountAccess[]> {
      const now = clock.now()
      const grants = (await consents.findActiveByAccounts(accountIds, scope, now, tx)).flatMap(mintGrants)
      return grants.flatMap((grant) => accountIds.flatMap((id) => grant.open(scope, id, now) ?? []))
    },
  }

  async function loadShared({ customerId, clientId }: CustomerCaller): Promise<SharedAccess> {
    const grants = (await consents.findActiveByCustomer(customerId, clientId, clock.now())).flatMap(mintGrants)
    return { grants, accounts: await accounts.findMany(grants.flatMap(({ accountIds }) => accountIds)) }
  }
}

/** The grant of a consent. Empty if the consent was never ACTIVE. */
const mintGrants = (consent: Consent & { accountIds: readonly string[] }): Grant[] =>
  consent.customerId && consent.connectionId && consent.activatedAt
    ? [
        new Grant(CONSENTS_KEY, {
          ...consent,
          consentId: consent.id,
          customerId: consent.customerId,
          connectionId: consent.connectionId,
          grantedAt: consent.activatedAt,
        }),
      ]
    : []
