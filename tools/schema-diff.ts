import { globSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import { PrismaPg } from '@prisma/adapter-pg'
import {
  bindMigrationAwareSqlAdapterFactory,
  ColumnTypeEnum,
  type ColumnType,
  type SqlMigrationAwareDriverAdapterFactory,
  type SqlQuery,
  type SqlResultSet,
} from '@prisma/driver-adapter-utils'
import * as engine from '@prisma/schema-engine-wasm/schema_engine_bg'
import pg from 'pg'
import { withTemporaryPostgres } from './temporary-postgres.ts'

const root = join(import.meta.dirname, '..')
/** Not in the types of Node, because they belong to those of browsers. */
declare const WebAssembly: {
  instantiate(
    bytes: Uint8Array,
    imports: Readonly<Record<string, unknown>>,
  ): Promise<{ instance: { exports: Readonly<Record<string, unknown>> } }>
}
const schemaFile = join(root, 'prisma/schema.prisma')

/**
 * The SQL that leads from prisma/migrations to prisma/schema.prisma; empty if they agree. Both are compared by Prisma's schema
 * engine, on a temporary PostgreSQL server that has executed the migrations.
 */
export const diffSchema = (): Promise<string> =>
  withTemporaryPostgres(async (url) => {
    await loadEngine()
    const files = [{ path: schemaFile, content: readFileSync(schemaFile, 'utf8') }]
    const schemaEngine = await engine.SchemaEngine.new(
      { datamodels: files.map(({ path, content }) => [path, content]) },
      () => undefined,
      bindMigrationAwareSqlAdapterFactory(adapterFactory(url)),
    )
    const { exitCode, stdout } = await schemaEngine.diff({
      from: { tag: 'migrations', ...readMigrations() },
      to: { tag: 'schemaDatamodel', files },
      script: true,
      exitCode: true,
      filters: { externalTables: [], externalEnums: [] },
    })
    return exitCode === 0 ? '' : (stdout ?? '')
  })

/** Loads the WebAssembly build of the engine: its native build is not in any package, and its download is not reachable in CI. */
async function loadEngine(): Promise<void> {
  Object.assign(globalThis, {
    PRISMA_WASM_PANIC_REGISTRY: { set_message: (message: string) => process.stderr.write(`${message}\n`) },
  })
  const file = createRequire(import.meta.url)
    .resolve('@prisma/schema-engine-wasm')
    .replace(/schema_engine\.js$/, 'schema_engine_bg.wasm')
  const { instance } = await WebAssembly.instantiate(readFileSync(file), { './schema_engine_bg.js': engine })
  engine.__wbg_set_wasm(instance.exports)
  ;(instance.exports['__wbindgen_start'] as () => void)()
}

const readMigrations = () => ({
  baseDir: join(root, 'prisma/migrations'),
  lockfile: { path: 'migration_lock.toml', content: 'provider = "postgresql"' },
  shadowDbInitScript: '',
  migrationDirectories: globSync(join(root, 'prisma/migrations/*/migration.sql'))
    .sort()
    .map((file) => ({
      path: basename(dirname(file)),
      migrationFile: { path: 'migration.sql', content: { tag: 'ok' as const, value: readFileSync(file, 'utf8') } },
    })),
})

/** Connects the engine to the server at `url`. The migrations run in a database of the server that the engine may fill. */
function adapterFactory(url: string): SqlMigrationAwareDriverAdapterFactory {
  const connect = async () => {
    const pool = new pg.Pool({ connectionString: url, max: 2 })
    const adapter = await new PrismaPg(pool, { disposeExternalPool: true }).connect()
    adapter.queryRaw = (query) => queryCatalog(pool, query)
    // The adapter splits scripts at `;`, which breaks the bodies of functions.
    adapter.executeScript = async (script) => void (await pool.query(script))
    return adapter
  }
  return { provider: 'postgres', adapterName: '@prisma/adapter-pg', connect, connectToShadowDb: connect }
}

/** The types of columns in PostgreSQL's catalog that are not text, by OID. */
const COLUMN_TYPES: Readonly<Record<number, ColumnType>> = {
  16: ColumnTypeEnum.Boolean,
  18: ColumnTypeEnum.Character,
  20: ColumnTypeEnum.Int64,
  21: ColumnTypeEnum.Int32,
  23: ColumnTypeEnum.Int32,
  26: ColumnTypeEnum.Int64,
  1002: ColumnTypeEnum.CharacterArray,
  1003: ColumnTypeEnum.TextArray,
  1009: ColumnTypeEnum.TextArray,
}

/** Executes a query of the engine. Prisma's adapter cannot: it has no mapping for the catalog's type "char". */
async function queryCatalog(pool: pg.Pool, { sql, args }: SqlQuery): Promise<SqlResultSet> {
  const { fields, rows } = await pool.query<unknown[]>({ text: sql, values: args, rowMode: 'array' })
  return {
    columnNames: fields.map(({ name }) => name),
    columnTypes: fields.map(({ dataTypeID }) => COLUMN_TYPES[dataTypeID] ?? ColumnTypeEnum.Text),
    rows,
  }
}
