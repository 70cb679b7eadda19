#!/usr/bin/env node
// Offline replacement for Prisma's native schema engine: the same JSON-RPC over stdio, with @prisma/schema-engine-wasm.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { bindMigrationAwareSqlAdapterFactory } from '@prisma/driver-adapter-utils'
const require = createRequire(import.meta.url)
const argv = process.argv.slice(2)
const datamodels = []
let datasource, cli
for (let i = 0; i < argv.length; i++) {
  const a = argv[i]
  if (a === '--datamodels') {
    const p = argv[++i]
    datamodels.push([p, readFileSync(p, 'utf8')])
  } else if (a === '--datasource') datasource = JSON.parse(argv[++i])
  else if (a === '--enabled-preview-features' || a === '--extension-types') i++
  else if (a === 'cli') cli = argv[++i]
  else if (a === '--version') {
    console.log('schema-engine-cli wasm-shim')
    process.exit(0)
  }
}
async function pgliteFactory(dir) {
  // dir undefined: in-memory
  const { PGlite } = await import('@electric-sql/pglite')
  const { PrismaPGlite } = await import('pglite-prisma-adapter')
  const db = new PGlite(dir)
  const f = new PrismaPGlite(db)
  return {
    provider: 'postgres',
    adapterName: f.adapterName,
    connect: async () => {
      const a = await f.connect()
      a.executeScript = async (script) => {
        try {
          await db.exec(script)
        } catch (e) {
          a.onError(e)
        }
      } // 0.7.2 does not await exec
      return a
    },
  }
}
async function pgFactory(url) {
  const { PrismaPg } = await import('@prisma/adapter-pg')
  const pg = (await import('pg')).default
  const CHAR = 18 // catalog type "char": adapter-pg 7.10.1 has no mapping for it
  const fix = (x) => {
    for (const f of x?.fields ?? []) if (f.dataTypeID === CHAR) f.dataTypeID = 25
    return x
  }
  class Client extends pg.Client {
    query(...a) {
      const cb = a.at(-1)
      if (typeof cb === 'function') {
        a[a.length - 1] = (e, r) => cb(e, fix(r))
        return super.query(...a)
      }
      const r = super.query(...a)
      return typeof r?.then === 'function' ? r.then(fix) : r
    }
  }
  const pool = new pg.Pool({ connectionString: url, Client, max: 2 })
  const f = new PrismaPg(pool, { disposeExternalPool: true })
  return {
    provider: 'postgres',
    adapterName: f.adapterName,
    connect: async () => {
      const a = await f.connect()
      a.executeScript = async (script) => {
        try {
          await pool.query(script)
        } catch (e) {
          a.onError(e)
        }
      } // adapter-pg splits on ';' (breaks $$ bodies, not atomic)
      return a
    },
  }
}
async function adapterFactory() {
  const url = datasource?.url
  const main =
    !url || process.env.SE_MEMORY
      ? await pgliteFactory()
      : url.startsWith('pglite:')
        ? await pgliteFactory(url.slice(7))
        : await pgFactory(url)
  return {
    provider: 'postgres',
    adapterName: main.adapterName,
    connect: () => main.connect(),
    // The shadow database is always a throw-away in-memory PGlite (never the real server)
    connectToShadowDb: async () => (await pgliteFactory()).connect(),
  }
}
let glue
async function load() {
  glue = await import('@prisma/schema-engine-wasm/schema_engine_bg')
  const p = require.resolve('@prisma/schema-engine-wasm').replace(/schema_engine\.js$/, 'schema_engine_bg.wasm')
  const { instance } = await WebAssembly.instantiate(readFileSync(p), { './schema_engine_bg.js': glue })
  glue.__wbg_set_wasm(instance.exports)
  instance.exports.__wbindgen_start()
}
let loaded
async function engine() {
  await (loaded ??= load())
  const log = process.env.SE_LOG ? (m) => process.stderr.write(m + '\n') : () => {}
  return glue.SchemaEngine.new(
    { datamodels: datamodels.length ? datamodels : undefined },
    log,
    bindMigrationAwareSqlAdapterFactory(await adapterFactory()),
  )
}
function logErr(code, message) {
  process.stderr.write(
    'x\n' +
      JSON.stringify({
        level: 'ERROR',
        target: 'schema_engine::logger',
        fields: { message, error_code: code ?? 'P1001' },
      }) +
      '\n',
  )
}
if (cli) {
  try {
    if (datasource.url.startsWith('pglite:')) process.exit(0)
    if (cli === 'can-connect-to-database' || cli === 'create-database') {
      const pg = (await import('pg')).default
      const u = new URL(datasource.url)
      if (cli === 'create-database') {
        const db = u.pathname.slice(1)
        u.pathname = '/postgres'
        const c = new pg.Client(u.href)
        await c.connect()
        await c.query(`create database "${db.replaceAll('"', '""')}"`)
        await c.end()
      } else {
        const c = new pg.Client(u.href)
        await c.connect()
        await c.end()
      }
    }
    process.exit(0)
  } catch (e) {
    logErr(e.code === '3D000' ? 'P1003' : e.code === '28P01' ? 'P1000' : 'P1001', e.message)
    process.exit(1)
  }
}
const map = { getDatabaseVersion: 'version' }
let ep
for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  if (!line.trim()) continue
  const { id, method, params } = JSON.parse(line)
  if (process.env.SE_LOG) process.stderr.write(JSON.stringify({ method, params }).slice(0, 2000) + '\n')
  const send = (o) => process.stdout.write(JSON.stringify({ jsonrpc: '2.0', id, ...o }) + '\n')
  try {
    ep = engine() // a fresh engine for each command
    const e = await ep
    let result
    if (method === 'evaluateDataLoss') {
      // the WASM build cannot open a shadow database here; no data-loss warnings offline
      const d = await e.diff({
        from: { tag: 'migrations', ...params.migrationsList },
        to: { tag: 'schemaDatamodel', ...params.schema },
        script: true,
        exitCode: true,
        shadowDatabaseUrl: null,
        filters: params.filters,
      })
      if (d.exitCode === 2 && /\bDROP (TABLE|COLUMN|TYPE)\b/.test(d.stdout))
        process.stdout.write(
          JSON.stringify({
            jsonrpc: '2.0',
            id: 'w' + id,
            method: 'print',
            params: { content: 'WARNING: this migration drops data' },
          }) + '\n',
        )
      result = { migrationSteps: d.exitCode === 2 ? 1 : 0, unexecutableSteps: [], warnings: [] }
    } else if (method === 'createMigration') {
      const d = await e.diff({
        from: { tag: 'migrations', ...params.migrationsList },
        to: { tag: 'schemaDatamodel', ...params.schema },
        script: true,
        exitCode: true,
        shadowDatabaseUrl: null,
        filters: params.filters,
      })
      const ts = new Date().toISOString().replace(/\D/g, '').slice(0, 14)
      result = {
        connectorType: 'postgresql',
        generatedMigrationName: `${ts}_${params.migrationName}`,
        extension: 'sql',
        migrationScript: d.exitCode === 2 || params.draft ? (d.stdout ?? '') : null,
      }
    } else result = await e[map[method] ?? method](params)
    if (method === 'diff' && result?.stdout != null) {
      process.stdout.write(
        JSON.stringify({ jsonrpc: '2.0', id: 'p' + id, method: 'print', params: { content: result.stdout } }) + '\n',
      )
    }
    send({ result: result ?? {} })
  } catch (e) {
    if (process.env.SE_LOG) process.stderr.write(String(e?.stack ?? e) + JSON.stringify(e) + '\n')
    const msg = e?.message ?? String(e)
    send({
      error: {
        code: 4466,
        message: msg,
        data: { is_panic: false, message: msg, error_code: e?.code, meta: e?.meta ?? {} },
      },
    })
  }
}
process.exit(0)
