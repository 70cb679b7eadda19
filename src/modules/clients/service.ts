import { createHash } from 'node:crypto'
import { isUniqueViolation } from '../../kernel/database-errors.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { refuse } from '../../kernel/faults.ts'
import { newId } from '../../kernel/ids.ts'
import { createMemory } from '../../kernel/memory.ts'
import { SECOND_MS } from '../../kernel/clock.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Once } from '../../storage/once.ts'
import type { Ledger, LedgerKind } from '../ledger/index.ts'
import type { Outbox } from '../outbox/index.ts'
import { administrationLostBy, canAdminister, provenAmong } from './administration.ts'
import { changesOf, platformChangesOf } from './changes.ts'
import { readChange, readName, readNewClient } from './input.ts'
import {
  kidsOf,
  USUAL_QUOTA,
  type Client,
  type ClientChange,
  type NewClient,
  type Platform,
  type RegisteredOperation,
} from './model.ts'
import { createQuotas } from './quota.ts'
import { clientStore, quotaStore, usageStore } from './store.ts'
import { createUsage } from './usage.ts'

/** Platforms and their OAuth clients. */
export type Clients = ReturnType<typeof createClients>

/** What clients depend on. */
export interface ClientsDependencies {
  database: Database
  world: World
  ledger: Ledger
  outbox: Outbox
  once: Once
  /** Whether clients with plain bearer tokens may be registered: in the sandbox only. */
  bearerAllowed: boolean
}

/** Whatever else somebody gives as the id of a client is none. */
const CLIENT_ID = /^[\w-]{1,64}$/
const REMEMBERED = { maxBytes: 4_194_304, ttlMs: 30 * SECOND_MS }
const DOCUMENT_BYTES = 8_388_608
const MAX_OPERATIONS = 1_000

/** Registers, changes, suspends and retires; every change is in the ledger with what was before and after. */
export function createClients({ database, world, ledger, outbox, once, bearerAllowed }: ClientsDependencies) {
  const store = clientStore(database)
  const known = createMemory<Client | null>({ clock: world.clock, ...REMEMBERED, trusted: outbox.hearing })
  const origins = createMemory<ReadonlySet<string>>({ clock: world.clock, ...REMEMBERED, trusted: outbox.hearing })
  const documents = createMemory<string | null>({
    clock: world.clock,
    ...REMEMBERED,
    maxBytes: DOCUMENT_BYTES,
    tagsOf: (_document, key) => [key.slice(0, key.indexOf('/'))],
    trusted: outbox.hearing,
  })
  const usage = createUsage(usageStore(database), world)
  outbox.onSignal((signal) => {
    if (signal.kind !== 'CLIENT') return
    known.forget(signal.id)
    origins.forgetAll()
    documents.forgetTagged(signal.id)
  })

  /**
   * One change of a client with its ledger entry; when this returns, every process knows. Throws `NOT_FOUND`,
   * `STATE_CONFLICT` where the client is in none of the statuses `from`, and `LAST_ADMIN` where nobody would be left who can
   * undo it: clients that can are locked together, so that of two changes at once the second sees the first.
   */
  async function change(
    by: string,
    id: string,
    kind: LedgerKind,
    changes: Partial<Client>,
    from: readonly Client['status'][],
    also: (tx: Transaction) => Promise<unknown> = () => Promise.resolve(),
  ): Promise<Client> {
    await database.transaction(async (tx) => {
      const locked = await store.lockWithAdmins(tx, id)
      const before = locked.find((one) => one.id === id)
      if (!before) throw new GatewayError('NOT_FOUND', { path: ['id'] })
      if (!from.includes(before.status)) throw new GatewayError('STATE_CONFLICT', { path: ['id'] })
      const change = { ...changes, ...(changes.keys && { provenKids: provenAmong(before, changes.keys) }) }
      const after = { ...before, ...change }
      const lostBy = administrationLostBy(before, after, bearerAllowed)
      if (lostBy && !locked.some((other) => other.id !== id && canAdminister(other, bearerAllowed)))
        throw new GatewayError('LAST_ADMIN', { path: [lostBy] })
      await store.change(tx, id, change)
      await ledger.record(tx, { kind, clientId: by, subjectId: id, changes: changesOf(before, after) })
      await also(tx)
      await outbox.signal({ kind: 'CLIENT', id }, tx)
    })
    return changed(id)
  }

  async function changed(id: string): Promise<Client> {
    outbox.echo({ kind: 'CLIENT', id })
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
      CLIENT_ID.test(id) ? known.get(id, () => store.client(id)) : null,
    /** The origins of every active client's redirect addresses. */
    origins: (): ReadonlySet<string> | Promise<ReadonlySet<string>> =>
      origins.get('all', async () => originsIn((await store.clients()).filter(({ status }) => status === 'ACTIVE'))),
    /** The origins of one client's redirect addresses. */
    originsOf: (id: string): ReadonlySet<string> | Promise<ReadonlySet<string>> =>
      origins.get(id, async () => originsIn((await store.clients()).filter((client) => client.id === id))),
    platform: (id: string): Promise<Platform | null> => store.platform(id),
    all: (): Promise<Client[]> => store.clients(),
    platforms: (): Promise<Platform[]> => store.platforms(),

    /** Throws `STATE_CONFLICT` where the name is taken, `INVALID_INPUT` where it cannot be shown. */
    async registerPlatform(by: string, name: string, idempotencyKey?: string | null): Promise<Platform> {
      const platform = { id: newId('plat', world.randomness), name: readName(name) }
      const id = await database.transaction((tx) =>
        once.make(
          tx,
          { clientId: by, mutation: 'registerPlatform', key: idempotencyKey, input: { name } },
          async () => {
            if (!(await store.addPlatform(tx, platform))) throw new GatewayError('STATE_CONFLICT', { path: ['name'] })
            const changes = platformChangesOf(undefined, platform)
            await ledger.record(tx, { kind: 'PLATFORM_REGISTERED', clientId: by, subjectId: platform.id, changes })
            return platform.id
          },
        ),
      )
      return (await store.platform(id))!
    },

    /**
     * Renames a platform, by the rules of its registration. No process caches platforms, so the next page of every process
     * shows the new name. Throws `INVALID_INPUT`, `NOT_FOUND`, or `STATE_CONFLICT` where another platform has the name.
     */
    async updatePlatform(by: string, { id, name }: Platform): Promise<Platform> {
      const after = { id, name: readName(name) }
      try {
        await database.transaction(async (tx) => {
          const before = await store.lockPlatform(tx, id)
          if (!before) throw new GatewayError('NOT_FOUND', { path: ['id'] })
          await store.renamePlatform(tx, after)
          const changes = platformChangesOf(before, after)
          await ledger.record(tx, { kind: 'PLATFORM_CHANGED', clientId: by, subjectId: id, changes })
        })
      } catch (error) {
        throw isUniqueViolation(error) ? new GatewayError('STATE_CONFLICT', { path: ['name'] }) : error
      }
      return after
    },

    /** Registers an OAuth client; it can be used as soon as this returns. Throws `INVALID_INPUT` with every fault. */
    async register(
      by: string,
      given: NewClient,
      {
        id = newId('clnt', world.randomness),
        idempotencyKey,
        isHolder = false,
      }: {
        id?: string
        idempotencyKey?: string | null
        /** Whether whoever registers made the keys, and so is known to hold them. */
        isHolder?: boolean
      } = {},
    ): Promise<Client> {
      const platform = await store.platform(given.platformId)
      const stated = readNewClient(given, platform, world.http, bearerAllowed)
      const client: Client = {
        id,
        ...stated,
        status: 'ACTIVE',
        provenKids: isHolder ? kidsOf(stated.keys) : [],
        ...USUAL_QUOTA,
        operations: 'ANY',
      }
      const made = await database.transaction((tx) =>
        once.make(tx, { clientId: by, mutation: 'registerClient', key: idempotencyKey, input: given }, async () => {
          await store.addClient(tx, client)
          const changes = changesOf(undefined, client)
          await ledger.record(tx, { kind: 'CLIENT_REGISTERED', clientId: by, subjectId: id, changes })
          await outbox.signal({ kind: 'CLIENT', id }, tx)
          return id
        }),
      )
      return changed(made)
    },

    /** Changes what is given, by the rules of registration, for every process at once. Throws `INVALID_INPUT` with every fault, or `LAST_ADMIN`. */
    update: (by: string, id: string, given: ClientChange): Promise<Client> =>
      change(by, id, 'CLIENT_CHANGED', readChange(given, world.http), ['ACTIVE', 'SUSPENDED']),

    /** From the moment this returns, no token of the client opens anything and none is issued. Throws `LAST_ADMIN`. */
    suspend: (by: string, id: string): Promise<Client> =>
      change(by, id, 'CLIENT_SUSPENDED', { status: 'SUSPENDED' }, ['ACTIVE']),
    resume: (by: string, id: string): Promise<Client> =>
      change(by, id, 'CLIENT_RESUMED', { status: 'ACTIVE' }, ['SUSPENDED']),

    /**
     * Ends a client for good: its tokens open nothing from the moment this returns, and every consent that customers gave it
     * is revoked soon after. Throws `LAST_ADMIN`.
     */
    retire: (by: string, id: string): Promise<Client> =>
      change(by, id, 'CLIENT_RETIRED', { status: 'RETIRED' }, ['ACTIVE', 'SUSPENDED'], (tx) =>
        outbox.promise(tx, 'client.retired', id),
      ),

    /** Notes that the client has authenticated with its key of this name: somebody holds the private part. */
    async proveKey(id: string, kid: string): Promise<void> {
      const client = await known.get(id, () => store.client(id))
      if (!client || client.provenKids.includes(kid)) return
      const isNew = await database.transaction(async (tx) => {
        if (!(await store.proveKey(tx, id, kid))) return false
        await outbox.signal({ kind: 'CLIENT', id }, tx)
        return true
      })
      if (isNew) outbox.echo({ kind: 'CLIENT', id })
    },

    // Documents that a client asks by their hash

    operations: (clientId: string): Promise<RegisteredOperation[]> => store.registered(clientId),

    /** The text of a registered document, or nothing. */
    document: (clientId: string, hash: string): string | null | Promise<string | null> =>
      documents.get(`${clientId}/${hash}`, () => store.document(clientId, hash)),

    /** Registers documents that fit the contract. Throws `INVALID_INPUT` where they would be too many. */
    async registerOperations(clientId: string, texts: readonly string[]): Promise<RegisteredOperation[]> {
      await database.transaction(async (tx) => {
        const count = await store.addOperations(
          tx,
          clientId,
          texts.map((document) => ({ hash: hashOf(document), document })),
        )
        if (count > MAX_OPERATIONS)
          refuse(['documents'], `must bring the client to at most ${MAX_OPERATIONS} registered documents`)
        await ledger.record(tx, { kind: 'OPERATIONS_REGISTERED', clientId })
        await outbox.signal({ kind: 'CLIENT', id: clientId }, tx)
      })
      outbox.echo({ kind: 'CLIENT', id: clientId })
      return store.registered(clientId)
    },
  }
}

const originsIn = (clients: readonly Client[]): ReadonlySet<string> =>
  new Set(clients.flatMap(({ redirectUris }) => redirectUris.map((uri) => new URL(uri).origin)))

/** The name of a document: SHA-256 of its text, hex. */
export const hashOf = (document: string): string => createHash('sha256').update(document).digest('hex')
