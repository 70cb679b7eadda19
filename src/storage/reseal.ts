import type { Transaction } from '../kernel/transaction.ts'
import { RETRIES } from '../kernel/retry.ts'
import { tablesIn, type Database } from './database.ts'
import type { Seal, SealContext } from './seal.ts'

/** Every column that holds sealed values, as table, column and primary key. */
export const SEALED_COLUMNS = [
  ['snapshot', 'sealed', 'bank_account_key'],
  ['balance_line', 'sealed', 'id'],
  ['webhook_secret', 'sealed', 'id'],
  ['alert_question', 'sealed_event_id', 'alert_id'],
  ['alert_response', 'sealed_message', 'id'],
  ['alert_phrase', 'sealed', 'id'],
  ['account', 'sealed_ref', 'id'],
  ['connection', 'sealed_access', 'id'],
  ['bank_sign_in', 'sealed_data', 'state_digest'],
  ['certification_sign_in', 'sealed', 'run_id'],
  ['certification_access', 'sealed', 'id'],
  ['connector', 'sealed_key', 'id'],
  ['connector_credential', 'sealed', 'id'],
  ['shared_secret', 'sealed', 'name'],
] as const
type SealedColumn = (typeof SEALED_COLUMNS)[number]

/** Reseals values of older keys with the newest key while the gateway runs. Does nothing if there is only one key. */
export interface Resealer {
  /**
   * Starts the scan of every column again, because another process may have sealed with an older key until now. Call it when a
   * process starts.
   */
  start(): Promise<void>
  /**
   * Scans the next `limit` rows of each column by primary key and reseals values of older keys. A value that changes meanwhile
   * keeps its new content. Returns false after a full pass without findings; the next pass begins 10 minutes later.
   */
  resealBatch(limit: number): Promise<boolean>
  /** The number of columns that may still hold values of an older key. Do not remove that key before this is 0. */
  countRemainingColumns(): Promise<number>
}

interface Progress {
  column_name: string
  last_row_id: string
  outdated_count: number
}
interface SealedRow {
  id: string
  sealed: string | null
}

const COLUMN_NAMES = SEALED_COLUMNS.map(([table, column]) => `${table}.${column}`)

/** Each column has a progress row, which the process that works on it locks. Other processes skip it without waiting. */
export function createResealer(database: Database, seal: Seal): Resealer {
  const { newestKeyPrefix: keyPrefix, hasOlderKeys } = seal

  async function restart(): Promise<void> {
    await database.tables.$executeRaw`
      insert into reseal_progress (column_name, key_prefix) select name, ${keyPrefix} from unnest(${COLUMN_NAMES}::text[]) as name
      on conflict (column_name) do update set key_prefix = ${keyPrefix}, last_row_id = '', outdated_count = 0,
        completed_at = null`
  }

  async function resealColumn(tx: Transaction, [table, column, id]: SealedColumn, limit: number): Promise<boolean> {
    const name = `${table}.${column}`
    const [progress] = await tablesIn(tx).$queryRaw<Progress[]>`
      select column_name, last_row_id, outdated_count from reseal_progress where column_name = ${name}
        and (completed_at is null or completed_at < clock_timestamp() - ${RETRIES.reseal.delaysMs[0]}::int * interval '1 millisecond')
      for update skip locked`
    if (!progress) return false
    const rows = await tablesIn(tx).$queryRawUnsafe<SealedRow[]>(
      `select ${id} as id, ${column} as sealed from ${table} where ${id} > $1 order by ${id} limit ${limit}`,
      progress.last_row_id,
    )
    const older = rows.filter(
      (row): row is { id: string; sealed: string } => !!row.sealed && !row.sealed.startsWith(keyPrefix),
    )
    const resealed = await Promise.all(older.map(({ sealed }) => resealValue(sealed)))
    if (older.length > 0)
      // Rows are locked in key order to prevent deadlocks.
      await tablesIn(tx).$executeRawUnsafe(
        `with locked as (select ${id} from ${table} where ${id} = any($1::text[]) order by ${id} for update)
         update ${table} set ${column} = resealed.after
         from locked join unnest($1::text[], $2::text[], $3::text[]) as resealed (id, before, after) on resealed.id = locked.${id}
         where ${table}.${id} = locked.${id} and ${table}.${column} = resealed.before`,
        older.map((row) => row.id),
        older.map(({ sealed }) => sealed),
        resealed,
      )
    const outdatedCount = progress.outdated_count + older.length
    const isPassComplete = rows.length < limit
    await tablesIn(tx).$executeRaw`
      update reseal_progress set last_row_id = ${isPassComplete ? '' : rows.at(-1)!.id},
        outdated_count = ${isPassComplete ? 0 : outdatedCount},
        completed_at = case when ${isPassComplete && outdatedCount === 0} then clock_timestamp() end
      where column_name = ${name}`
    return !isPassComplete || outdatedCount > 0
  }

  async function resealValue(sealed: string): Promise<string> {
    const context = readContext(sealed)
    return seal.seal(context, await seal.unseal(context, sealed))
  }

  const countColumnsOfKey = (): Promise<number> =>
    database.tables.resealProgress.count({ where: { keyPrefix, columnName: { in: COLUMN_NAMES } } })

  return {
    async start() {
      if (hasOlderKeys) await restart()
    },

    async resealBatch(limit) {
      if (!hasOlderKeys) return false
      if ((await countColumnsOfKey()) < COLUMN_NAMES.length) await restart()
      let hasMore = false
      for (const column of SEALED_COLUMNS)
        if (await database.transaction((tx) => resealColumn(tx, column, limit))) hasMore = true
      return hasMore
    },

    async countRemainingColumns() {
      if (!hasOlderKeys) return 0
      const where = { keyPrefix, columnName: { in: COLUMN_NAMES }, completedAt: { not: null } }
      return COLUMN_NAMES.length - (await database.tables.resealProgress.count({ where }))
    },
  }
}

/** The context in a sealed value's header. `unseal` verifies it. */
function readContext(sealed: string): SealContext {
  const header = JSON.parse(Buffer.from(sealed.split('.')[0] ?? '', 'base64url').toString()) as { ctx?: unknown }
  return String(header.ctx) as SealContext
}
