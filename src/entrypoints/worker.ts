import { MINUTE_MS, SECOND_MS } from '../kernel/clock.ts'
import { errorTrace } from '../kernel/log.ts'
import type { LogEvent } from '../kernel/log-table.ts'
import type { World } from '../kernel/world.ts'
import type { Alerts } from '../modules/alerts/index.ts'
import type { Banks } from '../modules/banks/index.ts'
import type { Consents } from '../modules/consents/index.ts'
import type { Deliveries } from '../modules/deliveries/index.ts'
import type { Outbox, OutboxHandlers } from '../modules/outbox/index.ts'
import type { Resealer } from '../storage/reseal.ts'

/** What the worker works with. */
export interface WorkerDependencies {
  readonly world: World
  readonly outbox: Outbox
  readonly alerts: Alerts
  readonly consents: Consents
  readonly deliveries: Deliveries
  readonly banks: Banks
  /** Whether the banks that are live are certified again each day. */
  readonly runsNightlyCertification: boolean
  readonly reseal: Resealer
  /** Forgets the tokens that hang on a consent's grant. */
  readonly deleteGrantTokens: (oauthGrantId: string) => Promise<void>
  /** Ends the sessions of a customer who has stopped all sharing. */
  readonly endSessions: (customerId: string) => Promise<void>
  /** What deletes rows that have had their time, each by itself. */
  readonly cleanups: readonly (() => Promise<number>)[]
}

/** The half of the gateway behind the outbox. */
export interface Worker {
  start(): Promise<void>
  /** Stops after the batches under way. */
  stop(): Promise<void>
}

interface Loop {
  /** There is something to do. */
  wake(): void
  run(): Promise<void>
}

/** Runs at once, by what each takes: a partner who waits does not wait for the night's. */
const CERTIFICATION_WORKERS = [['MANUAL'], ['MANUAL'], ['MANUAL', 'NIGHTLY'], ['NIGHTLY']] as const
const IDLE_MS = SECOND_MS
const STOP_TIMEOUT_MS = 5 * SECOND_MS
/** Rows of each column that are looked through at once for an older sealing key. */
const RESEAL_BATCH_SIZE = 500

/** Everything that follows from a commit: telling clients, ending what was withdrawn, and tidying up. */
export function createWorker({
  world,
  outbox,
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
      await deliveries.scheduleForAlert(alertId, alert.accountId)
      await outbox.publish({ kind: 'ALERT', id: alertId })
    },
    async 'consent.changed'(consentId) {
      const consent = await consents.find(consentId)
      // Told once more, to whoever was not listening at the moment of the commit.
      await outbox.publish({ kind: 'CONSENT', id: consentId, customerId: consent?.customerId ?? null })
      if (consent?.status === 'ACTIVE') return
      await deliveries.dropForConsent(consentId)
      if (consent?.oauthGrantId) await deleteGrantTokens(consent.oauthGrantId)
      if (consent?.customerId && (await consents.hasStoppedSharing(consent.customerId)))
        await endSessions(consent.customerId)
    },
    'client.retired': (clientId) => consents.revokeAllOfClient(clientId),
    'connection.end': (connectionId) => consents.endConnection(connectionId),
    'connection.check': (connectionId) => consents.checkConnection(connectionId),
    'sign-in.end': (stateDigest) => consents.endSignIn(stateDigest),
  }

  const lifecycle = { isStopping: false }

  /** Does some work again and again, at once while there is more to do, and otherwise when it is woken, or a second later. */
  function createLoop(failureEvent: LogEvent, work: () => Promise<boolean>): Loop {
    let isWoken = false
    let wake: () => void = () => undefined
    const waitForWork = (): Promise<void> =>
      new Promise((resolve) => {
        const timer = setTimeout(resolve, IDLE_MS)
        wake = () => {
          clearTimeout(timer)
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
    // A clock that was set back must not put this off until it has caught up.
    if (Math.abs(nowMs - lastHousekeepingMs) <= MINUTE_MS) return false
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
        // One that fails keeps none of the others from their turn.
        await step().catch((error: unknown) => world.log.error('worker.cleanup_failed', { trace: errorTrace(error) }))
    return false
  }

  const deliveryLoop = createLoop('worker.deliveries_failed', async () => {
    return (
      (await deliveries.startDue(
        (alertId) => alerts.prepareMessage(alertId),
        () => deliveryLoop.wake(),
      )) > 0
    )
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
  // Each by itself: what waits for a bank or for a platform is nothing that anybody else should wait for.
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
      // A run that a bank draws out is begun anew by another process, and so is an attempt that a webhook draws out.
      await Promise.race([
        running.then(() => Promise.all([alerts.whenIdle(), deliveries.whenIdle(), outbox.waitForInFlight()])),
        new Promise((resolve) => setTimeout(resolve, STOP_TIMEOUT_MS).unref()),
      ])
      deliveries.markStopping()
      await unsubscribe?.()
    },
  }
}
