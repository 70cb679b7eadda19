import type { Slice } from '../../kernel/pagination.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import { deleteInBatches } from '../../storage/batch-delete.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import { keysetQuery } from '../../storage/keyset.ts'
import type { Scope } from '../../kernel/scopes.ts'
import { ROOT_SCOPE } from './admin-requirements.ts'
import {
  containsText,
  type Client,
  type ClientFilter,
  type ClientOrder,
  type RegisteredOperation,
  type TokenBinding,
  type UsageCount,
  type UsageInterval,
} from './model.ts'

interface ClientRow {
  id: string
  organizationId: string
  name: string
  status: string
  tokenBinding: string
  jwks: unknown
  authenticatedKids: string[]
  redirectUris: string[]
  scopes: string[]
  pointsPerMinute: number
  pointsPerCustomerPerMinute: number
  operationPolicy: string
  contactEmail: string | null
}

/** Where a client lies in a list. */
interface ClientPlace {
  readonly id: string
  readonly name: string
  readonly createdAt: Date
}

const operationFields = { hash: true, registeredAt: true } as const

/** Converts a row to a client. */
export const toClient = (row: ClientRow): Client => ({
  id: row.id,
  organizationId: row.organizationId,
  name: row.name,
  status: row.status as Client['status'],
  tokenBinding: row.tokenBinding as TokenBinding,
  jwks: row.jwks as Client['jwks'],
  authenticatedKids: row.authenticatedKids,
  redirectUris: row.redirectUris,
  scopes: row.scopes as Scope[],
  pointsPerMinute: row.pointsPerMinute,
  pointsPerCustomerPerMinute: row.pointsPerCustomerPerMinute,
  operationPolicy: row.operationPolicy as Client['operationPolicy'],
  contactEmail: row.contactEmail,
})

/** OAuth clients. */
export const clientStore = (database: Database) => ({
  async addClient(tx: Transaction, client: Client): Promise<void> {
    const { jwks, authenticatedKids, redirectUris, scopes, ...rest } = client
    await tablesIn(tx).client.create({
      data: {
        ...rest,
        jwks: JSON.parse(JSON.stringify(jwks)) as object,
        authenticatedKids: [...authenticatedKids],
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

  /** Where a client lies in a list. */
  clientPlace: (id: string): Promise<ClientPlace | null> =>
    database.tables.client.findUnique({ where: { id }, select: { id: true, name: true, createdAt: true } }),

  /** A slice of all clients. */
  async listClients(
    { statuses, organizationId, search }: ClientFilter,
    { field, direction }: ClientOrder,
    slice: Slice<ClientPlace>,
  ): Promise<Client[]> {
    const order = { field: field === 'NAME' ? ('name' as const) : ('createdAt' as const), tieBreaker: 'id' as const }
    const { conditions, orderBy, take } = keysetQuery({ ...order, direction }, slice)
    const rows = await database.tables.client.findMany({
      where: {
        ...(statuses && { status: { in: [...statuses] } }),
        ...(typeof organizationId === 'string' && { organizationId }),
        AND: [search ? { OR: [{ name: containsText(search) }, { id: containsText(search) }] } : {}, ...conditions],
      },
      orderBy,
      take,
    })
    return rows.map(toClient)
  },

  /**
   * The client, and every active client that manages clients, locked in one order until the transaction ends. The lock
   * lets foreign keys be checked meanwhile.
   */
  async lockWithAdmins(tx: Transaction, id: string): Promise<Client[]> {
    const locked = await tablesIn(tx).$queryRaw<{ id: string }[]>`
      select id from client where id = ${id} or (status = 'ACTIVE' and ${ROOT_SCOPE} = any(scopes))
      order by id for no key update`
    const rows = await tablesIn(tx).client.findMany({ where: { id: { in: locked.map((row) => row.id) } } })
    return rows.map(toClient)
  },

  async updateClient(tx: Transaction, id: string, changes: Partial<Client>): Promise<void> {
    const { jwks, authenticatedKids, redirectUris, scopes, ...rest } = changes
    await tablesIn(tx).client.update({
      where: { id },
      data: {
        ...rest,
        ...(jwks && { jwks: JSON.parse(JSON.stringify(jwks)) as object }),
        ...(authenticatedKids && { authenticatedKids: [...authenticatedKids] }),
        ...(redirectUris && { redirectUris: [...redirectUris] }),
        ...(scopes && { scopes: [...scopes] }),
      },
    })
  },

  /** Records that the client has authenticated with this key. False if this was known or there is no such key. */
  async addAuthenticatedKey(tx: Transaction, id: string, kid: string): Promise<boolean> {
    const changed = await tablesIn(tx).$executeRaw`
      update client set authenticated_kids = array_append(authenticated_kids, ${kid})
      where id = ${id} and not (${kid} = any(authenticated_kids)) and jwks @> ${JSON.stringify({ keys: [{ kid }] })}::jsonb`
    return changed === 1
  },

  /** A slice of the client's operations, newest first. */
  async registeredOperations(clientId: string, slice: Slice<RegisteredOperation>): Promise<RegisteredOperation[]> {
    const { conditions, orderBy, take } = keysetQuery(
      { field: 'registeredAt', tieBreaker: 'hash', direction: 'DESC' },
      slice,
    )
    return database.tables.registeredOperation.findMany({
      where: { clientId, AND: conditions },
      orderBy,
      take,
      select: operationFields,
    })
  },

  /** The hashes among these that the client has registered. */
  async findOperations(clientId: string, hashes: readonly string[]): Promise<RegisteredOperation[]> {
    return database.tables.registeredOperation.findMany({
      where: { clientId, hash: { in: [...hashes] } },
      select: operationFields,
    })
  },

  async document(clientId: string, hash: string): Promise<string | null> {
    const row = await database.tables.registeredOperation.findUnique({ where: { clientId_hash: { clientId, hash } } })
    return row?.document ?? null
  },

  async addOperations(
    tx: Transaction,
    clientId: string,
    operations: readonly { hash: string; document: string }[],
  ): Promise<number> {
    await tablesIn(tx).registeredOperation.createMany({
      data: operations.map((operation) => ({ ...operation, clientId })),
      skipDuplicates: true,
    })
    return tablesIn(tx).registeredOperation.count({ where: { clientId } })
  },
})

/** The store of clients. */
export type ClientStore = ReturnType<typeof clientStore>

const TAKE_QUOTA = `
  insert into quota_window as known (subject, minute, spent) values ($1, $2, $3)
  on conflict (subject, minute) do update set spent = known.spent + excluded.spent
    where known.spent + excluded.spent <= $4::int
  returning spent`

/** Spent points by subject and minute. */
export const quotaStore = (database: Database) => ({
  /** Reserves `points` and returns the spent points of the minute; undefined if they would exceed `limit`. */
  async take(subject: string, minute: Date, points: number, limit: number): Promise<number | undefined> {
    if (points > limit) return undefined
    const rows = await database.queryAsyncCommit<{ spent: number }>('quota', TAKE_QUOTA, [
      subject,
      minute,
      points,
      limit,
    ])
    return rows[0]?.spent
  },

  async spent(subject: string, minute: Date): Promise<number> {
    const row = await database.tables.quotaWindow.findUnique({ where: { subject_minute: { subject, minute } } })
    return row?.spent ?? 0
  },

  async sweep(before: Date): Promise<number> {
    return deleteInBatches(database, {
      table: 'quota_window',
      where: 'minute < $1',
      orderBy: 'minute',
      values: [before],
    })
  },
})
/** The store of quotas. */
export type QuotaStore = ReturnType<typeof quotaStore>

const ADD_USAGE = `
  insert into client_usage as known (client_id, hour, request_count, points, error_count)
  select "clientId", hour, requests, points, errors from jsonb_to_recordset($1::jsonb) as counted (
    "clientId" text, hour timestamptz, requests int, points bigint, errors int)
  order by "clientId", hour
  on conflict (client_id, hour) do update set request_count = known.request_count + excluded.request_count,
    points = known.points + excluded.points, error_count = known.error_count + excluded.error_count`
const READ_USAGE = `
  select date_trunc($4, hour, 'UTC') as "startsAt", sum(request_count) as requests, sum(points) as points,
    sum(error_count) as errors
  from client_usage where client_id = $1 and hour >= $2 and hour < $3 group by 1 order by 1`
const LAST_USED = `
  select client.id, last.hour from unnest($1::text[]) as client (id) cross join lateral (
    select hour from client_usage where client_id = client.id order by hour desc limit 1) as last`

/** Sums, which the driver returns as text. */
interface UsageRow {
  readonly startsAt: Date
  readonly requests: string
  readonly points: string
  readonly errors: string
}

/** Usage of clients by hour. */
export const usageStore = (database: Database) => ({
  async add(counts: readonly UsageCount[]): Promise<void> {
    await database.queryAsyncCommit('usage-add', ADD_USAGE, [JSON.stringify(counts)])
  },

  async of(clientId: string, since: Date, until: Date, interval: UsageInterval) {
    return database.query<UsageRow>('usage-read', READ_USAGE, [clientId, since, until, interval.toLowerCase()])
  },

  async lastUsedAt(clientIds: readonly string[]): Promise<ReadonlyMap<string, Date>> {
    const rows = await database.query<{ id: string; hour: Date }>('usage-last', LAST_USED, [clientIds])
    return new Map(rows.map(({ id, hour }) => [id, hour]))
  },

  async sweep(before: Date): Promise<number> {
    return deleteInBatches(database, { table: 'client_usage', where: 'hour < $1', orderBy: 'hour', values: [before] })
  },
})
/** The store of usage. */
export type UsageStore = ReturnType<typeof usageStore>
