import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { DAY_MS, HOUR_MS } from '../../src/kernel/clock.ts'
import { firstReminderAfter } from '../../src/modules/consents/reminder-steps.ts'
import { createReminderTools } from '../support/consent-reminders.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { platformsOf } from '../support/platforms.ts'
import { startSecondGateway } from '../support/second-gateway.ts'

let gateway: TestGateway
let tools: ReturnType<typeof createReminderTools>
beforeAll(async () => {
  // Without a worker: the tests decide when what follows from a commit is done.
  gateway = await startGateway({ env: { GUICHET_ROLE: 'gateway' } })
  // Its client has one endpoint, which the sandbox has registered.
  tools = createReminderTools(gateway)
})
beforeEach(() => tools.clear())
afterAll(() => gateway.close())

/** Lets every write of this kind to a table fail until the returned function is called. */
async function failWrites(table: string, kind: 'insert' | 'update' | 'delete'): Promise<() => Promise<unknown>> {
  await gateway.database.query(`
    create function fail_write() returns trigger language plpgsql as $$ begin raise exception 'the process ended'; end $$;
    create trigger fail_write before ${kind} on ${table} for each row execute function fail_write()`)
  return () => gateway.database.query(`drop trigger fail_write on ${table}; drop function fail_write`)
}

describe('the steps', () => {
  test('a platform is reminded 30, 7 and 1 days before the end of a consent, once each', async () => {
    const consent = await tools.newConsent()
    await tools.plan()
    expect(await tools.daysLeftOf(consent.id)).toEqual([])
    const expected: number[] = []
    for (const days of [30, 7, 1]) {
      gateway.forward(consent.expiresAt.getTime() - days * DAY_MS - Date.now() - HOUR_MS)
      await tools.plan()
      expect(await tools.daysLeftOf(consent.id)).toEqual(expected)
      tools.forwardTo(consent, days)
      for (let run = 0; run < 3; run++) await tools.plan()
      expected.push(days)
      expect(await tools.daysLeftOf(consent.id)).toEqual(expected)
    }
  })

  test('the nearest of several steps that passed while no worker ran leads to the only reminder', async () => {
    const consent = await tools.newConsent()
    gateway.forward(consent.expiresAt.getTime() - 4 * DAY_MS - Date.now())
    for (let run = 0; run < 3; run++) await tools.plan()
    expect(await tools.daysLeftOf(consent.id)).toEqual([4])
    tools.forwardTo(consent, 1)
    await tools.plan()
    expect(await tools.daysLeftOf(consent.id)).toEqual([4, 1])
  })

  test('a consent has no reminder of a step that is not shorter than itself', async () => {
    const month = await tools.newConsent({ days: 30 })
    const day = await tools.newConsent({ days: 1, name: 'ada' })
    expect(month.expiresAt.getTime() - day.expiresAt.getTime()).toBeGreaterThan(28 * DAY_MS)
    await tools.plan()
    for (const days of [0.5, 0.01]) {
      tools.forwardTo(day, days)
      await tools.plan()
    }
    expect(await tools.daysLeftOf(day.id)).toEqual([])
    for (const days of [29, 7, 1]) {
      tools.forwardTo(month, days)
      await tools.plan()
    }
    expect(await tools.daysLeftOf(month.id)).toEqual([7, 1])
  })

  test.each([
    [365, 335],
    [30, 23],
    [7, 6],
    [2, 1],
    [1, null],
    [0.5, null],
  ])('the first reminder of a consent for %d days is due after %s days', (days, dueAfter) => {
    const start = new Date('2026-11-28T10:00:00Z')
    const due = firstReminderAfter(start, new Date(start.getTime() + days * DAY_MS))
    expect(due && (due.getTime() - start.getTime()) / DAY_MS).toBe(dueAfter)
  })

  test('a consent that expired before the job ran has no reminder', async () => {
    const consent = await tools.newConsent()
    gateway.forward(consent.expiresAt.getTime() - Date.now() + HOUR_MS)
    expect(await gateway.app.services.consents.jobs.enqueueReminders()).toBe(0)
    await tools.plan()
    expect(await tools.daysLeftOf(consent.id)).toEqual([])
  })

  test('a suspended consent has no reminder, and the next one at its time after it has resumed', async () => {
    const platforms = platformsOf(gateway)
    const consent = await tools.newConsent()
    await platforms.set('northbank', { allExcept: [await platforms.organizationOf('chatterbox')] })
    tools.forwardTo(consent, 30)
    await tools.plan()
    await platforms.set('northbank', { all: true })
    await tools.plan()
    expect(await tools.daysLeftOf(consent.id)).toEqual([])
    tools.forwardTo(consent, 7)
    await tools.plan()
    expect(await tools.daysLeftOf(consent.id)).toEqual([7])
  })

  test('a consent that is withdrawn before its webhook is planned has no reminder', async () => {
    const consent = await tools.newConsent()
    tools.forwardTo(consent, 30)
    expect(await gateway.app.services.consents.jobs.enqueueReminders()).toBe(1)
    await gateway.app.services.consents.revoke(consent.id, 'CLIENT')
    await tools.plan()
    expect(await tools.daysLeftOf(consent.id)).toEqual([])
    expect(await gateway.database.query("select from outbox_message where topic = 'consent.expiring'")).toEqual([])
  })
})

describe('processes', () => {
  test('two workers that run concurrently send one reminder of each of many consents', async () => {
    const consent = await tools.newConsent()
    const count = 1_200
    await gateway.database.query(
      `insert into consent (id, client_id, customer_id, bank_id, connection_id, status, scopes, purposes, expires_at, created_at,
         activated_at, reminder_due_at, oauth_grant_id)
       select 'copy_' || n, client_id, customer_id, bank_id, connection_id, status, scopes, purposes, expires_at, created_at,
         activated_at, reminder_due_at, 'copy_' || n from consent, generate_series(1, $2::int) as n where id = $1`,
      [consent.id, count],
    )
    tools.forwardTo(consent, 30)
    const second = await startSecondGateway(gateway)
    const workers = [gateway.app, second.app]
    await Promise.all(workers.flatMap((worker) => [tools.plan(worker), tools.plan(worker)]))
    await Promise.all(workers.map((worker) => tools.plan(worker)))
    await second.close()
    const reminders = await gateway.database.query<{ count: number; consents: number; sequences: number }>(
      `select count(*)::int as count, count(distinct consent_id)::int as consents, count(distinct sequence)::int as sequences
       from delivery where event_type = 'consent.expiring'`,
    )
    expect(reminders).toEqual([{ count: count + 1, consents: count + 1, sequences: count + 1 }])
  })

  test('a process that ends before it has enqueued a reminder loses no step', async () => {
    const consent = await tools.newConsent()
    tools.forwardTo(consent, 30)
    const restore = await failWrites('outbox_message', 'insert')
    await expect(gateway.app.services.consents.jobs.enqueueReminders()).rejects.toThrow()
    await restore()
    await tools.plan()
    await tools.plan()
    expect(await tools.daysLeftOf(consent.id)).toEqual([30])
  })

  test.each([
    ['delivery', 'insert'],
    ['outbox_message', 'delete'],
  ] as const)('planning that is interrupted at a write to %s plans one reminder later', async (table, kind) => {
    const consent = await tools.newConsent()
    tools.forwardTo(consent, 30)
    const restore = await failWrites(table, kind)
    await tools.plan()
    expect(await tools.daysLeftOf(consent.id)).toEqual([])
    await restore()
    gateway.forward(HOUR_MS)
    for (let run = 0; run < 2; run++) await tools.plan()
    expect(await tools.daysLeftOf(consent.id)).toEqual([30])
  })

  test('alerts that wait are planned before reminders', async () => {
    const { deliveries, consents } = gateway.app.services
    const consent = await tools.newConsent()
    tools.forwardTo(consent, 30)
    await consents.jobs.enqueueReminders()
    await gateway.database.query(
      `insert into outbox_message (id, topic, subject_id, next_attempt_at)
       select 'more_' || n, 'alert.received', 'alrt_none', '2000-01-01' from generate_series(1, 101) as n`,
    )
    expect(await deliveries.planDue()).toBe(true)
    expect(await tools.daysLeftOf(consent.id)).toEqual([])
    for (let round = 0; round < 2; round++) expect(await deliveries.planDue()).toBe(false)
    expect(await tools.daysLeftOf(consent.id)).toEqual([30])
  })

  test('reminders are planned while alerts keep coming', async () => {
    const { deliveries, consents } = gateway.app.services
    const consent = await tools.newConsent()
    tools.forwardTo(consent, 30)
    // Nothing is left to plan, so that the reminders rest.
    await deliveries.planDue()
    await consents.jobs.enqueueReminders()
    await eventually('the reminder', async () => {
      await gateway.database.query(
        `insert into outbox_message (id, topic, subject_id, next_attempt_at)
         select gen_random_uuid(), 'alert.received', 'alrt_none', '2000-01-01'`,
      )
      expect(await deliveries.planDue()).toBe(false)
      return (await tools.remindersOf(consent.id)).length > 0
    })
  })
})
