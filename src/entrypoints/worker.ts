import { SECOND_MS } from '../kernel/clock.ts'
import { errorTrace } from '../kernel/log.ts'
import { RETRIES } from '../kernel/retry.ts'
import type { World } from '../kernel/world.ts'
import type { Alerts } from '../modules/alerts/index.ts'
import type { Banks } from '../modules/banks/index.ts'
import type { Consents } from '../modules/consents/index.ts'
import type { Deliveries } from '../modules/deliveries/index.ts'
import type { Outbox, OutboxHandlers } from '../modules/outbox/index.ts'
import type { Resealer } from '../storage/reseal.ts'
import type { Signals } from '../storage/signals.ts'
import { createJobLoops, type Job } from './job-loops.ts'

/** The dependencies of the worker. */
export interface WorkerDependencies {
  readonly world: World
  readonly outbox: Outbox
  readonly signals: Signals
  readonly alerts: Alerts
  readonly consents: Consents
  readonly deliveries: Deliveries
  readonly banks: Banks
  /** Whether scheduled certification runs repeat the checks of active connectors. */
  readonly runsScheduledCertification: boolean
  readonly resealer: Resealer
  /** Deletes the grant with this ID and its tokens. */
  readonly deleteGrantTokens: (oauthGrantId: string) => Promise<void>
  /** Ends all sessions of a customer. */
  readonly endSessions: (customerId: string) => Promise<void>
  /** Functions that delete expired rows; each returns their number. */
  readonly cleanups: readonly (() => Promise<number>)[]
}

/** The background work of a process: what follows from commits, and what is due by time. */
export interface Worker {
  start(): Promise<void>
  /** Stops after the work in flight, but at the latest after five seconds. */
  stop(): Promise<void>
}

type JobName =
  'OUTBOX_FAST' | 'OUTBOX_SLOW' | 'DELIVERIES' | 'HOUSEKEEPING' | 'RESEALING' | 'CERTIFICATION' | 'EVENT_POLLING'

/** The triggers of the certification runs that each loop executes. A partner's run does not wait for scheduled ones. */
const CERTIFICATION_LOOPS = [['PARTNER'], ['PARTNER'], ['PARTNER', 'SCHEDULED'], ['SCHEDULED']] as const
const STOP_TIMEOUT_MS = 5 * SECOND_MS
/** Rows of each column that one batch checks for an older sealing key. */
const RESEAL_BATCH_SIZE = 500

/** Creates the worker; it does nothing until `start`. */
export function createWorker(dependencies: WorkerDependencies): Worker {
  const { world, outbox, alerts, deliveries } = dependencies
  const lifecycle = { isStopping: false }
  const loops = createJobLoops(
    createJobs(dependencies, () => !lifecycle.isStopping),
    world,
  )
  let unsubscribe: (() => Promise<void>) | undefined

  return {
    async start() {
      unsubscribe = await outbox.onEnqueued(() => {
        loops.wake('OUTBOX_FAST')
        loops.wake('OUTBOX_SLOW')
      })
      loops.start()
    },
    async stop() {
      lifecycle.isStopping = true
      // Another process repeats a certification run or a webhook attempt that does not end in time.
      await Promise.race([
        loops
          .stop()
          .then(() => Promise.all([alerts.waitUntilIdle(), deliveries.waitUntilIdle(), outbox.waitUntilIdle()])),
        new Promise<void>((resolve) => void world.timers.setTimeout(resolve, STOP_TIMEOUT_MS).unref()),
      ])
      deliveries.markStopping()
      await unsubscribe?.()
    },
  }
}

/** Every job of the worker. Each has its own loop, so that waiting for a bank or an endpoint delays no other job. */
function createJobs(dependencies: WorkerDependencies, shouldContinue: () => boolean): readonly Job<JobName>[] {
  const { outbox, alerts, deliveries, banks, resealer } = dependencies
  const handlers = createHandlers(dependencies)
  return [
    {
      name: 'OUTBOX_FAST',
      failureEvent: 'worker.outbox_failed',
      async run(wake) {
        const count = await outbox.processBatch('FAST', handlers)
        if (count > 0) wake('DELIVERIES')
        return count > 0
      },
    },
    {
      name: 'OUTBOX_SLOW',
      failureEvent: 'worker.slow_outbox_failed',
      run: async (wake) => (await outbox.startDue('SLOW', handlers, () => wake('OUTBOX_SLOW'))) > 0,
    },
    {
      name: 'DELIVERIES',
      failureEvent: 'worker.deliveries_failed',
      run: async (wake) => (await deliveries.startDue(() => wake('DELIVERIES'))) > 0,
    },
    {
      name: 'HOUSEKEEPING',
      failureEvent: 'worker.cleanup_failed',
      run: createHousekeeping(dependencies, shouldContinue),
    },
    {
      name: 'RESEALING',
      failureEvent: 'worker.reseal_failed',
      run: () => resealer.resealBatch(RESEAL_BATCH_SIZE),
    },
    ...CERTIFICATION_LOOPS.map((triggers): Job<JobName> => ({
      name: 'CERTIFICATION',
      failureEvent: 'worker.certifications_failed',
      run: () => banks.runNextCertification(triggers),
    })),
    {
      name: 'EVENT_POLLING',
      failureEvent: 'worker.bank_events_failed',
      run: () => alerts.startPolling().then(() => false),
    },
  ]
}

/** What each outbox message leads to. */
const createHandlers = ({
  signals,
  banks,
  consents,
  deliveries,
  deleteGrantTokens,
  endSessions,
}: WorkerDependencies): OutboxHandlers => ({
  async 'alert.received'(alertId) {
    await deliveries.scheduleForAlert(alertId)
    await signals.publishNow({ kind: 'ALERT', id: alertId })
  },
  'consent.changed': (consentId) =>
    consents.jobs.afterChange(consentId, {
      dropDeliveries: (id) => deliveries.dropForConsent(id),
      deleteTokens: deleteGrantTokens,
      endSessions,
    }),
  'client.retired': (clientId) => consents.jobs.revokeAllOfClient(clientId),
  'bank.platform_access_changed': (bankId) => consents.jobs.recordSuspensions(bankId),
  'connection.end': (connectionId) => consents.jobs.endConnection(connectionId),
  'connection.check': (connectionId) => consents.jobs.checkConnection(connectionId),
  'sign-in.end': (stateDigest) => consents.jobs.endSignIn(stateDigest),
  'certification-access.end': (id) => banks.endCertificationAccess(id),
})

/** A round that does nothing unless `RETRIES.housekeeping` has passed since the last one. */
function createHousekeeping(
  { world, outbox, alerts, consents, banks, runsScheduledCertification, cleanups }: WorkerDependencies,
  shouldContinue: () => boolean,
): () => Promise<false> {
  const steps: readonly (() => Promise<unknown>)[] = [
    () => consents.jobs.endExpired(shouldContinue),
    () => consents.jobs.rejectAbandoned(shouldContinue),
    ...cleanups,
    () => alerts.deleteExpiredEvents(),
    () => banks.recordHealthNotices(),
    () => banks.recordExpiryNotices(),
    ...(runsScheduledCertification ? [() => banks.scheduleCertifications()] : []),
    () => outbox.deleteProcessed(),
  ]
  let lastRunMs = 0
  return async () => {
    const nowMs = world.clock.now().getTime()
    // The absolute difference, so that a clock that was set back does not postpone housekeeping.
    if (Math.abs(nowMs - lastRunMs) <= RETRIES.housekeeping.delaysMs[0]) return false
    lastRunMs = nowMs
    for (const step of steps)
      if (shouldContinue())
        // A failed step must not prevent the others.
        await step().catch((error: unknown) => world.log.error('worker.cleanup_failed', { trace: errorTrace(error) }))
    return false
  }
}
