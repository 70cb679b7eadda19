import { chownSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { systemTimers } from '../../src/kernel/clock.ts'
import { systemRandomness } from '../../src/kernel/ids.ts'
import { startEmbeddedPostgres } from '../../src/storage/embedded-postgres.ts'
import { migrate } from '../../src/storage/migrate.ts'
import { GENERIC_PLAN_SETTINGS } from '../../src/storage/session.ts'

/** One step of a plan, as EXPLAIN names it. */
export interface PlanNode {
  readonly 'Node Type': string
  readonly 'Relation Name'?: string
  readonly 'Index Name'?: string
  readonly 'Index Cond'?: string
  readonly Filter?: string
  readonly 'Total Cost': number
  readonly Plans?: readonly PlanNode[]
}

/** A server that takes its empty tables for those of an installation with a million consents. */
export interface PlanServer {
  /** How the server would run a statement whose values it does not know. */
  planOf(sql: string): Promise<PlanNode>
  /** How a connection that plans each statement once runs it after it was planned in a new installation, while tables were small. */
  planWhenNewOf(sql: string): Promise<PlanNode>
  query(sql: string, values?: unknown[]): Promise<Record<string, unknown>[]>
  /** How many rows a table or index has. */
  rowsOf(relation: string): number
  /** The tables that grow with the number of customers. */
  readonly largeTables: ReadonlySet<string>
  stop(): Promise<void>
}

interface Statistics {
  /** Rows and pages. */
  readonly relations: Readonly<Record<string, readonly [rows: number, pages: number]>>
  readonly columns: Readonly<Record<string, Readonly<Record<string, number | string>>>>
}

const PAGE_BYTES = 8_192
/** Of a relation's first file, which holds no more. Larger relations count as one of this size with more rows on a page. */
const MAX_PAGES = 131_071
const LARGE_ROWS = 10_000
/** Rows and pages of each table when autovacuum has analyzed it for the first time. */
const NEW_SIZE = [60, 2] as const
/** Rows of the tables that grow with the number of partners; what is not known counts as ten pages full. */
const PARTNERS = { webhook_endpoint: 60, client: 60, organization: 40, bank: 30, connector: 40 }

/**
 * Starts the embedded PostgreSQL, migrates it and imports the statistics that `tools/statistics.ts` has measured. Files are
 * made as long as they would be, with holes that take no room, since the planner believes nothing else about a size.
 */
export async function startPlanServer(): Promise<PlanServer> {
  const statistics = JSON.parse(readFileSync(join(import.meta.dirname, 'statistics.json'), 'utf8')) as Statistics
  const dataDir = mkdtempSync(join(tmpdir(), 'guichet-plans-'))
  const server = await startEmbeddedPostgres({
    dataDir,
    randomness: systemRandomness,
    timers: systemTimers,
    print: () => undefined,
  })
  await migrate(server.url, join(import.meta.dirname, '../../prisma/migrations'))
  const client = new pg.Client({ connectionString: server.url })
  await client.connect()
  const query = async (sql: string, values: unknown[] = []) =>
    (await client.query<Record<string, unknown>>(sql, values)).rows
  await query('alter system set autovacuum = off')
  await query('select pg_reload_conf()')
  await query('set max_parallel_workers_per_gather = 0')
  await query('checkpoint')
  const [settings] = await query('show data_directory')
  const dataDirectory = settings!['data_directory'] as string
  await setSizes(client, dataDirectory, (name) => statistics.relations[name] ?? statistics.relations[sizeOf(name)])
  for (const [table, rows] of Object.entries(PARTNERS))
    await query(
      `select pg_restore_relation_stats('schemaname', 'public', 'relname', $1::text, 'relpages', 1, 'reltuples', $2::real)`,
      [table, rows],
    )
  for (const [column, values] of Object.entries(statistics.columns)) await importColumn(query, column, values)
  const newClient = await connectToNewDatabase(server.url, client, dataDirectory)
  return {
    query,
    rowsOf: (relation) => statistics.relations[relation]?.[0] ?? 0,
    largeTables: new Set(
      Object.entries(statistics.relations)
        .filter(([name, [rows]]) => rows >= LARGE_ROWS && !/_(pkey|idx|key)$/.test(name))
        .map(([name]) => name),
    ),
    planOf: (sql) => explain(client, sql),
    planWhenNewOf: (sql) => explain(newClient, sql),
    async stop() {
      await newClient.end()
      await client.end()
      await server.stop()
      // The log stays: the end of the server is noticed a moment later, and reads it.
      for (const folder of ['base', 'pg_wal']) rmSync(join(dataDirectory, folder), { recursive: true, force: true })
    },
  }
}

async function explain(client: pg.Client, sql: string): Promise<PlanNode> {
  const { rows } = await client.query<{ 'QUERY PLAN': [{ Plan: PlanNode }] }>(
    `explain (generic_plan, format json) ${sql}`,
  )
  return rows[0]!['QUERY PLAN'][0].Plan
}

/** Makes the planner believe in these numbers of rows and pages. */
async function setSizes(
  client: pg.Client,
  dataDirectory: string,
  sizeOfRelation: (name: string) => readonly [rows: number, pages: number] | undefined,
): Promise<void> {
  const { rows: relations } = await client.query<{ name: string; path: string }>(
    `select relname as name, pg_relation_filepath(oid) as path from pg_class
     where relnamespace = 'public'::regnamespace and relkind in ('r', 'i')`,
  )
  for (const { name, path } of relations) {
    const size = sizeOfRelation(name)
    if (!size) continue
    const [rows, pages] = [size[0], Math.max(1, Math.min(size[1], MAX_PAGES))]
    const file = join(dataDirectory, path)
    const { uid, gid } = statSync(file)
    truncateSync(file, pages * PAGE_BYTES)
    chownSync(file, uid, gid)
    await client.query(
      `select pg_restore_relation_stats('schemaname', 'public', 'relname', $1::text, 'relpages', $2::int,
         'reltuples', $3::real, 'relallvisible', $2::int)`,
      [name, pages, rows],
    )
  }
}

async function connectToNewDatabase(serverUrl: string, admin: pg.Client, dataDirectory: string): Promise<pg.Client> {
  await admin.query('create database new_installation')
  const { href: url } = Object.assign(new URL(serverUrl), { pathname: '/new_installation' })
  await migrate(url, join(import.meta.dirname, '../../prisma/migrations'))
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query('checkpoint')
  await setSizes(client, dataDirectory, () => NEW_SIZE)
  for (const [name, value] of Object.entries(GENERIC_PLAN_SETTINGS)) await client.query(`set ${name} = '${value}'`)
  return client
}

const TYPES: Readonly<Record<string, string>> = {
  null_frac: 'real',
  avg_width: 'integer',
  n_distinct: 'real',
  correlation: 'real',
  most_common_vals: 'text',
  most_common_freqs: 'real[]',
}

async function importColumn(
  query: PlanServer['query'],
  column: string,
  statistics: Readonly<Record<string, number | string>>,
): Promise<void> {
  const [table, name] = column.split('.')
  const entries = Object.entries(statistics)
  const pairs = entries.map(([key], index) => `'${key}', $${index + 3}::${TYPES[key]!}`)
  await query(
    `select pg_restore_attribute_stats('schemaname', 'public', 'relname', $1::text, 'attname', $2::text,
       'inherited', false, ${pairs.join(', ')})`,
    [table, name, ...entries.map(([, value]) => value)],
  )
}

/** An index that is newer than the measurement is taken for one as large as the primary key of its table. */
function sizeOf(index: string): string {
  return `${index.replace(/_(idx|key)$/, '')}_pkey`
}
