import { createHash } from 'node:crypto'
import { GatewayError } from '../../kernel/errors.ts'
import { throwInvalidInput } from '../../kernel/input-faults.ts'
import { newId } from '../../kernel/ids.ts'
import { connectionFromStore, type Connection, type PageArguments } from '../../kernel/pagination.ts'
import { createLoadingCache } from '../../kernel/loading-cache.ts'
import { SECOND_MS } from '../../kernel/clock.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Idempotency } from '../../storage/idempotency.ts'
import type { Signals } from '../../storage/signals.ts'
import type { Ledger, LedgerAction } from '../ledger/index.ts'
import type { Outbox } from '../outbox/index.ts'
import { findLostRequirement, canAdminister, keepAuthenticatedKids } from './admin-requirements.ts'
import { changesOf } from './changes.ts'
import { findSearchFaults, parseClientChange, parseNewClient } from './input.ts'
import {
  kidsOf,
  DEFAULT_QUOTA,
  type Client,
  type ClientChange,
  type ClientFilter,
  type ClientOrder,
  type NewClient,
  type Organization,
  type RegisteredOperation,
} from './model.ts'
import { createOrganizations } from './organizations.ts'
import { createQuotas } from './quota.ts'
import { clientStore, quotaStore, usageStore } from './store.ts'
import { createUsage } from './usage.ts'

/** Organizations and their OAuth clients. */
export type Clients = ReturnType<typeof createClients>

/** What clients depend on. */
export interface ClientsDependencies {
  database: Database
  world: World
  ledger: Ledger
  outbox: Outbox
  signals: Signals
  idempotency: Idempotency
  /** Whether clients with plain bearer tokens may be registered: in the sandbox only. */
  isBearerAllowed: boolean
}

/** Whatever else somebody gives as the id of a client is none. */
const CLIENT_ID_PATTERN = /^[\w-]{1,64}$/
const CACHE_LIMITS = { maxBytes: 4_194_304, ttlMs: 30 * SECOND_MS }
const DOCUMENT_CACHE_BYTES = 8_388_608
const MAX_OPERATIONS = 1_000

/** Registers, changes, suspends and retires; every change is in the ledger with what was before and after. */
export function createClients({
  database,
  world,
  ledger,
  outbox,
  signals,
  idempotency,
  isBearerAllowed,
}: ClientsDependencies) {
  const store = clientStore(database)
  const clientCache = createLoadingCache<Client | null>({
    clock: world.clock,
    ...CACHE_LIMITS,
    coherence: signals.coherence,
  })
  const originsCache = createLoadingCache<ReadonlySet<string>>({
    clock: world.clock,
    ...CACHE_LIMITS,
    coherence: signals.coherence,
  })
  const documentCache = createLoadingCache<string | null>({
    clock: world.clock,
    ...CACHE_LIMITS,
    maxBytes: DOCUMENT_CACHE_BYTES,
    tagsOf: (_document, key) => [key.slice(0, key.indexOf('/'))],
    coherence: signals.coherence,
  })
  const organizations = createOrganizations({ database, world, ledger, idempotency })
  const usage = createUsage(usageStore(database), world)
  signals.onSignal((signal) => {
    if (signal.kind !== 'CLIENT') return
    clientCache.invalidate(signal.id)
    originsCache.invalidateAll()
    documentCache.invalidateTag(signal.id)
  })

  /**
   * One change of a client with its ledger entry; when this returns, every process knows. Throws `NOT_FOUND`,
   * `STATE_CONFLICT` where the client is in none of the statuses `from`, and `LAST_ADMIN` where nobody would be left who can
   * undo it: clients that can are locked together, so that of two changes at once the second sees the first.
   */
  async function changeClient(
    actorClientId: string,
    id: string,
    action: LedgerAction,
    changes: Partial<Client>,
    allowedStates: readonly Client['status'][],
    inSameTransaction: (tx: Transaction) => Promise<unknown> = () => Promise.resolve(),
  ): Promise<Client> {
    await database.transaction(async (tx) => {
      const locked = await store.lockWithAdmins(tx, id)
      const before = locked.find((one) => one.id === id)
      if (!before) throw new GatewayError('NOT_FOUND', { path: ['clientId'] })
      if (!allowedStates.includes(before.status)) throw new GatewayError('STATE_CONFLICT', { path: ['clientId'] })
      const allChanges = {
        ...changes,
        ...(changes.jwks && { authenticatedKids: keepAuthenticatedKids(before, changes.jwks) }),
      }
      const after = { ...before, ...allChanges }
      const lostRequirement = findLostRequirement(before, after, isBearerAllowed)
      if (lostRequirement && !locked.some((other) => other.id !== id && canAdminister(other, isBearerAllowed)))
        throw new GatewayError('LAST_ADMIN', { path: [lostRequirement] })
      await store.updateClient(tx, id, allChanges)
      await ledger.record(tx, { action, clientId: actorClientId, subjectId: id, changes: changesOf(before, after) })
      await inSameTransaction(tx)
      await signals.publish(tx, { kind: 'CLIENT', id })
    })
    return reload(id)
  }

  async function reload(id: string): Promise<Client> {
    const client = await store.client(id)
    if (!client) throw new GatewayError('NOT_FOUND')
    return client
  }

  return {
    /** Points per minute, for every caller. */
    quotas: createQuotas(quotaStore(database), world, usage),
    /** What clients used of the gateway. */
    usage,

    find: (id: string): Client | null | Promise<Client | null> =>
      CLIENT_ID_PATTERN.test(id) ? clientCache.get(id, () => store.client(id)) : null,
    /** The origins of every active client's redirect addresses. */
    origins: (): ReadonlySet<string> | Promise<ReadonlySet<string>> =>
      originsCache.get('all', async () =>
        redirectOriginsOf((await store.clients()).filter(({ status }) => status === 'ACTIVE')),
      ),
    /** The origins of one client's redirect addresses. */
    originsOf: (id: string): ReadonlySet<string> | Promise<ReadonlySet<string>> =>
      originsCache.get(id, async () => redirectOriginsOf((await store.clients()).filter((client) => client.id === id))),
    allClients: (): Promise<Client[]> => store.clients(),
    /** Who owns clients. */
    organizations,

    /** The organization of each of the clients, in their order; every one must exist. */
    async organizationsOf(clientIds: readonly string[]): Promise<Organization[]> {
      const owners = await Promise.all(
        clientIds.map(async (id) => (await clientCache.get(id, () => store.client(id)))!.organizationId),
      )
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

    /** Registers an OAuth client; it can be used as soon as this returns. Throws `INVALID_INPUT` with every fault. */
    async register(
      actorClientId: string,
      input: NewClient,
      {
        id = newId('clnt', world.randomness),
        idempotencyKey,
        areKeysAuthenticated = false,
      }: {
        id?: string
        idempotencyKey?: string | null
        /** Whether whoever registers made the keys, and so is known to hold them. */
        areKeysAuthenticated?: boolean
      } = {},
    ): Promise<Client> {
      const organization = await organizations.find(input.organizationId)
      const parsed = parseNewClient(input, organization, world.http, isBearerAllowed)
      const client: Client = {
        id,
        ...parsed,
        status: 'ACTIVE',
        authenticatedKids: areKeysAuthenticated ? kidsOf(parsed.jwks) : [],
        ...DEFAULT_QUOTA,
        operationPolicy: 'ANY',
      }
      const registeredId = await database.transaction((tx) =>
        idempotency.runOnce(
          tx,
          { clientId: actorClientId, mutation: 'registerClient', key: idempotencyKey, input },
          async () => {
            await store.addClient(tx, client)
            const changes = changesOf(undefined, client)
            await ledger.record(tx, { action: 'CLIENT_REGISTERED', clientId: actorClientId, subjectId: id, changes })
            await signals.publish(tx, { kind: 'CLIENT', id })
            return id
          },
        ),
      )
      return reload(registeredId)
    },

    /** Changes what is given, by the rules of registration, for every process at once. Throws `INVALID_INPUT` with every fault, or `LAST_ADMIN`. */
    update: (actorClientId: string, id: string, input: ClientChange): Promise<Client> =>
      changeClient(actorClientId, id, 'CLIENT_CHANGED', parseClientChange(input, world.http), ['ACTIVE', 'SUSPENDED']),

    /** From the moment this returns, no token of the client opens anything and none is issued. Throws `LAST_ADMIN`. */
    suspend: (actorClientId: string, id: string): Promise<Client> =>
      changeClient(actorClientId, id, 'CLIENT_SUSPENDED', { status: 'SUSPENDED' }, ['ACTIVE']),
    resume: (actorClientId: string, id: string): Promise<Client> =>
      changeClient(actorClientId, id, 'CLIENT_RESUMED', { status: 'ACTIVE' }, ['SUSPENDED']),

    /**
     * Ends a client for good: its tokens open nothing from the moment this returns, and every consent that customers gave it
     * is revoked soon after. Throws `LAST_ADMIN`.
     */
    retire: (actorClientId: string, id: string): Promise<Client> =>
      changeClient(actorClientId, id, 'CLIENT_RETIRED', { status: 'RETIRED' }, ['ACTIVE', 'SUSPENDED'], (tx) =>
        outbox.enqueue(tx, 'client.retired', id),
      ),

    /** Notes that the client has authenticated with its key of this name: somebody holds the private part. */
    async recordAuthenticatedKey(id: string, kid: string): Promise<void> {
      const client = await clientCache.get(id, () => store.client(id))
      if (!client || client.authenticatedKids.includes(kid)) return
      await database.transaction(async (tx) => {
        if (await store.addAuthenticatedKey(tx, id, kid)) await signals.publish(tx, { kind: 'CLIENT', id })
      })
    },

    // Operations that a client sends by their hash

    /** A page of the client's operations, the newest first. Throws `INVALID_INPUT` with every fault. */
    registeredOperations: (clientId: string, page: PageArguments): Promise<Connection<RegisteredOperation>> =>
      connectionFromStore<RegisteredOperation, RegisteredOperation>(page, {
        idOf: ({ hash }) => hash,
        findCursor: async (cursor) => (await store.findOperations(clientId, [cursor]))[0],
        read: (slice) => store.registeredOperations(clientId, slice),
      }),

    /** The text of a registered document, or nothing. */
    findDocument: (clientId: string, hash: string): string | null | Promise<string | null> =>
      documentCache.get(`${clientId}/${hash}`, () => store.document(clientId, hash)),

    /**
     * Registers documents that fit the contract and returns their operations, each once, in the order of the documents. Throws
     * `INVALID_INPUT` if they would be too many.
     */
    async registerOperations(clientId: string, documentTexts: readonly string[]): Promise<RegisteredOperation[]> {
      const operations = documentTexts.map((document) => ({ hash: hashDocument(document), document }))
      await database.transaction(async (tx) => {
        const count = await store.addOperations(tx, clientId, operations)
        if (count > MAX_OPERATIONS)
          throwInvalidInput(['documents'], `must bring the client to at most ${MAX_OPERATIONS} registered documents`)
        await ledger.record(tx, { action: 'OPERATIONS_REGISTERED', clientId })
        await signals.publish(tx, { kind: 'CLIENT', id: clientId })
      })
      const hashes = [...new Set(operations.map(({ hash }) => hash))]
      const registered = new Map((await store.findOperations(clientId, hashes)).map((one) => [one.hash, one]))
      return hashes.map((hash) => registered.get(hash)!)
    },
  }
}

const redirectOriginsOf = (clients: readonly Client[]): ReadonlySet<string> =>
  new Set(clients.flatMap(({ redirectUris }) => redirectUris.map((uri) => new URL(uri).origin)))

/** The name of a document: SHA-256 of its text, hex. */
export const hashDocument = (document: string): string => createHash('sha256').update(document).digest('hex')
