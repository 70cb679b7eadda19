// Jobs without work on graphile-worker, for comparison with the queue of deliveries.
import { run, runMigrations, makeWorkerUtils } from 'graphile-worker'
import pg from 'pg'
import { nowMs, serveCommands } from './child.ts'

/** The settings of https://worker.graphile.org/docs/performance, which its own benchmark uses. */
const RECOMMENDED = {
  concurrentJobs: 24,
  maxPoolSize: 25,
  localQueue: { size: 500 },
  completeJobBatchDelay: 0,
  failJobBatchDelay: 0,
}
/** The same without batches: each job is claimed and completed by a statement of its own. */
const UNBATCHED = { concurrentJobs: 24, maxPoolSize: 25 }
const PRESETS = { recommended: RECOMMENDED, unbatched: UNBATCHED }

const quietLogger = { error: (message) => process.stderr.write(`${message}\n`), warn() {}, info() {}, debug() {} }

/** Adds `count` jobs, runs them, and returns when the first one began and when all were completed in the database. */
async function measure({ preset, databaseUrl, count }) {
  const worker = { connectionString: databaseUrl, ...PRESETS[preset] }
  const { Logger } = await import('graphile-worker')
  const logger = new Logger(() => (level, message) => quietLogger[level]?.(message))
  await runMigrations({ preset: { worker }, logger })
  const utils = await makeWorkerUtils({ preset: { worker }, logger })
  await utils.addJobs(Array.from({ length: count }, (_, index) => ({ identifier: 'nothing', payload: { index } })))
  await utils.release()
  const database = new pg.Client({ connectionString: databaseUrl })
  await database.connect()
  let startedMs
  let cpu
  const runner = await run({
    preset: { worker },
    logger,
    noHandleSignals: true,
    taskList: {
      nothing() {
        startedMs ??= nowMs()
        cpu ??= process.cpuUsage()
      },
    },
  })
  const isPending = async () =>
    (await database.query('select 1 from graphile_worker._private_jobs limit 1')).rowCount > 0
  while (await isPending()) await new Promise((resolve) => setTimeout(resolve, 10))
  const { user, system } = process.cpuUsage(cpu)
  const result = { ms: nowMs() - startedMs, cpuUs: user + system }
  await runner.stop()
  await database.end()
  return result
}

serveCommands(measure)
