import { SECOND_MS } from '../../kernel/clock.ts'
import { createLoadingCache } from '../../kernel/loading-cache.ts'
import { chain, isPromise, type MaybePromise } from '../../kernel/maybe-promise.ts'
import type { CustomerOfClient } from '../../kernel/request-context.ts'
import type { Banks } from '../banks/index.ts'
import { sharedKeyOf, sharedTagsOf } from './client-view.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import { CONSENTS_KEY, Grant } from './grant.ts'
import type { Consent, SharedAccess, SuspendedConsent } from './model.ts'
import type { Stores } from './stores.ts'

const CACHE_OPTIONS = { maxBytes: 16_777_216, ttlMs: 30 * SECOND_MS }

/** Mints grants from ACTIVE consents. */
export function createSharedAccess({ world, signals, banks }: ConsentsDependencies, { consents, accounts }: Stores) {
  const { clock } = world
  const withoutSuspended = createSuspensionFilter(banks)
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
    /**
     * A grant for each active consent of the caller's customer with the caller's client, and the accounts of the grants.
     * Whether a bank serves the client is not part of what is cached for the customer: it is checked at each call.
     */
    findShared(caller: CustomerOfClient): MaybePromise<SharedAccess> {
      const key = sharedKeyOf(caller)
      const reloadIfExpired = (shared: SharedAccess): MaybePromise<SharedAccess> => {
        const now = clock.now()
        if (shared.grants.every(({ expiresAt }) => expiresAt > now)) return shared
        cache.invalidate(key)
        return loadShared(caller)
      }
      const stored = chain(
        cache.get(key, () => loadShared(caller), sharedTagsOf(key)),
        reloadIfExpired,
      )
      return chain(stored, (shared) => withoutSuspended(shared, caller.clientId))
    },
  }

  async function loadShared({ customerId, clientId }: CustomerOfClient): Promise<SharedAccess> {
    const grants = (await consents.findActiveByCustomer(customerId, clientId, clock.now())).flatMap(mintGrant)
    return {
      grants,
      accounts: await accounts.findMany(grants.flatMap(({ accountIds }) => accountIds)),
      suspended: [],
    }
  }
}

/**
 * Returns a function that leaves out the grants, and their accounts, of banks that do not serve the client. It returns the same
 * object for the same input and the same banks, because other caches are keyed by it.
 */
function createSuspensionFilter(banks: Pick<Banks, 'servesClient'>) {
  const results = new WeakMap<SharedAccess, { readonly verdicts: readonly boolean[]; readonly shared: SharedAccess }>()

  function select(shared: SharedAccess, verdicts: readonly boolean[]): SharedAccess {
    if (!verdicts.includes(false)) return shared
    const earlier = results.get(shared)
    if (earlier?.verdicts.every((verdict, index) => verdict === verdicts[index])) return earlier.shared
    const grants = shared.grants.filter((_grant, index) => verdicts[index])
    const sharedIds = new Set(grants.flatMap(({ accountIds }) => accountIds))
    const selected: SharedAccess = {
      grants,
      accounts: shared.accounts.filter(({ id }) => sharedIds.has(id)),
      suspended: shared.grants.filter((_grant, index) => !verdicts[index]).map(toSuspended),
    }
    results.set(shared, { verdicts, shared: selected })
    return selected
  }

  return (shared: SharedAccess, clientId: string): MaybePromise<SharedAccess> => {
    const verdicts = shared.grants.map(({ bankId }) => banks.servesClient(bankId, clientId))
    return verdicts.some(isPromise)
      ? Promise.all(verdicts.map((verdict) => Promise.resolve(verdict))).then((settled) => select(shared, settled))
      : select(shared, verdicts as readonly boolean[])
  }
}

const toSuspended = ({ consentId, bankId, purposes, scopes }: Grant): SuspendedConsent => ({
  consentId,
  bankId,
  purposes,
  scopes,
})

/** The grant of a consent. Empty if the consent was never ACTIVE. */
export const mintGrant = (consent: Consent & { accountIds: readonly string[] }): Grant[] =>
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
