import { SECOND_MS } from '../kernel/clock.ts'
import { errorTrace } from '../kernel/log.ts'
import { EXPIRING_TABLES, MAX_DELETED_ROWS, type Purges } from '../kernel/retention.ts'
import type { World } from '../kernel/world.ts'
import type { Accounts } from '../modules/accounts/index.ts'
import type { Alerts } from '../modules/alerts/index.ts'
import type { Banks } from '../modules/banks/index.ts'
import type { Consents } from '../modules/consents/index.ts'
import type { Clients } from '../modules/clients/index.ts'
import type { Deliveries } from '../modules/deliveries/index.ts'
import type { Jobs, RunScheduledJob, ScheduledJobs } from '../modules/jobs/index.ts'
import type { Mail } from '../modules/mail/index.ts'
import type { Outbox, OutboxHandlers, OutboxQueue } from '../modules/outbox/index.ts'
import type { Resealer } from '../storage/reseal.ts'
import type { Signals } from '../storage/signals.ts'
import { createJobLoops, type Job } from './job-loops.ts'

/** The dependencies of the worker. */
export interface WorkerDependencies {
  readonly world: World
  readonly outbox: Outbox
  readonly signals: Signals
  readonly accounts: Accounts
  readonly alerts: Alerts
  readonly consents: Consents
  readonly deliveries: Deliveries
  readonly banks: Banks
  readonly clients: Clients
  readonly mail: Mail
  readonly jobs: Jobs
  /** Whether scheduled certification runs repeat the checks of active connectors. */
  readonly runsScheduledCertification: boolean
  readonly resealer: Resealer
  /** Deletes the grant with this ID and its tokens. */
  readonly deleteGrantTokens: (oauthGrantId: string) => Promise<void>
  /** Ends all sessions of a customer. */
  readonly endSessions: (customerId: string) => Promise<void>
  readonly purges: Purges
}

/** The background work of a process: what follows from commits, and what is due by time. */
export interface Worker {
  start(): Promise<void>
  /** Stops after the work in flight, but at the latest after five seconds. */
  stop(): Promise<void>
}

type JobName =
  | 'PLANNING'
  | 'OUTBOX_FAST'
  | 'OUTBOX_SLOW'
  | 'OUTBOX_URGENT'
  | 'DELIVERIES'
  | 'SCHEDULES'
  | 'RESEALING'
  | 'CERTIFICATION'
  | 'EVENT_POLLING'
  | 'MAIL'
  | 'EVENT_STREAMS'

/** The job that handles the messages of each queue. */
const QUEUE_JOBS: Readonly<Record<OutboxQueue, JobName>> = {
  PLANNING: 'PLANNING',
  FAST: 'OUTBOX_FAST',
  SLOW: 'OUTBOX_SLOW',
  URGENT: 'OUTBOX_URGENT',
}

/** The triggers of the certification runs that each loop executes. A partner's run does not wait for scheduled ones. */
const CERTIFICATION_LOOPS = [['PARTNER'], ['PARTNER'], ['PARTNER', 'SCHEDULED'], ['SCHEDULED']] as const
const STOP_TIMEOUT_MS = 5 * SECOND_MS
/** Under load, alerts of 20 ms are planned and claimed together. */
const SPACING_MS = 20
/** Rows of each column that one batch checks for an older sealing key. */
const RESEAL_BATCH_SIZE = 500

/** Creates the worker; it does nothing until `start`. */
export function createWorker(dependencies: WorkerDependencies): Worker {
  const { world, outbox, alerts, banks, deliveries, jobs } = dependencies
  const lifecycle = { isStopping: false }
  const loops = createJobLoops(
    createJobs(dependencies, () => !lifecycle.isStopping),
    world,
  )
  let unsubscribe: (() => Promise<void>) | undefined

  return {
    async start() {
      await jobs.prepare()
      unsubscribe = await outbox.onEnqueued((queue) => loops.wake(QUEUE_JOBS[queue]))
      loops.start()
    },
    async stop() {
      lifecycle.isStopping = true
      // Another process repeats a certification run or a webhook attempt that does not end in time.
      await Promise.race([
        loops
          .stop()
          .then(() =>
            Promise.all(
              [alerts, banks.eventStreams, deliveries, outbox, jobs].map((service) => service.waitUntilIdle()),
            ),
          ),
        new Promise<void>((resolve) => void world.timers.setTimeout(resolve, STOP_TIMEOUT_MS).unref()),
      ])
      deliveries.markStopping()
      await unsubscribe?.()
    },
  }
}

/** Every job of the worker. Each has its own loop, so that waiting for a bank or an endpoint delays no other job. */
function createJobs(dependencies: WorkerDependencies, shouldContinue: () => boolean): readonly Job<JobName>[] {
  const { outbox, alerts, deliveries, banks, clients, jobs, mail, resealer } = dependencies
  const handlers = createHandlers(dependencies)
  const schedules = createSchedules(dependencies)
  return [
    {
      name: 'PLANNING',
      failureEvent: 'worker.planning_failed',
      spacingMs: SPACING_MS,
      async run(wake) {
        const hasMore = await deliveries.planDue()
        wake('DELIVERIES')
        return hasMore
      },
    },
    {
      name: 'OUTBOX_FAST',
      failureEvent: 'worker.outbox_failed',
      run: async () => (await outbox.processBatch('FAST', handlers)) > 0,
    },
    {
      name: 'OUTBOX_SLOW',
      failureEvent: 'worker.slow_outbox_failed',
      run: async (wake) => (await outbox.startDue('SLOW', handlers, () => wake('OUTBOX_SLOW'))) > 0,
    },
    {
      name: 'OUTBOX_URGENT',
      failureEvent: 'worker.urgent_outbox_failed',
      run: async (wake) => (await outbox.startDue('URGENT', handlers, () => wake('OUTBOX_URGENT'))) > 0,
    },
    {
      name: 'DELIVERIES',
      failureEvent: 'worker.deliveries_failed',
      spacingMs: SPACING_MS,
      run: (wake) => deliveries.startDue(() => wake('DELIVERIES')).then(() => false),
    },
    {
      name: 'SCHEDULES',
      failureEvent: 'worker.schedules_failed',
      run: async (wake) => (await jobs.startDue(schedules, shouldContinue, () => wake('SCHEDULES'))) > 0,
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
    {
      name: 'MAIL',
      failureEvent: 'worker.mail_failed',
      run: () => mail.sendDue({ CLIENT: (clientId) => clients.findContactEmail(clientId) }),
    },
    {
      name: 'EVENT_STREAMS',
      failureEvent: 'worker.event_streams_failed',
      run: () => banks.eventStreams.startChecks().then(() => false),
    },
  ]
}

/** What each outbox message leads to. */
const createHandlers = ({
  alerts,
  banks,
  consents,
  deliveries,
  deleteGrantTokens,
  endSessions,
}: WorkerDependencies): OutboxHandlers => ({
  'consent.changed': (consentId) =>
    consents.jobs.afterChange(consentId, {
      dropDeliveries: (id) => deliveries.dropForConsent(id),
      deleteTokens: deleteGrantTokens,
      endSessions,
    }),
  'alert-response.given': (responseId) => alerts.sendResponse(responseId),
  'alert-detail.viewed': (eventDigest) => alerts.applyDetailViews(eventDigest),
  'client.retired': (clientId) => consents.jobs.revokeAllOfClient(clientId),
  'webhook-endpoint.disabled': (webhookEndpointId) => deliveries.dropForEndpoint(webhookEndpointId),
  'bank.platform_access_changed': (bankId) => consents.jobs.recordSuspensions(bankId),
  'connection.end': (connectionId) => consents.jobs.endConnection(connectionId),
  'connection.check': (connectionId) => consents.jobs.checkConnection(connectionId),
  'sign-in.end': (stateDigest) => consents.jobs.endSignIn(stateDigest),
  'certification-access.end': (id) => banks.endCertificationAccess(id),
})

/** What each scheduled job does. */
const createSchedules = (dependencies: WorkerDependencies): ScheduledJobs => {
  const { accounts, consents, banks, runsScheduledCertification } = dependencies
  return {
    async 'consent-expiry'(shouldContinue) {
      await consents.jobs.endExpired(shouldContinue)
    },
    'consent-reminders': (shouldContinue) => consents.jobs.enqueueReminders(shouldContinue),
    async 'abandoned-opt-ins'(shouldContinue) {
      await consents.jobs.rejectAbandoned(shouldContinue)
    },
    async 'idle-tokens'(shouldContinue) {
      await consents.jobs.renewIdleTokens(shouldContinue)
    },
    'balance-lines': (shouldContinue) => accounts.checkLines(shouldContinue),
    async 'bank-notices'() {
      await banks.recordHealthNotices()
      await banks.recordExpiryNotices()
    },
    ...(runsScheduledCertification && { certification: () => banks.scheduleCertifications() }),
    retention: createRetention(dependencies),
  }
}

/** Deletes expired rows. A table whose rows cannot be deleted does not prevent the others, but fails the run. */
const createRetention =
  ({ world, purges }: WorkerDependencies): RunScheduledJob =>
  async (shouldContinue) => {
    const failures: unknown[] = []
    for (const table of EXPIRING_TABLES)
      try {
        let hasMore = true
        while (hasMore && shouldContinue()) hasMore = (await purges[table]()) >= MAX_DELETED_ROWS
      } catch (error) {
        world.log.error('retention.step_failed', { operation: table, trace: errorTrace(error) })
        failures.push(error)
      }
    if (failures.length > 0) throw failures[0]
  }
