import { GatewayError } from '../../kernel/errors.ts'
import { createLoadingCache, type LoadingCacheOptions } from '../../kernel/loading-cache.ts'
import type { MaybePromise } from '../../kernel/maybe-promise.ts'
import { connectionFromStore, type Connection, type PageArguments } from '../../kernel/pagination.ts'
import type { Signals } from '../../storage/signals.ts'
import { findSearchFaults } from './input.ts'
import type { Client, ClientFilter, ClientOrder, Organization } from './model.ts'
import type { Organizations } from './organizations.ts'
import type { ClientStore } from './store.ts'

/** An ID of any other form belongs to no client, so it costs no database query. */
const CLIENT_ID_PATTERN = /^[\w-]{1,64}$/

/** The dependencies of the lookups. */
export interface LookupDependencies {
  readonly store: ClientStore
  readonly organizations: Organizations
  readonly signals: Signals
  readonly cacheOptions: LoadingCacheOptions<unknown>
}

/** Finds clients. */
export type ClientLookup = ReturnType<typeof createLookup>

/** Creates the lookups. What they cache is dropped when a client changes in any process. */
export function createLookup({ store, organizations, signals, cacheOptions }: LookupDependencies) {
  const clientCache = createLoadingCache<Client | null>(cacheOptions)
  const originsCache = createLoadingCache<ReadonlySet<string>>(cacheOptions)
  signals.onSignal((signal) => {
    if (signal.kind !== 'CLIENT') return
    clientCache.invalidate(signal.id)
    originsCache.invalidateAll()
  })

  const find = (id: string): MaybePromise<Client | null> =>
    CLIENT_ID_PATTERN.test(id) ? clientCache.get(id, () => store.client(id)) : null

  return {
    /** The client, or null. Can be cached. */
    find,

    /** The client as it is stored now. Throws `NOT_FOUND`. */
    async load(id: string): Promise<Client> {
      const client = await store.client(id)
      if (!client) throw new GatewayError('NOT_FOUND')
      return client
    },

    /** The email address of the client's contact; null if there is none, or the client is retired. */
    async findContactEmail(id: string): Promise<string | null> {
      const client = await find(id)
      return client?.status === 'RETIRED' ? null : (client?.contactEmail ?? null)
    },

    allClients: (): Promise<Client[]> => store.clients(),

    /** The origins of the redirect URIs of all active clients. */
    origins: (): MaybePromise<ReadonlySet<string>> =>
      originsCache.get('all', async () =>
        redirectOriginsOf((await store.clients()).filter(({ status }) => status === 'ACTIVE')),
      ),

    /** The origins of the redirect URIs of one client. */
    originsOf: (id: string): MaybePromise<ReadonlySet<string>> =>
      originsCache.get(id, async () => redirectOriginsOf((await store.clients()).filter((client) => client.id === id))),

    /** The organization of each of the clients, in their order. Every client must exist. */
    async organizationsOf(clientIds: readonly string[]): Promise<Organization[]> {
      const owners = await Promise.all(clientIds.map(async (id) => (await find(id))!.organizationId))
      const byId = new Map((await organizations.findMany([...new Set(owners)])).map((one) => [one.id, one]))
      return owners.map((id) => byId.get(id)!)
    },

    /** A page of all clients. Throws `INVALID_INPUT` with every fault. */
    list: (filter: ClientFilter, order: ClientOrder, page: PageArguments): Promise<Connection<Client>> =>
      connectionFromStore<Client, NonNullable<Awaited<ReturnType<typeof store.clientPlace>>>>(page, {
        idOf: ({ id }) => id,
        findCursor: (cursor) => store.clientPlace(cursor),
        read: (slice) => store.listClients(filter, order, slice),
        otherFaults: findSearchFaults(filter),
      }),
  }
}

const redirectOriginsOf = (clients: readonly Client[]): ReadonlySet<string> =>
  new Set(clients.flatMap(({ redirectUris }) => redirectUris.map((uri) => new URL(uri).origin)))
