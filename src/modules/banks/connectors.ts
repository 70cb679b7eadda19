import { STANDARDS } from '../../connectors/index.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { createLoadingCache, type LoadingCacheOptions } from '../../kernel/loading-cache.ts'
import { chain, type MaybePromise } from '../../kernel/maybe-promise.ts'
import { connectionByTime, type Connection, type PageArguments } from '../../kernel/pagination.ts'
import type { Signals } from '../../storage/signals.ts'
import { DEFAULT_READ_DEADLINE_MS, readDeadlineMsOf, type Bank, type Connector, type ConnectorFilter } from './model.ts'
import type { BankStore } from './store.ts'

/** Finds banks and their connectors. */
export type Connectors = ReturnType<typeof createConnectors>

/** Creates the lookups. What they cache is dropped when a bank changes in any process. */
export function createConnectors(store: BankStore, signals: Signals, cacheOptions: LoadingCacheOptions<unknown>) {
  const bankCache = createLoadingCache<Bank | null>(cacheOptions)
  const activeConnectorsCache = createLoadingCache<readonly Connector[]>(cacheOptions)
  const connectorCache = createLoadingCache<Connector>({ ...cacheOptions, tagsOf: ({ bankId }) => [bankId] })
  signals.onSignal((signal) => {
    if (signal.kind !== 'BANK') return
    activeConnectorsCache.invalidate(signal.id)
    connectorCache.invalidateTag(signal.id)
  })

  const findAllActive = (bankId: string): MaybePromise<readonly Connector[]> =>
    activeConnectorsCache.get(bankId, () => store.connectors({ bankId, status: 'ACTIVE' }))

  /** The newest one: a partner replaces an interface by activating a further connector beside the one in use. */
  const findActive = (bankId: string): MaybePromise<Connector | null> =>
    chain(findAllActive(bankId), (active) => active.at(-1) ?? null)

  async function requireConnector(id: string): Promise<Connector> {
    const connector = await store.connector(id)
    if (!connector) throw new GatewayError('NOT_FOUND')
    return connector
  }

  return {
    /** The connector as it is stored now. Throws `NOT_FOUND`. */
    requireConnector,

    /** The connector, which can be cached. Throws `NOT_FOUND`. */
    requireCached: (id: string): MaybePromise<Connector> => connectorCache.get(id, () => requireConnector(id)),

    findBank: (id: string): Promise<Bank | null> => store.bank(id),
    findBanks: (ids: readonly string[]): Promise<Bank[]> => store.banks(ids),

    /** The bank with an ID from a foreign key, which therefore exists. Can be cached. */
    requireBank: (id: string): MaybePromise<Bank> =>
      chain(
        bankCache.get(id, () => store.bank(id)),
        (bank) => bank!,
      ),

    /** The URL of the bank's app or website, or null if the bank registered none. */
    async bankAppUrlOf(bankId: string): Promise<string | null> {
      return (await findActive(bankId))?.registration.bankAppUrl ?? null
    },

    /** Whether the bank has an active connector. Without one, not even its cached data is disclosed. */
    isActive: (bankId: string): MaybePromise<boolean> => chain(findActive(bankId), (connector) => connector !== null),

    /** The deadline of a read at the bank, in milliseconds: the longest, if several connectors are active. */
    readDeadlineMs: (bankId: string): MaybePromise<number> =>
      chain(findAllActive(bankId), (active) =>
        active.length === 0
          ? DEFAULT_READ_DEADLINE_MS
          : Math.max(...active.map(({ registration }) => readDeadlineMsOf(registration))),
      ),

    findConnector: (id: string): Promise<Connector | null> => store.connector(id),
    connectorsOfClient: (clientId: string): Promise<Connector[]> => store.connectors({ clientId }),
    allConnectors: (): Promise<Connector[]> => store.connectors({}),
    /** The connectors that are not RETIRED, whose certificates must stay valid. */
    connectorsWithCertificates: async (): Promise<Connector[]> =>
      (await store.connectors({})).filter(({ status }) => status !== 'RETIRED'),
    /** The connectors that serve customers. */
    activeConnectors: (): Promise<Connector[]> => store.connectors({ status: 'ACTIVE' }),

    /** A page of one client's connectors, or of all, newest first. Throws `INVALID_INPUT` with every fault of `page`. */
    pageOfConnectors: (
      clientId: string | undefined,
      filter: ConnectorFilter,
      page: PageArguments,
    ): Promise<Connection<Connector>> =>
      connectionByTime(
        page,
        (id) => store.connectorPosition(clientId, id),
        (slice) => store.connectorSlice(clientId, filter, slice),
      ),

    /** Whether the client registered the bank. */
    isPartnerOf: async (clientId: string, bankId: string): Promise<boolean> =>
      (await store.partnerOf(bankId)) === clientId,

    /** The bank's newest connector that accepts new consents. Throws `BANK_UNAVAILABLE` if there is none. */
    async requireConnectorForNewConsent(bankId: string): Promise<Connector> {
      const connector = (await store.connectors({ bankId, status: 'ACTIVE' })).findLast(
        ({ acceptsNewConsents }) => acceptsNewConsents,
      )
      if (!connector)
        throw new GatewayError('BANK_UNAVAILABLE', { internalMessage: 'no connector accepts new consents' })
      return connector
    },

    /** Whether a new consent of a customer ends the earlier ones at the bank, by the connector's standard. */
    newConsentEndsEarlier: ({ standard }: Connector): boolean => STANDARDS[standard].newConsentReplacesPrevious,
  }
}
