import { PrismaPg } from '@prisma/adapter-pg'
import pg from 'pg'
import { PrismaClient, type Prisma } from '../generated/prisma/client.ts'
import type { InTransaction, Transaction } from '../kernel/transaction.ts'

/** The tables, outside or inside a transaction. */
export type Tables = Omit<Prisma.TransactionClient, '$disconnect'>

/** The one connection pool of the process. */
export interface Database {
  /** Reads and single writes. Inside a transaction use `within(tx)` and never this. */
  readonly tables: Tables
  readonly transaction: InTransaction
  /**
   * One statement, prepared once per connection, past Prisma: for what every request does, where the difference was
   * measured (docs/PERFORMANCE.md). `name` names the statement.
   */
  query<Row extends object>(name: string, sql: string, values: readonly unknown[]): Promise<Row[]>
  /**
   * The same for what is only remembered and can be had again: it does not wait for the disk, so that a server that
   * breaks down may lose the last moment of it, and nothing that was promised.
   */
  remember<Row extends object>(name: string, sql: string, values: readonly unknown[]): Promise<Row[]>
  /** Tells every listener of every process; within `tx` only once it has committed. */
  notify(channel: string, payload: string, tx?: Transaction): Promise<void>
  /**
   * Calls `heard` for every NOTIFY on `channel` until the returned function is called; reconnects by itself. Tells
   * `hearing` whether anything may be missed at the moment.
   */
  listen(
    channel: string,
    heard: (payload: string) => void,
    hearing?: (now: boolean) => void,
  ): Promise<() => Promise<void>>
  /** Runs `work` while no other process runs its own under the same name. */
  exclusively<T>(name: string, work: () => Promise<T>): Promise<T>
  /** Throws where the database does not answer. */
  ping(): Promise<void>
  close(): Promise<void>
}

const RELISTEN_MS = 500
/** A connection that does not answer for so long is as good as none. */
const SILENCE_MS = 2_000

/** Opens the database at `url` with at most `connections` connections. */
export function openDatabase(url: string, connections = 16): Database {
  const adapter = new PrismaPg({ connectionString: url, max: connections, connectionTimeoutMillis: 5_000 })
  const prisma = new PrismaClient({ adapter, errorFormat: 'minimal' })
  const plain = new pg.Pool({ connectionString: url, max: 4, connectionTimeoutMillis: 5_000 })
  const loose = new pg.Pool({
    connectionString: url,
    max: 4,
    connectionTimeoutMillis: 5_000,
    options: '-c synchronous_commit=off',
  })
  // A connection that breaks while nobody uses it is replaced at the next use.
  for (const pool of [plain, loose]) pool.on('error', () => undefined)
  const ask =
    (pool: pg.Pool) =>
    async <Row extends object>(name: string, sql: string, values: readonly unknown[]): Promise<Row[]> =>
      (await pool.query<Row>({ name, text: sql, values: [...values] })).rows
  return {
    tables: prisma,
    transaction: (work) =>
      prisma.$transaction((tx) => work(tx as unknown as Transaction), { maxWait: 10_000, timeout: 15_000 }),
    query: ask(plain),
    remember: ask(loose),
    async notify(channel, payload, tx) {
      await (tx ? within(tx) : prisma).$executeRaw`select pg_notify(${channel}, ${payload})`
    },
    listen: (channel, heard, hearing) => listen(url, channel, heard, hearing),
    async exclusively(name, work) {
      const client = new pg.Client({ connectionString: url })
      // A server that goes away meanwhile is told of by whatever asks it next, and not by ending the process.
      client.on('error', () => undefined)
      await client.connect()
      try {
        await client.query('select pg_advisory_lock(hashtext($1))', [name])
        return await work()
      } finally {
        await client.end()
      }
    },
    async ping() {
      await prisma.$queryRaw`select 1`
    },
    async close() {
      await Promise.all([plain.end(), loose.end()])
      await prisma.$disconnect()
    },
  }
}

/** The tables as the given transaction sees them. */
export const within = (tx: Transaction): Tables => tx as unknown as Tables

async function listen(
  url: string,
  channel: string,
  heard: (payload: string) => void,
  hearing: (now: boolean) => void = () => undefined,
): Promise<() => Promise<void>> {
  let client: pg.Client | undefined
  let stopped = false
  let retry: NodeJS.Timeout | undefined
  const connect = async (): Promise<void> => {
    const next = new pg.Client({ connectionString: url, keepAlive: true, query_timeout: SILENCE_MS })
    const beat: { timer?: NodeJS.Timeout } = {}
    next.on('notification', (message) => heard(message.payload ?? ''))
    next.on('error', () => undefined)
    next.on('end', () => {
      clearInterval(beat.timer)
      hearing(false)
      if (!stopped) retry = setTimeout(() => void connect().catch(() => undefined), RELISTEN_MS)
    })
    await next.connect()
    await next.query(`listen ${pg.escapeIdentifier(channel)}`)
    client = next
    hearing(true)
    // A server that is gone without a word is found out by asking.
    beat.timer = setInterval(() => {
      next.query('select 1').catch(() => {
        hearing(false)
        void next.end().catch(() => undefined)
      })
    }, SILENCE_MS)
  }
  await connect()
  return async () => {
    stopped = true
    clearTimeout(retry)
    await client?.end().catch(() => undefined)
  }
}
