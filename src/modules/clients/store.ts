import type { Transaction } from '../../kernel/transaction.ts'
import { within, type Database } from '../../storage/database.ts'
import type { Scope } from '../../kernel/scopes.ts'
import type { Client, Platform, TokenBinding } from './model.ts'

interface ClientRow {
  id: string
  platformId: string
  name: string
  state: string
  tokenBinding: string
  keys: unknown
  redirectUris: string[]
  scopes: string[]
}

const toClient = (row: ClientRow): Client => ({
  id: row.id,
  platformId: row.platformId,
  name: row.name,
  state: row.state as Client['state'],
  tokenBinding: row.tokenBinding as TokenBinding,
  keys: row.keys as Client['keys'],
  redirectUris: row.redirectUris,
  scopes: row.scopes as Scope[],
})

/** Platforms and clients. */
export const clientStore = (database: Database) => ({
  /** False where a platform of that name exists. */
  async addPlatform(tx: Transaction, platform: Platform): Promise<boolean> {
    const { count } = await within(tx).platform.createMany({ data: [platform], skipDuplicates: true })
    return count === 1
  },

  async platforms(): Promise<Platform[]> {
    return database.tables.platform.findMany({ orderBy: { createdAt: 'asc' }, select: { id: true, name: true } })
  },

  platform: (id: string): Promise<Platform | null> =>
    database.tables.platform.findUnique({ where: { id }, select: { id: true, name: true } }),

  async addClient(tx: Transaction, client: Client): Promise<void> {
    const { keys, redirectUris, scopes, ...rest } = client
    await within(tx).client.create({
      data: {
        ...rest,
        keys: JSON.parse(JSON.stringify(keys)) as object,
        redirectUris: [...redirectUris],
        scopes: [...scopes],
      },
    })
  },

  async client(id: string): Promise<Client | null> {
    const row = await database.tables.client.findUnique({ where: { id } })
    return row && toClient(row)
  },

  async clients(): Promise<Client[]> {
    return (await database.tables.client.findMany({ orderBy: { createdAt: 'asc' } })).map(toClient)
  },

  /** True where the client was in `from`; two callers at once cannot both be told so. */
  async move(tx: Transaction, id: string, from: Client['state'], to: Client['state']): Promise<boolean> {
    const { count } = await within(tx).client.updateMany({ where: { id, state: from }, data: { state: to } })
    return count === 1
  },
})
