import { SECOND_MS } from '../../kernel/clock.ts'
import { faultAt } from '../../kernel/input-faults.ts'
import { createLoadingCache } from '../../kernel/loading-cache.ts'
import { chain, type MaybePromise } from '../../kernel/maybe-promise.ts'
import { connectionFromStore, type Connection, type PageArguments } from '../../kernel/pagination.ts'
import type { Caller } from '../../kernel/request-context.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import {
  isActive,
  type Consent,
  type ConsentFilter,
  type ConsentOwner,
  type ConsentPosition,
  type ConsentStatus,
  type Receipt,
} from './model.ts'
import type { Stores } from './stores.ts'

const CACHE_OPTIONS = { maxBytes: 16_777_216, ttlMs: 30 * SECOND_MS }
/** Filters that are lists of IDs. */
const ID_FILTERS = ['bankIds', 'customerIds', 'grantIds'] as const
const MAX_FILTER_IDS = 50

/** Whether the filter tells ACTIVE and SUSPENDED consents apart, which are stored alike. */
const dependsOnSuspension = ({ statuses, expiringBefore }: ConsentFilter): boolean =>
  expiringBefore !== undefined || (statuses?.some((status) => status === 'ACTIVE' || status === 'SUSPENDED') ?? false)

/** Finds consents and their receipts. */
export function createConsentLookup({ world, signals, banks }: ConsentsDependencies, { consents, receipts }: Stores) {
  const byGrantCache = createLoadingCache<Consent | null>({
    clock: world.clock,
    ...CACHE_OPTIONS,
    tagsOf: (consent) => (consent ? [consent.id] : []),
    coherence: signals.coherence,
  })
  signals.onSignal((signal) => {
    if (signal.kind === 'CONSENT') byGrantCache.invalidateTag(signal.id)
  })

  return {
    find: (id: string): Promise<Consent | null> => consents.find(id),

    /** The consent with this ID. Null if there is none or the caller may not see it. */
    async findForCaller(caller: Caller, id: string): Promise<Consent | null> {
      const consent = await consents.find(id)
      if (caller.kind === 'ANONYMOUS' || consent?.clientId !== caller.clientId) return null
      return caller.kind === 'CUSTOMER' && consent.customerId !== caller.customerId ? null : consent
    },

    /** The consents of a customer, with one client or with all, newest first. */
    findByCustomer: (customerId: string, clientId?: string): Promise<Consent[]> =>
      consents.findByCustomer(customerId, clientId),

    /** The status of a stored consent now: SUSPENDED if it is ACTIVE and its bank does not serve the client. */
    statusOf: ({ status, bankId, clientId }: Consent): MaybePromise<ConsentStatus> =>
      status === 'ACTIVE'
        ? chain(banks.servesClient(bankId, clientId), (isServed) => (isServed ? status : 'SUSPENDED'))
        : status,

    /** The receipts of a consent, oldest first. */
    receipts: (consentId: string): Promise<Receipt[]> => receipts.findByConsent(consentId),

    /** The consent of a grant of the authorization server. Null if it is not ACTIVE or has expired. */
    async findActiveByOauthGrant(oauthGrantId: string): Promise<Consent | null> {
      const consent = await byGrantCache.get(oauthGrantId, () => consents.findByOauthGrant(oauthGrantId))
      return consent && isActive(consent, world.clock.now()) ? consent : null
    },

    /** Whether the consent of a grant of the authorization server is ACTIVE. Reads the database. */
    isGranted: async (oauthGrantId: string): Promise<boolean> =>
      (await consents.findByOauthGrant(oauthGrantId))?.status === 'ACTIVE',

    /**
     * Consents of a client, or of one customer with it, newest first. Each list of IDs in `filter` may have 50 items. Throws
     * `INVALID_INPUT` with every fault of `page` and `filter`.
     */
    list: (owner: ConsentOwner, filter: ConsentFilter, page: PageArguments): Promise<Connection<Consent>> =>
      connectionFromStore<Consent, ConsentPosition>(page, {
        idOf: ({ id }) => id,
        findCursor: (cursor) => findPosition(owner, cursor),
        async read({ after = null, before = null, ...slice }) {
          const notServingBankIds = dependsOnSuspension(filter) ? await banks.bankIdsNotServing(owner.clientId) : []
          return consents.findPage({ owner, filter, notServingBankIds, after, before, ...slice })
        },
        otherFaults: ID_FILTERS.filter((name) => (filter[name]?.length ?? 0) > MAX_FILTER_IDS).map((name) =>
          faultAt(['filter', name], `must have at most ${MAX_FILTER_IDS} items`),
        ),
      }),
  }

  /** The position that a cursor names. Null if the consent is not in the owner's list. */
  async function findPosition({ clientId, customerId }: ConsentOwner, cursor: string): Promise<ConsentPosition | null> {
    const consent = await consents.find(cursor)
    const isOwn = consent?.clientId === clientId && (customerId === undefined || consent.customerId === customerId)
    return isOwn ? consent : null
  }
}
