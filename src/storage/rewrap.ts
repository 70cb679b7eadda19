import type { Database } from './database.ts'
import type { Seal, SealContext } from './seal.ts'

/** Every column that holds something sealed. */
export const SEALED_COLUMNS = [
  ['snapshot', 'sealed'],
  ['webhook_endpoint', 'sealed_secret'],
  ['account', 'sealed_ref'],
  ['connection', 'sealed_access'],
  ['bank_sign_in', 'sealed'],
  ['connector', 'sealed_key'],
  ['shared_secret', 'sealed'],
] as const

/** Moves what was sealed with an older key to the newest one, while everything runs. */
export interface Rewrap {
  /** Seals up to `limit` values of each column anew; returns how many. What changes meanwhile is left as it became. */
  work(limit: number): Promise<number>
  /** How many values are still sealed with an older key, which must not be taken away before this is 0. */
  left(): Promise<number>
}

/** By the key's name at the beginning of each value (the header of a JWE), so that nothing is opened that need not be. */
export function createRewrap(database: Database, seal: Seal): Rewrap {
  const older = (column: string): string => `${column} <> '' and ${column} not like $1`
  const newest = `${seal.prefix}%`
  return {
    async work(limit) {
      let count = 0
      for (const [table, column] of SEALED_COLUMNS) {
        const rows = await database.tables.$queryRawUnsafe<{ sealed: string }[]>(
          `select ${column} as sealed from ${table} where ${older(column)} limit ${limit}`,
          newest,
        )
        for (const { sealed } of rows) {
          const context = contextOf(sealed)
          const anew = await seal.seal(context, await seal.open(context, sealed))
          count += await database.tables.$executeRawUnsafe(
            `update ${table} set ${column} = $1 where ${column} = $2`,
            anew,
            sealed,
          )
        }
      }
      return count
    },

    async left() {
      let count = 0
      for (const [table, column] of SEALED_COLUMNS) {
        const [row] = await database.tables.$queryRawUnsafe<{ n: number }[]>(
          `select count(*)::int as n from ${table} where ${older(column)}`,
          newest,
        )
        count += row?.n ?? 0
      }
      return count
    },
  }
}

/** What a sealed value says that it belongs to; whether that is true shows when it is opened. */
function contextOf(sealed: string): SealContext {
  const header = JSON.parse(Buffer.from(sealed.split('.')[0] ?? '', 'base64url').toString()) as { ctx?: unknown }
  return String(header.ctx) as SealContext
}
