import { addMs, MINUTE_MS } from '../../kernel/clock.ts'
import { toGatewayError } from '../../kernel/errors.ts'
import { createInFlight } from '../../kernel/in-flight.ts'
import { errorTrace } from '../../kernel/log.ts'
import type { Metrics } from '../../kernel/metrics.ts'
import { RETRIES, retryAt } from '../../kernel/retry.ts'
import { SCHEDULE_NAMES, SCHEDULES } from '../../kernel/schedules.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import { TOPICS, type FailingMessages, type Outbox, type OutboxTopic } from '../outbox/index.ts'
import type { BackgroundJob, RunScheduledJob, ScheduleClaim, ScheduledJobs, ScheduledJobState } from './model.ts'
import { scheduledJobStore } from './store.ts'

/** The background work of the installation that runs by schedule. */
export type Jobs = ReturnType<typeof createJobs>

/** Dependencies of the jobs. */
export interface JobsDependencies {
  readonly database: Database
  readonly world: World
  readonly metrics: Pick<Metrics, 'jobFailures'>
  readonly outbox: Pick<Outbox, 'findFailing'>
}

/** Jobs that one process runs at once, so that a slow one leaves room for the others. */
const MAX_CONCURRENT = 3
/** How long a process holds a job after it was last seen running it. */
const LEASE_MS = MINUTE_MS
const EXTEND_EVERY_MS = LEASE_MS / 4

/**
 * The longest wait that a job can have. It includes the time that a claim can take to reach the database: the claim states the time
 * at which it was sent, and without the margin, a job that another process has finished since would run again.
 */
const maxWaitMs = (everyMs: number): number => Math.max(everyMs, RETRIES.scheduledJob.delaysMs.at(-1)!) + LEASE_MS

/** Creates the jobs of one process. Each runs in one process at a time, by a claim in the database. */
export function createJobs({ database, world, metrics, outbox }: JobsDependencies) {
  const store = scheduledJobStore(database)
  const inFlight = createInFlight()
  const { clock, timers, log, randomness } = world

  /** Runs a job and prolongs its claim until it ends. */
  async function run(claim: ScheduleClaim, job: RunScheduledJob, shouldContinue: () => boolean): Promise<void> {
    const { name } = claim
    const held: { until: Date | undefined } = { until: claim.claimedUntil }
    let extending: Promise<void> = Promise.resolve()
    const timer = timers.setInterval(() => {
      extending = extending.then(async () => {
        if (held.until) held.until = await store.extend(name, held.until, LEASE_MS)
      })
      // The claim may still hold: the next interval tries again.
      extending = extending.catch(() => undefined)
    }, EXTEND_EVERY_MS)
    const failure = await job(() => held.until !== undefined && shouldContinue())
      .then(() => undefined)
      .catch((error: unknown) => ({ error }))
    timer.clear()
    await extending
    // Another process has the job now.
    if (held.until === undefined) return
    const now = clock.now()
    if (failure) {
      log.error('job.failed', { job: name, attempt: claim.failureCount + 1, trace: errorTrace(failure.error) })
      metrics.jobFailures.inc({ job: name })
      const nextRunAt = retryAt(RETRIES.scheduledJob, claim.failureCount + 1, randomness, now)
      await store.fail(name, held.until, now, nextRunAt, toGatewayError(failure.error).code)
    } else if (shouldContinue()) await store.finish(name, held.until, now, addMs(now, SCHEDULES[name].everyMs))
    else await store.release(name, held.until)
  }

  return {
    /** Adds the rows of jobs that are new in this version. */
    prepare: (): Promise<void> => store.add(SCHEDULE_NAMES, clock.now()),

    /**
     * Starts the jobs that are due and that no other process runs, and does not wait for them. Returns their number. Calls
     * `onEnd` when a job has ended. A run that ends after `shouldContinue` became false counts as not done.
     */
    async startDue(jobs: ScheduledJobs, shouldContinue: () => boolean, onEnd: () => void): Promise<number> {
      const freeSlots = MAX_CONCURRENT - inFlight.count
      const claimable = SCHEDULE_NAMES.filter((name) => jobs[name] && !inFlight.hasAny(name)).map((name) => ({
        name,
        maxWaitMs: maxWaitMs(SCHEDULES[name].everyMs),
      }))
      if (freeSlots <= 0 || claimable.length === 0) return 0
      const claims = await store.claim(claimable, freeSlots, clock.now(), LEASE_MS)
      for (const claim of claims)
        inFlight.start(
          claim.name,
          () =>
            // The lease ends by itself; another process then runs the job again.
            run(claim, jobs[claim.name]!, shouldContinue).catch((error: unknown) =>
              log.error('job.outcome_not_stored', { job: claim.name, trace: errorTrace(error) }),
            ),
          onEnd,
        )
      return claims.length
    },

    /** The scheduled jobs and the topics of the outbox, by name, with their failures. */
    async list(): Promise<readonly BackgroundJob[]> {
      const [scheduled, failing] = await Promise.all([store.list(), outbox.findFailing()])
      return [...scheduled.map(ofSchedule), ...TOPICS.map((topic) => ofTopic(topic, failing))].sort((a, b) =>
        a.name < b.name ? -1 : 1,
      )
    },

    /** Resolves once every job in flight has ended. */
    waitUntilIdle: (): Promise<void> => inFlight.waitUntilIdle(),
  }
}

const ofSchedule = ({ lastFinishedAt, ...state }: ScheduledJobState): BackgroundJob => ({
  ...state,
  lastSucceededAt: lastFinishedAt,
  failingMessageCount: 0,
})

function ofTopic(topic: OutboxTopic, failing: readonly FailingMessages[]): BackgroundJob {
  const found = failing.find((messages) => messages.topic === topic)
  return {
    name: topic,
    nextRunAt: null,
    lastSucceededAt: null,
    failingSince: found?.since ?? null,
    failureCount: found?.maxAttemptCount ?? 0,
    lastErrorCode: found?.lastErrorCode ?? null,
    failingMessageCount: found?.count ?? 0,
  }
}
