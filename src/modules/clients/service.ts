import { GatewayError } from '../../kernel/errors.ts'
import { newId } from '../../kernel/ids.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Ledger } from '../ledger/index.ts'
import { readKeys, readName, readScopes, type Client, type NewClient, type Platform } from './model.ts'
import { clientStore } from './store.ts'

/** Platforms and their OAuth clients. */
export type Clients = ReturnType<typeof createClients>

/** What clients stand on. */
export interface ClientsDependencies {
  database: Database
  world: World
  ledger: Ledger
  /** Whether clients with plain bearer tokens may be registered: in the sandbox only. */
  bearerAllowed: boolean
}

/** Registers and suspends; every change is in the ledger. */
export function createClients({ database, world, ledger, bearerAllowed }: ClientsDependencies) {
  const store = clientStore(database)

  async function move(by: string, id: string, from: Client['state'], to: Client['state']): Promise<Client> {
    if (!(await store.client(id))) throw new GatewayError('NOT_FOUND', { path: ['id'] })
    await database.transaction(async (tx) => {
      if (!(await store.move(tx, id, from, to))) throw new GatewayError('STATE_CONFLICT')
      await ledger.record(tx, {
        kind: to === 'SUSPENDED' ? 'CLIENT_SUSPENDED' : 'CLIENT_RESUMED',
        clientId: by,
        subjectId: id,
      })
    })
    const client = await store.client(id)
    if (!client) throw new GatewayError('NOT_FOUND')
    return client
  }

  return {
    find: (id: string): Promise<Client | null> => store.client(id),
    platform: (id: string): Promise<Platform | null> => store.platform(id),
    all: (): Promise<Client[]> => store.clients(),
    platforms: (): Promise<Platform[]> => store.platforms(),

    /** Throws `STATE_CONFLICT` where the name is taken, `INVALID_INPUT` where it cannot be shown. */
    async registerPlatform(by: string, name: string): Promise<Platform> {
      const platform = { id: newId('plat', world.randomness), name: readName(name) }
      await database.transaction(async (tx) => {
        if (!(await store.addPlatform(tx, platform))) throw new GatewayError('STATE_CONFLICT', { path: ['name'] })
        await ledger.record(tx, { kind: 'PLATFORM_REGISTERED', clientId: by, subjectId: platform.id })
      })
      return platform
    },

    /** Registers an OAuth client; it can be used as soon as this returns. Throws `INVALID_INPUT` with the path. */
    async register(by: string, given: NewClient, id = newId('clnt', world.randomness)): Promise<Client> {
      if (given.tokenBinding === 'BEARER' && !bearerAllowed)
        throw new GatewayError('INVALID_INPUT', { path: ['tokenBinding'] })
      if (!(await store.platform(given.platformId))) throw new GatewayError('INVALID_INPUT', { path: ['platformId'] })
      if (given.redirectUris.length > 10 || !given.redirectUris.every((uri) => world.http.accepts(uri)))
        throw new GatewayError('INVALID_INPUT', { path: ['redirectUris'] })
      const client: Client = {
        id,
        platformId: given.platformId,
        name: readName(given.name),
        state: 'ACTIVE',
        tokenBinding: given.tokenBinding,
        keys: readKeys(given.keys),
        redirectUris: given.redirectUris,
        scopes: readScopes(given.scopes),
      }
      await database.transaction(async (tx) => {
        await store.addClient(tx, client)
        await ledger.record(tx, { kind: 'CLIENT_REGISTERED', clientId: by, subjectId: id })
      })
      return client
    },

    /** From the moment this returns, no token of the client opens anything and none is issued. */
    suspend: (by: string, id: string): Promise<Client> => move(by, id, 'ACTIVE', 'SUSPENDED'),
    resume: (by: string, id: string): Promise<Client> => move(by, id, 'SUSPENDED', 'ACTIVE'),
  }
}
