import { MINUTE_MS, SECOND_MS } from '../kernel/clock.ts'
import { traceOf } from '../kernel/log.ts'
import type { LogEvent } from '../kernel/log-table.ts'
import type { World } from '../kernel/world.ts'
import type { Alerts } from '../modules/alerts/index.ts'
import type { Banks } from '../modules/banks/index.ts'
import type { Consents } from '../modules/consents/index.ts'
import type { Deliveries } from '../modules/deliveries/index.ts'
import type { Outbox, OutboxHandlers } from '../modules/outbox/index.ts'
import type { Reseal } from '../storage/reseal.ts'

/** What the worker works with. */
export interface WorkerDependencies {
  readonly world: World
  readonly outbox: Outbox
  readonly alerts: Alerts
  readonly consents: Consents
  readonly deliveries: Deliveries
  readonly banks: Banks
  /** Whether the banks that are live are certified again each day. */
  readonly nightlyTrials: boolean
  readonly reseal: Reseal
  /** Forgets the tokens that hang on a consent's grant. */
  readonly forgetGrant: (oauthGrantId: string) => Promise<void>
  /** Ends the sessions of a customer who has stopped all sharing. */
  readonly endSessions: (customerId: string) => Promise<void>
  /** What deletes rows that have had their time, each by itself. */
  readonly sweep: readonly (() => Promise<number>)[]
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
const CERTIFYING = [['MANUAL'], ['MANUAL'], ['MANUAL', 'NIGHTLY'], ['NIGHTLY']] as const
const IDLE_MS = SECOND_MS
const STOP_MS = 5 * SECOND_MS
/** Rows of each column that are looked through at once for an older sealing key. */
const RESEAL_ROWS = 500

/** Everything that follows from a commit: telling clients, ending what was withdrawn, and tidying up. */
export function createWorker({
  world,
  outbox,
  alerts,
  consents,
  deliveries,
  banks,
  nightlyTrials,
  reseal,
  forgetGrant,
  endSessions,
  sweep,
}: WorkerDependencies): Worker {
  const handlers: OutboxHandlers = {
    async 'alert.received'(alertId) {
      const alert = await alerts.find(alertId)
      if (!alert) return
      await deliveries.plan(alertId, alert.accountId)
      await outbox.signal({ kind: 'ALERT', id: alertId })
    },
    async 'consent.changed'(consentId) {
      const consent = await consents.find(consentId)
      // Told once more, to whoever was not listening at the moment of the commit.
      await outbox.signal({ kind: 'CONSENT', id: consentId, customerId: consent?.customerId ?? null })
      if (consent?.status === 'ACTIVE') return
      await deliveries.drop(consentId)
      if (consent?.oauthGrantId) await forgetGrant(consent.oauthGrantId)
      if (consent?.customerId && (await consents.hasStopped(consent.customerId))) await endSessions(consent.customerId)
    },
    'client.retired': (clientId) => consents.revokeOfClient(clientId),
    'connection.end': (connectionId) => consents.endConnection(connectionId),
    'connection.check': (connectionId) => consents.checkConnection(connectionId),
    'sign-in.end': (stateDigest) => consents.endSignIn(stateDigest),
  }

  const life = { stopping: false }

  /** Does some work again and again, at once while there is more to do, and otherwise when it is woken, or a second later. */
  function createLoop(failure: LogEvent, work: () => Promise<boolean>): Loop {
    let woken = false
    let wake: () => void = () => undefined
    const rest = (): Promise<void> =>
      new Promise((resolve) => {
        const timer = setTimeout(resolve, IDLE_MS)
        wake = () => {
          clearTimeout(timer)
          resolve()
        }
        if (woken) wake()
      })
    return {
      wake() {
        woken = true
        wake()
      },
      async run() {
        while (!life.stopping) {
          woken = false
          const worked = await work().catch((error: unknown) => {
            world.log.error(failure, { trace: traceOf(error) })
            return false
          })
          if (!worked) await rest()
        }
      },
    }
  }

  let tidiedMs = 0
  async function tidy(): Promise<boolean> {
    const nowMs = world.clock.now().getTime()
    // A clock that was set back must not put this off until it has caught up.
    if (Math.abs(nowMs - tidiedMs) <= MINUTE_MS) return false
    tidiedMs = nowMs
    const mayGoOn = (): boolean => !life.stopping
    const steps: readonly (() => Promise<unknown>)[] = [
      () => consents.expire(mayGoOn),
      () => consents.rejectAbandoned(mayGoOn),
      ...sweep,
      () => alerts.forgetEvents(),
      () => banks.watch(),
      ...(nightlyTrials ? [() => banks.tryAgain()] : []),
      () => outbox.sweep(),
    ]
    for (const step of steps)
      if (mayGoOn())
        // One that fails keeps none of the others from their turn.
        await step().catch((error: unknown) => world.log.error('tidying.failed', { trace: traceOf(error) }))
    return false
  }

  const telling = createLoop('deliveries.failed', async () => {
    return (
      (await deliveries.work(
        (alertId) => alerts.messageOf(alertId),
        () => telling.wake(),
      )) > 0
    )
  })
  const keeping = createLoop('worker.failed', async () => {
    const done = await outbox.work('AT_ONCE', handlers)
    if (done > 0) telling.wake()
    return done > 0
  })
  const ending = createLoop(
    'endings.failed',
    async () => (await outbox.begin('AS_A_BANK_DOES', handlers, () => ending.wake())) > 0,
  )
  // Each by itself: what waits for a bank or for a platform is nothing that anybody else should wait for.
  const loops = [
    keeping,
    telling,
    ending,
    createLoop('tidying.failed', tidy),
    createLoop('resealing.failed', () => reseal.work(RESEAL_ROWS)),
    ...CERTIFYING.map((kinds) => createLoop('certification.failed', () => banks.workCertifications(kinds))),
    createLoop('events.failed', () => alerts.collect().then(() => false)),
  ]
  let running: Promise<unknown> = Promise.resolve()
  let unlisten: (() => Promise<void>) | undefined

  return {
    async start() {
      unlisten = await outbox.onNew(() => {
        keeping.wake()
        ending.wake()
      })
      running = Promise.all(loops.map((loop) => loop.run()))
    },
    async stop() {
      life.stopping = true
      for (const loop of loops) loop.wake()
      // A run that a bank draws out is begun anew by another process, and so is an attempt that a webhook draws out.
      await Promise.race([
        running.then(() => Promise.all([alerts.collected(), deliveries.settled(), outbox.settled()])),
        new Promise((resolve) => setTimeout(resolve, STOP_MS).unref()),
      ])
      deliveries.abandon()
      await unlisten?.()
    },
  }
}
