import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { systemClock, systemTimers } from '../../src/kernel/clock.ts'
import { GatewayError } from '../../src/kernel/errors.ts'
import { systemRandomness } from '../../src/kernel/ids.ts'
import { createLog } from '../../src/kernel/log.ts'
import { createMetrics } from '../../src/kernel/metrics.ts'
import { SCHEDULES } from '../../src/kernel/schedules.ts'
import type { World } from '../../src/kernel/world.ts'
import { createJobs, type Jobs, type ScheduledJobs } from '../../src/modules/jobs/index.ts'
import { openDatabase, type Database } from '../../src/storage/database.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { createFakeTime } from '../support/fake-time.ts'
import { eventually } from '../support/gateway.ts'

const PROCESSES = 4
const noMessages = { findFailing: () => Promise.resolve([]) }
const always = (): boolean => true

let testDatabase: TestDatabase
let databases: Database[]
const lines: string[] = []
beforeAll(async () => {
  testDatabase = await createTestDatabase()
  databases = Array.from({ length: PROCESSES }, () => openDatabase(testDatabase.url, 2))
})
afterAll(async () => {
  await Promise.all(databases.map((database) => database.close()))
  await testDatabase.drop()
})
beforeEach(async () => {
  lines.splice(0)
  await testDatabase.query('delete from scheduled_job')
  await jobsOf(0).prepare()
})

const log = createLog(
  'info',
  () => systemClock.now(),
  (line) => lines.push(line),
)

/** The scheduled jobs of one of several processes. */
function jobsOf(process: number, { timers = systemTimers }: Partial<Pick<World, 'timers'>> = {}): Jobs {
  const world = { clock: systemClock, timers, log, randomness: systemRandomness } as World
  return createJobs({ database: databases[process]!, world, metrics: createMetrics(), outbox: noMessages })
}

/** Runs what is due, once, and waits for it. */
async function runDue(jobs: Jobs, scheduled: ScheduledJobs, shouldContinue = always): Promise<number> {
  const count = await jobs.startDue(scheduled, shouldContinue, () => undefined)
  await jobs.waitUntilIdle()
  return count
}

const row = async () =>
  (
    await testDatabase.query<{
      failures: number
      code: string | null
      since: Date | null
      waitMs: number
      held: boolean
      finished: boolean
    }>(
      `select failure_count as failures, last_error_code as code, failing_since as since, claimed_until is not null as held,
         (extract(epoch from next_run_at - now()) * 1000)::int as "waitMs", last_finished_at is not null as finished
       from scheduled_job where name = 'retention'`,
    )
  )[0]!
const makeDue = (): Promise<unknown> =>
  testDatabase.query(`update scheduled_job set next_run_at = now() - interval '1 second' where name = 'retention'`)

describe('a scheduled job', () => {
  test('one of many processes runs a job that is due, and none runs it before it is due again', async () => {
    let runs = 0
    const scheduled = { retention: () => Promise.resolve(runs++) }
    const processes = databases.map((_database, index) => jobsOf(index))
    for (let round = 1; round <= 5; round++) {
      await Promise.all(processes.flatMap((jobs) => [runDue(jobs, scheduled), runDue(jobs, scheduled)]))
      expect(runs).toBe(round)
      expect(await row()).toMatchObject({ failures: 0, held: false, finished: true })
      await makeDue()
    }
  })

  test('a claim that reaches the database late does not repeat a job that has just ended', async () => {
    const { everyMs } = SCHEDULES.retention
    // As for a process that read its clock half a minute before the end of the run.
    await testDatabase.query(
      `update scheduled_job set next_run_at = now() + $1::int * interval '1 ms' where name = 'retention'`,
      [everyMs + 30_000],
    )
    expect(await runDue(jobsOf(0), { retention: () => Promise.reject(new Error('run twice')) })).toBe(0)
  })

  test('no process runs a job that another one is running', async () => {
    let end: () => void = () => undefined
    const first = jobsOf(0)
    const running = new Promise<void>((resolve) => (end = resolve))
    await first.startDue({ retention: () => running }, always, () => undefined)
    await makeDue()
    expect(await runDue(jobsOf(1), { retention: () => Promise.reject(new Error('run twice')) })).toBe(0)
    expect(await first.startDue({ retention: () => Promise.resolve() }, always, () => undefined)).toBe(0)
    end()
    await first.waitUntilIdle()
  })

  test('a job of a process that was killed runs in another one after its lease', async () => {
    await jobsOf(0).startDue({ retention: () => new Promise(() => undefined) }, always, () => undefined)
    let runs = 0
    const scheduled = { retention: () => Promise.resolve(runs++) }
    await runDue(jobsOf(1), scheduled)
    expect(runs).toBe(0)
    await testDatabase.query(`update scheduled_job set claimed_until = now() - interval '1 ms'`)
    await runDue(jobsOf(1), scheduled)
    expect(runs).toBe(1)
  })

  test('a process prolongs its claim while the job runs', async () => {
    const time = createFakeTime()
    const jobs = jobsOf(0, time)
    let end: () => void = () => undefined
    await jobs.startDue({ retention: () => new Promise<void>((resolve) => (end = resolve)) }, always, () => undefined)
    const claimed = async (): Promise<string> =>
      (
        await testDatabase.query<{ until: string }>(
          `select claimed_until::text as until from scheduled_job where name = 'retention'`,
        )
      )[0]!.until
    const before = await claimed()
    await time.advance(15_000)
    await eventually('a later end of the claim', async () => (await claimed()) > before)
    end()
    await jobs.waitUntilIdle()
    expect(await row()).toMatchObject({ held: false, finished: true })
  })

  test('a process that lost its claim stops the job and does not store how it ended', async () => {
    const time = createFakeTime()
    const jobs = jobsOf(0, time)
    let mayContinue = always
    let end: () => void = () => undefined
    await jobs.startDue(
      {
        retention(shouldContinue) {
          mayContinue = shouldContinue
          return new Promise<void>((resolve) => (end = resolve))
        },
      },
      always,
      () => undefined,
    )
    expect(mayContinue()).toBe(true)
    await testDatabase.query(
      `update scheduled_job set claimed_until = now() + interval '1 hour' where name = 'retention'`,
    )
    await time.advance(15_000)
    await eventually('that the job may not continue', () => Promise.resolve(!mayContinue()))
    end()
    await jobs.waitUntilIdle()
    expect(await row()).toMatchObject({ held: true, finished: false })
  })

  test('a failed run is repeated later and later, with its code and the time of the first failure, until one succeeds', async () => {
    const fails = { retention: () => Promise.reject(new GatewayError('DATABASE_UNAVAILABLE')) }
    await runDue(jobsOf(0), fails)
    const first = await row()
    expect(first).toMatchObject({ failures: 1, code: 'DATABASE_UNAVAILABLE', held: false, finished: false })
    expect(first.waitMs).toBeLessThan(15_000)
    await makeDue()
    await runDue(jobsOf(1), { retention: () => Promise.reject(new Error('text that nobody may see')) })
    const second = await row()
    expect(second).toMatchObject({ failures: 2, code: 'INTERNAL', since: first.since })
    expect(second.waitMs).toBeGreaterThan(first.waitMs)
    expect(lines.filter((line) => line.includes('job.failed'))).toHaveLength(2)
    expect(lines.join()).not.toContain('nobody may see')
    await makeDue()
    await runDue(jobsOf(0), { retention: () => Promise.resolve() })
    expect(await row()).toMatchObject({ failures: 0, code: null, since: null, finished: true })
  })

  test('a job that a stop interrupts runs in another process immediately', async () => {
    let isStopping = false
    const interrupted = {
      retention() {
        isStopping = true
        return Promise.resolve()
      },
    }
    await runDue(jobsOf(0), interrupted, () => !isStopping)
    expect(await row()).toMatchObject({ held: false, finished: false })
    expect(await runDue(jobsOf(1), { retention: () => Promise.resolve() })).toBe(1)
  })

  test('a job whose next run a clock set too far ahead runs now', async () => {
    await testDatabase.query(`update scheduled_job set next_run_at = now() + interval '1 day'`)
    expect(await runDue(jobsOf(0), { retention: () => Promise.resolve() })).toBe(1)
    await testDatabase.query(`update scheduled_job set next_run_at = now() + interval '9 minutes'`)
    expect(await runDue(jobsOf(0), { retention: () => Promise.resolve() })).toBe(0)
  })
})
