// The worker's queues without the work, for comparison with graphile-worker: deliveries whose webhooks are not sent, and messages
// of the outbox that nothing follows from.
import { createApp } from '../src/app.ts'
import { readConfig } from '../src/config.ts'
import { createLog } from '../src/kernel/log.ts'
import { createOutboundHttp, type OutboundHttp } from '../src/kernel/outbound-http.ts'
import { createWorld, type World } from '../src/kernel/world.ts'
import type { OutboxHandlers } from '../src/modules/outbox/index.ts'
import { openDatabase } from '../src/storage/database.ts'
import pg from 'pg'
import { nowMs, serveCommands } from './child.ts'

/** Works off everything that is pending, on the database that `env` names. */
export interface QueueCommand {
  readonly kind: 'deliveries' | 'outbox'
  /** How much is pending. */
  readonly count: number
  readonly env: Readonly<Record<string, string>>
}

/** From the first item to the last commit, with the CPU time of this process. */
export interface QueueResult {
  readonly ms: number
  readonly cpuUs: number
}

serveCommands<QueueCommand>(async ({ kind, count, env }) => {
  const config = readConfig(env)
  const log = createLog(
    'error',
    () => new Date(),
    (line) => process.stderr.write(`${line}\n`),
  )
  const stopwatch = createStopwatch()
  const sent = { count: 0 }
  const http = withoutSending(createOutboundHttp(config.egress), () => {
    stopwatch.start()
    sent.count++
  })
  const world = createWorld(log, http)
  const database = openDatabase(config.databaseUrl!)
  const app = await createApp(config, world, database)
  const observer = new pg.Client({ connectionString: config.databaseUrl })
  await observer.connect()
  const isFinished = async (): Promise<boolean> =>
    sent.count >= count &&
    (await observer.query("select 1 from delivery where status = 'PENDING' limit 1")).rowCount === 0
  const result =
    kind === 'deliveries'
      ? await deliverAll(app, isFinished, stopwatch)
      : await handleAll(app.services.outbox, stopwatch)
  await observer.end()
  await database.close()
  return result
})

/** Measures from the first call of `start` on. */
function createStopwatch() {
  let startedMs: number | undefined
  let cpu: NodeJS.CpuUsage | undefined
  return {
    start() {
      startedMs ??= nowMs()
      cpu ??= process.cpuUsage()
    },
    read(): QueueResult {
      const { user, system } = process.cpuUsage(cpu)
      return { ms: nowMs() - startedMs!, cpuUs: user + system }
    },
  }
}

/** Every request gets 204 at once. */
function withoutSending(http: OutboundHttp, onSend: () => void): World['http'] {
  return {
    ...http,
    pool: (options) => withoutSending(http.pool(options), onSend),
    send() {
      onSend()
      return Promise.resolve({ status: 204, headers: {}, text: '' })
    },
  }
}

type App = Awaited<ReturnType<typeof createApp>>
type Stopwatch = ReturnType<typeof createStopwatch>

async function deliverAll(app: App, isFinished: () => Promise<boolean>, stopwatch: Stopwatch): Promise<QueueResult> {
  await app.start()
  while (!(await isFinished())) await new Promise((resolve) => setTimeout(resolve, 10))
  const result = stopwatch.read()
  await app.stop()
  return result
}

async function handleAll(outbox: App['services']['outbox'], stopwatch: Stopwatch): Promise<QueueResult> {
  const handlers = { 'consent.changed': () => Promise.resolve() } as unknown as OutboxHandlers
  stopwatch.start()
  while ((await outbox.processBatch('FAST', handlers)) > 0);
  return stopwatch.read()
}
