import { SECOND_MS } from '../kernel/clock.ts'
import { errorTrace } from '../kernel/log.ts'
import type { LogEvent } from '../kernel/log-table.ts'
import type { World } from '../kernel/world.ts'
import { RETRIES } from '../kernel/retry.ts'
import type { Alerts } from '../modules/alerts/index.ts'
import type { Banks } from '../modules/banks/index.ts'
import type { Consents } from '../modules/consents/index.ts'
import type { Deliveries } from '../modules/deliveries/index.ts'
import type { Outbox, OutboxHandlers } from '../modules/outbox/index.ts'
import type { Resealer } from '../storage/reseal.ts'
import type { Signals } from '../storage/signals.ts'

/** Dependencies of the worker. */
export interface WorkerDependencies {
  readonly world: World
  readonly outbox: Outbox
  readonly signals: Signals
  readonly alerts: Alerts
  readonly consents: Consents
  readonly deliveries: Deliveries
  readonly banks: Banks
  /** Whether active connectors are certified again every night. */
  readonly runsNightlyCertification: boolean
  readonly reseal: Resealer
  /** Deletes the grant with this ID and its tokens. */
  readonly deleteGrantTokens: (oauthGrantId: string) => Promise<void>
  /** Ends all sessions of a customer. */
  readonly endSessions: (customerId: string) => Promise<void>
  /** Functions that delete expired rows; each returns their number. */
  readonly cleanups: readonly (() => Promise<number>)[]
}

/** The background half of the gateway, which processes the outbox. */
export interface Worker {
  start(): Promise<void>
  /** Waits for the batches in progress, for at most five seconds, then stops. */
  stop(): Promise<void>
}

interface Loop {
  /** Ends the wait between two runs. */
  wake(): void
  run(): Promise<void>
}

/** The triggers of the certification runs that each loop executes. A partner's run does not wait for scheduled ones. */
const CERTIFICATION_WORKERS = [['PARTNER'], ['PARTNER'], ['PARTNER', 'SCHEDULED'], ['SCHEDULED']] as const
const STOP_TIMEOUT_MS = 5 * SECOND_MS
/** Rows of each column that one batch checks for an older sealing key. */
const RESEAL_BATCH_SIZE = 500

/** Creates the worker: it delivers alerts, completes the end of consents, certifies banks and deletes expired data. */
export function createWorker({
  world,
  outbox,
  signals,
  alerts,
  consents,
  deliveries,
  banks,
  runsNightlyCertification,
  reseal,
  deleteGrantTokens,
  endSessions,
  cleanups,
}: WorkerDependencies): Worker {
  const handlers: OutboxHandlers = {
    async 'alert.received'(alertId) {
      const alert = await alerts.find(alertId)
      if (!alert) return
      if (alert.accountId !== null) await deliveries.scheduleForAlert(alertId, alert.accountId)
      await signals.publishNow({ kind: 'ALERT', id: alertId })
    },
    'consent.changed': (consentId) =>
      consents.afterChange(consentId, {
        dropDeliveries: (id) => deliveries.dropForConsent(id),
        deleteTokens: deleteGrantTokens,
        endSessions,
      }),
    'client.retired': (clientId) => consents.revokeAllOfClient(clientId),
    'connection.end': (connectionId) => consents.endConnection(connectionId),
    'connection.check': (connectionId) => consents.checkConnection(connectionId),
    'sign-in.end': (stateDigest) => consents.endSignIn(stateDigest),
  }

  const lifecycle = { isStopping: false }

  /** Repeats `work`: immediately while it returns true, otherwise when woken or after a second. Failures are logged. */
  function createLoop(failureEvent: LogEvent, work: () => Promise<boolean>): Loop {
    let isWoken = false
    let wake: () => void = () => undefined
    const waitForWork = (): Promise<void> =>
      new Promise((resolve) => {
        const timer = world.timers.setTimeout(resolve, RETRIES.workerIdle.delaysMs[0])
        wake = () => {
          timer.clear()
          resolve()
        }
        if (isWoken) wake()
      })
    return {
      wake() {
        isWoken = true
        wake()
      },
      async run() {
        while (!lifecycle.isStopping) {
          isWoken = false
          const hasMore = await work().catch((error: unknown) => {
            world.log.error(failureEvent, { trace: errorTrace(error) })
            return false
          })
          if (!hasMore) await waitForWork()
        }
      },
    }
  }

  let lastHousekeepingMs = 0
  async function runHousekeeping(): Promise<boolean> {
    const nowMs = world.clock.now().getTime()
    // The absolute difference, so that a clock that was set back does not postpone housekeeping.
    if (Math.abs(nowMs - lastHousekeepingMs) <= RETRIES.housekeeping.delaysMs[0]) return false
    lastHousekeepingMs = nowMs
    const shouldContinue = (): boolean => !lifecycle.isStopping
    const steps: readonly (() => Promise<unknown>)[] = [
      () => consents.endExpired(shouldContinue),
      () => consents.rejectAbandoned(shouldContinue),
      ...cleanups,
      () => alerts.deleteExpiredEvents(),
      () => banks.recordHealthNotices(),
      ...(runsNightlyCertification ? [() => banks.scheduleNightlyCertifications()] : []),
      () => outbox.sweep(),
    ]
    for (const step of steps)
      if (shouldContinue())
        // A failed step must not prevent the others.
        await step().catch((error: unknown) => world.log.error('worker.cleanup_failed', { trace: errorTrace(error) }))
    return false
  }

  const deliveryLoop = createLoop('worker.deliveries_failed', async () => {
    return (await deliveries.startDue(() => deliveryLoop.wake())) > 0
  })
  const fastOutboxLoop = createLoop('worker.outbox_failed', async () => {
    const done = await outbox.processBatch('FAST', handlers)
    if (done > 0) deliveryLoop.wake()
    return done > 0
  })
  const slowOutboxLoop = createLoop(
    'worker.consent_ends_failed',
    async () => (await outbox.startDue('SLOW', handlers, () => slowOutboxLoop.wake())) > 0,
  )
  // Separate loops, so that waiting for a bank or a platform delays no other work.
  const loops = [
    fastOutboxLoop,
    deliveryLoop,
    slowOutboxLoop,
    createLoop('worker.cleanup_failed', runHousekeeping),
    createLoop('worker.reseal_failed', () => reseal.resealBatch(RESEAL_BATCH_SIZE)),
    ...CERTIFICATION_WORKERS.map((kinds) =>
      createLoop('worker.certifications_failed', () => banks.runNextCertification(kinds)),
    ),
    createLoop('worker.bank_events_failed', () => alerts.startPolling().then(() => false)),
  ]
  let running: Promise<unknown> = Promise.resolve()
  let unsubscribe: (() => Promise<void>) | undefined

  return {
    async start() {
      unsubscribe = await outbox.onEnqueued(() => {
        fastOutboxLoop.wake()
        slowOutboxLoop.wake()
      })
      running = Promise.all(loops.map((loop) => loop.run()))
    },
    async stop() {
      lifecycle.isStopping = true
      for (const loop of loops) loop.wake()
      // Another process repeats a certification run or a webhook attempt that does not end in time.
      await Promise.race([
        running.then(() => Promise.all([alerts.waitUntilIdle(), deliveries.waitUntilIdle(), outbox.waitUntilIdle()])),
        new Promise<void>((resolve) => void world.timers.setTimeout(resolve, STOP_TIMEOUT_MS).unref()),
      ])
      deliveries.markStopping()
      await unsubscribe?.()
    },
  }
}
