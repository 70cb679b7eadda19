// `npm run bench -- --alerts`: the pipeline of alerts from a bank's push to a platform's endpoint.
import { join } from 'node:path'
import { insertBacklog } from './alert-backlog.ts'
import { createAlertEnvironment, type Shape } from './alert-environment.ts'
import { measureFairness } from './alert-fairness.ts'
import { measureGrowth } from './alert-growth.ts'
import { compareQueues } from './alert-queues.ts'
import {
  callLoad,
  callReceiver,
  countAccepted,
  deliveryDelaysOf,
  describeStatuses,
  latenciesOf,
  percentilesOf,
  sendAlerts,
  shortMs,
  sleep,
  waitForWebhooks,
  type AlertRig,
} from './alert-rig.ts'
import type { LoadResult } from './bank-load.ts'
import { nowMs, startChild } from './child.ts'
import { measurePeakRssMiB, postgresCpuSeconds } from './process.ts'
import type { Arrivals } from './webhook-receiver.ts'

const WARM_UP = { count: 1_000, perSecond: 50 }
/** Four banks send 500 a second: each more than one of its addresses may. */
const ADDRESSES_PER_BANK = 3
/** Idle time after a load: the autovacuum of one measurement must not count for the next. */
const PAUSE_MS = 2_000

/** CPU seconds so far: of the gateway, of the worker unless it is the same process, and of PostgreSQL. */
function readCpu({ environment, running }: AlertRig) {
  const { gateway, worker, shape } = running
  return {
    gateway: gateway.cpuS(),
    worker: shape === 'ALL' ? 0 : worker.cpuS(),
    postgres: postgresCpuSeconds(environment.postmasterPid),
  }
}

/** WAL bytes and transactions so far. */
async function readDatabase({ running: { database } }: AlertRig): Promise<{ walBytes: number; commits: number }> {
  await sleep(1_100) // A backend reports its statistics at most once a second.
  const { rows } = await database.query<{ wal: string; commits: string }>(
    `select pg_current_wal_lsn() - '0/0' as wal, xact_commit as commits from pg_stat_database where datname = current_database()`,
  )
  return { walBytes: Number(rows[0]!.wal), commits: Number(rows[0]!.commits) }
}

/** One load from its first event to its last webhook, and what it cost. */
async function measureThroughput(rig: AlertRig, load: { count: number; perSecond: number }): Promise<void> {
  const { print } = rig
  await callReceiver(rig.receiver, { kind: 'take' })
  await callLoad(rig.load, { kind: 'sign', count: load.count, severity: 'URGENT' })
  const databaseBefore = await readDatabase(rig)
  const before = readCpu(rig)
  const result = await callLoad<LoadResult>(rig.load, { kind: 'send', perSecond: load.perSecond })
  const accepted = countAccepted(result)
  const backlog = accepted - (await callReceiver<number>(rig.receiver, { kind: 'count' }))
  const isDrained = await waitForWebhooks(rig, accepted)
  const after = readCpu(rig)
  const databaseAfter = await readDatabase(rig)
  const { atMs, ids } = await callReceiver<Arrivals>(rig.receiver, { kind: 'take' })
  const startMs = result.dueMs[0]!
  const lastResponseMs = Math.max(...result.respondedMs)
  const lastArrivalMs = atMs.at(-1) ?? NaN
  const delivered = new Set(ids).size
  const perAlert = (total: number): number => total / delivered
  const cpuMs = {
    gateway: perAlert((after.gateway - before.gateway) * 1e3),
    worker: perAlert((after.worker - before.worker) * 1e3),
    postgres: perAlert((after.postgres - before.postgres) * 1e3),
  }
  print(
    `\n${load.perSecond}/s for ${load.count / load.perSecond} s (${describeStatuses(result)})` +
      (isDrained ? '' : `  NOT ALL DELIVERED: ${delivered} of ${accepted}`),
  )
  print(
    `  in ${((accepted / (lastResponseMs - startMs)) * 1e3).toFixed(0)}/s, out ${((delivered / (lastArrivalMs - startMs)) * 1e3).toFixed(0)}/s; backlog at the end ${backlog}, drained after ${shortMs(Math.max(0, lastArrivalMs - lastResponseMs))}; ${ids.length - delivered} sent more than once`,
  )
  print(
    `  CPU per alert ${(cpuMs.gateway + cpuMs.worker + cpuMs.postgres).toFixed(2)} ms (bar 3): gateway ${cpuMs.gateway.toFixed(2)}, worker ${cpuMs.worker.toFixed(2)}, PostgreSQL ${cpuMs.postgres.toFixed(2)}; ` +
      `${perAlert(databaseAfter.commits - databaseBefore.commits).toFixed(1)} transactions and ${perAlert((databaseAfter.walBytes - databaseBefore.walBytes) / 1_024).toFixed(1)} KiB of WAL per alert`,
  )
  print(`  intake ${percentilesOf(latenciesOf(result))}`)
  await sleep(PAUSE_MS)
}

async function measureIntake(rig: AlertRig): Promise<void> {
  await callReceiver(rig.receiver, { kind: 'take' })
  const result = await sendAlerts(rig, { count: 4_000, perSecond: 200 })
  rig.print(
    `\nintake at 200/s for 20 s (${describeStatuses(result)}): ${percentilesOf(latenciesOf(result))} (bar: p95 100 ms)`,
  )
  await waitForWebhooks(rig, countAccepted(result))
  await sleep(PAUSE_MS)
}

/** From the bank's 202 to the arrival at the platform. */
async function measureDelivery(rig: AlertRig): Promise<void> {
  await callReceiver(rig.receiver, { kind: 'take' })
  const result = await sendAlerts(rig, { count: 2_000, perSecond: 50 })
  await waitForWebhooks(rig, countAccepted(result))
  const delays = await deliveryDelaysOf(rig, result, await callReceiver<Arrivals>(rig.receiver, { kind: 'take' }))
  rig.print(
    `\nURGENT at 50/s for 40 s (${describeStatuses(result)}): 202 to webhook ${percentilesOf(delays)}, most ${shortMs(Math.max(...delays))} (bars: p50 50 ms, p99 500 ms)`,
  )
  await sleep(PAUSE_MS)
}

const BACKLOG = 100_000
const BACKLOG_TIMEOUT_MS = 300_000

async function measureBacklog(rig: AlertRig): Promise<void> {
  const { running, print } = rig
  await running.stopWorker()
  await insertBacklog(running.database, BACKLOG)
  await callReceiver(rig.receiver, { kind: 'take' })
  const postgresBefore = postgresCpuSeconds(rig.environment.postmasterPid)
  const worker = await running.startWorker()
  const startedAtMs = nowMs()
  const readPeakMiB = measurePeakRssMiB(worker.child.pid!)
  const isDrained = await waitForWebhooks(rig, BACKLOG, BACKLOG_TIMEOUT_MS)
  const after = readCpu(rig)
  const { ids, atMs } = await callReceiver<Arrivals>(rig.receiver, { kind: 'take' })
  const seconds = ((isDrained ? atMs.at(-1)! : nowMs()) - startedAtMs) / 1_000
  const delivered = new Set(ids).size
  print(
    `\n${BACKLOG} waiting deliveries: ${isDrained ? `drained in ${seconds.toFixed(0)} s` : `ONLY ${delivered} drained in ${seconds.toFixed(0)} s`}, ${(delivered / seconds).toFixed(0)}/s; ` +
      `peak RSS of the worker ${readPeakMiB().toFixed(0)} MiB (bar 400 MB); CPU per delivery: worker ${((after.worker / delivered) * 1e3).toFixed(2)} ms, PostgreSQL ${(((after.postgres - postgresBefore) / delivered) * 1e3).toFixed(2)} ms`,
  )
  await sleep(PAUSE_MS)
}

const SECTIONS: ReadonlySet<string> = new Set([
  'intake',
  'delivery',
  'throughput',
  'growth',
  'fairness',
  'backlog',
  'queues',
])

async function measureShape(rig: AlertRig, sections: ReadonlySet<string>): Promise<void> {
  const { running, print } = rig
  print(`\n── ${running.shape === 'ALL' ? 'one process (npm start)' : 'a gateway and a worker'}`)
  await callReceiver(rig.receiver, { kind: 'take' })
  await waitForWebhooks(rig, countAccepted(await sendAlerts(rig, WARM_UP)))
  if (sections.has('intake')) await measureIntake(rig)
  if (sections.has('delivery')) await measureDelivery(rig)
  if (sections.has('throughput')) {
    await measureThroughput(rig, { count: 6_000, perSecond: 200 })
    await measureThroughput(rig, { count: 15_000, perSecond: 500 })
  }
  if (running.shape === 'ALL') return
  if (sections.has('growth')) await measureGrowth(rig)
  if (sections.has('fairness')) await measureFairness(rig)
  if (sections.has('backlog')) await measureBacklog(rig)
  if (sections.has('queues')) {
    await running.stopWorker()
    await compareQueues(rig.environment, running.databaseUrl, print)
  }
}

/** Runs the measurements of these sections, by default all, on ports from `firstPort` on and prints the results. */
export async function measureAlerts(
  firstPort: number,
  print: (line: string) => void,
  chosen: readonly string[] = [...SECTIONS],
): Promise<void> {
  const unknown = chosen.filter((section) => !SECTIONS.has(section))
  if (unknown.length > 0) throw new Error(`--alerts=${unknown.join(',')}: there are ${[...SECTIONS].join(', ')}`)
  const sections = new Set(chosen)
  const environment = await createAlertEnvironment(firstPort, print)
  const receiver = startChild(join(import.meta.dirname, 'webhook-receiver.ts'))
  const load = startChild(join(import.meta.dirname, 'bank-load.ts'))
  try {
    await callReceiver(receiver, { kind: 'listen', ports: environment.endpointPorts })
    await callLoad(load, { kind: 'senders', senders: environment.senders, addressCount: ADDRESSES_PER_BANK })
    for (const shape of ['SPLIT', 'ALL'] satisfies Shape[]) {
      const running = await environment.start(shape)
      try {
        await measureShape({ environment, running, load, receiver, print }, sections)
      } finally {
        await running.stop()
      }
    }
  } finally {
    load.stop()
    receiver.stop()
    await environment.stop()
  }
}
