import type { Transaction } from '../../kernel/transaction.ts'
import { deleteInBatches } from '../../storage/batch-delete.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import type { Scope } from '../../kernel/scopes.ts'
import { ROOT_SCOPE } from './admin-requirements.ts'
import type { Client, Enrolment, Platform, RegisteredOperation, TokenBinding } from './model.ts'
import type { UsageCount, UsageInterval } from './usage.ts'

interface ClientRow {
  id: string
  platformId: string
  name: string
  status: string
  tokenBinding: string
  keys: unknown
  provenKids: string[]
  redirectUris: string[]
  scopes: string[]
  quotaPerMinute: number
  customerQuotaPerMinute: number
  operations: string
}

const toClient = (row: ClientRow): Client => ({
  id: row.id,
  platformId: row.platformId,
  name: row.name,
  status: row.status as Client['status'],
  tokenBinding: row.tokenBinding as TokenBinding,
  keys: row.keys as Client['keys'],
  provenKids: row.provenKids,
  redirectUris: row.redirectUris,
  scopes: row.scopes as Scope[],
  quotaPerMinute: row.quotaPerMinute,
  customerQuotaPerMinute: row.customerQuotaPerMinute,
  operations: row.operations as Client['operations'],
})

/** Platforms and clients. */
export const clientStore = (database: Database) => ({
  /** False where a platform of that name exists. */
  async addPlatform(tx: Transaction, platform: Platform): Promise<boolean> {
    const { count } = await tablesIn(tx).platform.createMany({ data: [platform], skipDuplicates: true })
    return count === 1
  },

  async platforms(): Promise<Platform[]> {
    return database.tables.platform.findMany({ orderBy: { createdAt: 'asc' }, select: { id: true, name: true } })
  },

  platform: (id: string): Promise<Platform | null> =>
    database.tables.platform.findUnique({ where: { id }, select: { id: true, name: true } }),

  /** The platform, locked until the transaction ends. */
  async lockPlatform(tx: Transaction, id: string): Promise<Platform | undefined> {
    const [row] = await tablesIn(tx).$queryRaw<Platform[]>`select id, name from platform where id = ${id} for update`
    return row
  },

  /** Throws a unique violation where another platform has the name. */
  async renamePlatform(tx: Transaction, { id, name }: Platform): Promise<void> {
    await tablesIn(tx).platform.update({ where: { id }, data: { name } })
  },

  async addClient(tx: Transaction, client: Client): Promise<void> {
    const { keys, provenKids, redirectUris, scopes, ...rest } = client
    await tablesIn(tx).client.create({
      data: {
        ...rest,
        keys: JSON.parse(JSON.stringify(keys)) as object,
        provenKids: [...provenKids],
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

  async updateClient(tx: Transaction, id: string, updateClient: Partial<Client>): Promise<void> {
    const { keys, provenKids, redirectUris, scopes, ...rest } = updateClient
    await tablesIn(tx).client.update({
      where: { id },
      data: {
        ...rest,
        ...(keys && { keys: JSON.parse(JSON.stringify(keys)) as object }),
        ...(provenKids && { provenKids: [...provenKids] }),
        ...(redirectUris && { redirectUris: [...redirectUris] }),
        ...(scopes && { scopes: [...scopes] }),
      },
    })
  },

  /** Notes that somebody holds the client's key of this name; false where that was known, or there is no such key. */
  async addProvenKey(tx: Transaction, id: string, kid: string): Promise<boolean> {
    const changed = await tablesIn(tx).$executeRaw`
      update client set proven_kids = array_append(proven_kids, ${kid})
      where id = ${id} and not (${kid} = any(proven_kids)) and keys @> ${JSON.stringify({ keys: [{ kid }] })}::jsonb`
    return changed === 1
  },

  async registeredOperations(clientId: string): Promise<RegisteredOperation[]> {
    return database.tables.registeredOperation.findMany({
      where: { clientId },
      orderBy: [{ registeredAt: 'asc' }, { hash: 'asc' }],
      select: { hash: true, registeredAt: true },
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

const TAKE_QUOTA = `
  insert into quota_window as known (subject, minute, spent) values ($1, $2, $3)
  on conflict (subject, minute) do update set spent = known.spent + excluded.spent
    where known.spent + excluded.spent <= $4::int
  returning spent`

/** What was spent in which minute. */
export const quotaStore = (database: Database) => ({
  /** What the minute has spent after taking `points`, or nothing where they would be more than `limit`. */
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
/** The store as `quota.ts` takes it. */
export type QuotaStore = ReturnType<typeof quotaStore>

const ADD_USAGE = `
  insert into client_usage as known (client_id, hour, requests, points, errors)
  select "clientId", hour, requests, points, errors from jsonb_to_recordset($1::jsonb) as counted (
    "clientId" text, hour timestamptz, requests int, points bigint, errors int)
  order by "clientId", hour
  on conflict (client_id, hour) do update set requests = known.requests + excluded.requests,
    points = known.points + excluded.points, errors = known.errors + excluded.errors`
const READ_USAGE = `
  select date_trunc($4, hour, 'UTC') as "startsAt", sum(requests) as requests, sum(points) as points, sum(errors) as errors
  from client_usage where client_id = $1 and hour >= $2 and hour < $3 group by 1 order by 1`
const LAST_USED = `
  select client.id, last.hour from unnest($1::text[]) as client (id) cross join lateral (
    select hour from client_usage where client_id = client.id order by hour desc limit 1) as last`

/** Sums, which the driver gives as text. */
interface UsageRow {
  readonly startsAt: Date
  readonly requests: string
  readonly points: string
  readonly errors: string
}

/** What clients used, by the hour. */
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
/** The store as `usage.ts` takes it. */
export type UsageStore = ReturnType<typeof usageStore>

const ENROLMENT_KEY = { name: 'admin' }

/** The one enrolment, and who there is before it is used. */
export const enrolmentStore = (database: Database) => ({
  /** The clients that hold the scope that administration depends on, in whatever status. */
  async clientsWithRootScope(tx?: Transaction): Promise<Client[]> {
    const tables = tx ? tablesIn(tx) : database.tables
    return (await tables.client.findMany({ where: { scopes: { has: ROOT_SCOPE } } })).map(toClient)
  },

  async hasNoClients(): Promise<boolean> {
    return (await database.tables.client.findFirst({ select: { id: true } })) === null
  },

  async current(): Promise<Enrolment | null> {
    const row = await database.tables.adminEnrolment.findUnique({ where: ENROLMENT_KEY })
    return row && { ...row, reason: row.reason as Enrolment['reason'] }
  },

  /** Opens the first enrolment, or one in place of another that has ended before `now`; false where one is open. */
  async openFirst(tx: Transaction, enrolment: Enrolment, now: Date): Promise<boolean> {
    const { adminEnrolment } = tablesIn(tx)
    const created = await adminEnrolment.createMany({
      data: [{ ...ENROLMENT_KEY, ...enrolment }],
      skipDuplicates: true,
    })
    if (created.count === 1) return true
    const whereEnded = { ...ENROLMENT_KEY, OR: [{ expiresAt: { lte: now } }, { usedAt: { not: null } }] }
    return (await adminEnrolment.updateMany({ where: whereEnded, data: enrolment })).count === 1
  },

  /** Opens an enrolment in place of any other. */
  async replace(tx: Transaction, enrolment: Enrolment): Promise<void> {
    const row = { ...ENROLMENT_KEY, ...enrolment }
    await tablesIn(tx).adminEnrolment.upsert({ where: ENROLMENT_KEY, create: row, update: enrolment })
  },

  /** True for the one caller that uses it up, of however many at once. */
  async consume(tx: Transaction, { salt }: Enrolment, now: Date): Promise<boolean> {
    const { count } = await tablesIn(tx).adminEnrolment.updateMany({
      where: { ...ENROLMENT_KEY, salt, usedAt: null, expiresAt: { gt: now } },
      data: { usedAt: now },
    })
    return count === 1
  },

  async findPlatformByName(tx: Transaction, name: string): Promise<Platform | null> {
    return tablesIn(tx).platform.findUnique({ where: { name }, select: { id: true, name: true } })
  },
})
