import { join } from 'node:path'
import pg from 'pg'
import type { AlertEnvironment } from './alert-environment.ts'
import { insertBacklog } from './alert-backlog.ts'
import { startChild } from './child.ts'
import type { QueueCommand, QueueResult } from './own-queue.ts'
import { postgresCpuSeconds } from './process.ts'

const JOBS = 20_000
const ROUNDS = 5
const median = (numbers: readonly number[]): number => [...numbers].sort((a, b) => a - b)[numbers.length >> 1]!

interface Queue {
  readonly name: string
  /** Fills the queue and works it off once. */
  run(): Promise<QueueResult & { postgresS: number }>
}

/**
 * Compares the queue of deliveries, with webhooks that are not sent, and the outbox with graphile-worker: jobs per second in one
 * process, from the first job until all are completed in the database, in interleaved rounds. `databaseUrl` is a database with
 * delivered alerts and no running worker.
 */
export async function compareQueues(
  environment: AlertEnvironment,
  databaseUrl: string,
  print: (line: string) => void,
): Promise<void> {
  const database = new pg.Client({ connectionString: databaseUrl })
  await database.connect()
  const peer = await environment.createDatabase()
  const queues = createQueues(environment, database, databaseUrl, peer.url)
  const results = new Map<string, Awaited<ReturnType<Queue['run']>>[]>(queues.map(({ name }) => [name, []]))
  try {
    for (let round = 0; round < ROUNDS; round++)
      for (const { name, run } of queues) results.get(name)!.push(await run())
  } finally {
    await database.end()
    await peer.drop()
  }
  const perSecond = new Map(
    [...results].map(([name, rounds]) => [name, median(rounds.map(({ ms }) => (JOBS / ms) * 1e3))]),
  )
  const recommended = perSecond.get(queues[0]!.name)!
  print(
    `\n${JOBS} jobs in one process, medians of ${ROUNDS} interleaved rounds (bar: deliveries 1.5 × graphile-worker)`,
  )
  print('                                    jobs/s   relative   CPU µs per job: Node, PostgreSQL')
  for (const [name, rounds] of results)
    print(
      `${name.padEnd(34)} ${perSecond.get(name)!.toFixed(0).padStart(7)}   ${(perSecond.get(name)! / recommended).toFixed(2).padStart(6)} ×   ` +
        `${median(rounds.map(({ cpuUs }) => cpuUs / JOBS)).toFixed(0)}, ${median(rounds.map(({ postgresS }) => (postgresS / JOBS) * 1e6)).toFixed(0)}`,
    )
}

function createQueues(
  environment: AlertEnvironment,
  database: pg.Client,
  databaseUrl: string,
  peerUrl: string,
): Queue[] {
  /** Runs one command in a new process. The work before it, such as filling the queue, is not counted. */
  async function measure(file: string, command: object): Promise<QueueResult & { postgresS: number }> {
    const child = startChild(join(import.meta.dirname, file))
    const before = postgresCpuSeconds(environment.postmasterPid)
    const result = await child.request<QueueResult>(command)
    child.stop()
    return { ...result, postgresS: postgresCpuSeconds(environment.postmasterPid) - before }
  }
  const graphile = (name: string, preset: string): Queue => ({
    name,
    run: () => measure('graphile-worker.mjs', { preset, databaseUrl: peerUrl, count: JOBS }),
  })
  const own = (name: string, kind: QueueCommand['kind'], fill: () => Promise<unknown>): Queue => ({
    name,
    async run() {
      await fill()
      return measure('own-queue.ts', {
        kind,
        count: JOBS,
        env: environment.workerEnvironment(databaseUrl),
      } satisfies QueueCommand)
    },
  })
  return [
    graphile('graphile-worker, local queue of 500', 'recommended'),
    graphile('graphile-worker, without batches', 'unbatched'),
    own('deliveries', 'deliveries', () => insertBacklog(database, JOBS)),
    own('outbox', 'outbox', () =>
      database.query(
        `insert into outbox_message (id, topic, subject_id, next_attempt_at)
         select 'msg_' || gen_random_uuid(), 'consent.changed', 'cons_none', now() from generate_series(1, $1::int)`,
        [JOBS],
      ),
    ),
  ]
}
