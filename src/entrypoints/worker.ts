import { MINUTE_MS, SECOND_MS } from '../kernel/clock.ts'
import { traceOf } from '../kernel/log.ts'
import type { World } from '../kernel/world.ts'
import type { Alerts } from '../modules/alerts/index.ts'
import type { Banks } from '../modules/banks/index.ts'
import type { Consents } from '../modules/consents/index.ts'
import type { Deliveries } from '../modules/deliveries/index.ts'
import type { Outbox, OutboxHandlers } from '../modules/outbox/index.ts'

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
  /** Forgets the tokens that hang on a consent's grant. */
  readonly forgetGrant: (oauthGrantId: string) => Promise<void>
  /** What deletes rows that have had their time, each by itself. */
  readonly sweep: readonly (() => Promise<number>)[]
}

/** The half of the gateway behind the outbox. */
export interface Worker {
  start(): Promise<void>
  /** Stops after the batch under way. */
  stop(): Promise<void>
}

const IDLE_MS = SECOND_MS
const STOP_MS = 5 * SECOND_MS

/** Everything that follows from a commit: telling clients, ending what was withdrawn, and tidying up. */
export function createWorker({
  world,
  outbox,
  alerts,
  consents,
  deliveries,
  banks,
  nightlyTrials,
  forgetGrant,
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
      if (consent?.state === 'ACTIVE') return
      await deliveries.drop(consentId)
      if (consent?.oauthGrantId) await forgetGrant(consent.oauthGrantId)
    },
    'connection.end': (connectionId) => consents.endConnection(connectionId),
  }

  const life = { stopping: false }
  let wake: () => void = () => undefined
  let woken = false
  let running: Promise<unknown> = Promise.resolve()
  let unlisten: (() => Promise<void>) | undefined

  const rest = (): Promise<void> =>
    new Promise((resolve) => {
      if (woken) {
        woken = false
        return void resolve()
      }
      const timer = setTimeout(resolve, IDLE_MS)
      wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })

  async function loop(): Promise<void> {
    let tidied = 0
    while (!life.stopping) {
      try {
        const done = (await outbox.work(handlers)) + (await deliveries.work((alertId) => alerts.messageOf(alertId)))
        const now = world.clock.now().getTime()
        if (now - tidied > MINUTE_MS) {
          tidied = now
          await consents.expire()
          await consents.forgetAbandoned()
          for (const one of sweep) await one()
          await alerts.forgetEvents()
          await banks.watch()
          if (nightlyTrials) await banks.tryAgain()
          await outbox.sweep()
        }
        if (done > 0) continue
      } catch (error) {
        world.log.error('worker.failed', { trace: traceOf(error) })
      }
      await rest()
    }
  }

  const wakeOthers = new Set<() => void>()

  /** What takes long, because of banks, and nobody else should wait for: again at once while there is more to do. */
  async function beside(failure: string, work: () => Promise<boolean>): Promise<void> {
    while (!life.stopping) {
      const worked = await work().catch((error: unknown) => {
        world.log.error(failure, { trace: traceOf(error) })
        return false
      })
      if (worked) continue
      await new Promise<void>((resolve) => {
        const ended = (): void => {
          clearTimeout(timer)
          wakeOthers.delete(ended)
          resolve()
        }
        const timer = setTimeout(ended, IDLE_MS)
        wakeOthers.add(ended)
      })
    }
  }

  return {
    async start() {
      unlisten = await outbox.onNew(() => {
        woken = true
        wake()
      })
      running = Promise.all([
        loop(),
        beside('certification.failed', () => banks.workCertifications()),
        beside('events.failed', () => alerts.collect().then(() => false)),
      ])
    },
    async stop() {
      life.stopping = true
      woken = true
      wake()
      for (const wakeOther of wakeOthers) wakeOther()
      await unlisten?.()
      // A run that a bank draws out is begun anew by another process.
      await Promise.race([
        running.then(() => alerts.collected()),
        new Promise((resolve) => setTimeout(resolve, STOP_MS).unref()),
      ])
    },
  }
}
