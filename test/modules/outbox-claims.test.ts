import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { topicsOf } from '../../src/modules/outbox/model.ts'
import { CLAIM_ROUND_ROBIN_SQL, outboxStore } from '../../src/modules/outbox/store.ts'
import { openDatabase, type Database } from '../../src/storage/database.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import type { PlanNode } from '../support/plan-server.ts'

let testDatabase: TestDatabase
let database: Database
beforeAll(async () => {
  testDatabase = await createTestDatabase()
  database = openDatabase(testDatabase.url, 2)
})
afterAll(async () => {
  await database.close()
  await testDatabase.drop()
})
beforeEach(() => testDatabase.query('delete from outbox_message'))

const SLOW = topicsOf('SLOW')
const LIMITS = { freeSlots: 10, perGroup: 4, inFlightByGroup: new Map<string, number>() }

/** Adds due messages, each older than the ones of earlier calls are new. */
const addDue = (topic: string, group: string | null, count: number) =>
  testDatabase.query(
    `insert into outbox_message (id, topic, subject_id, group_id, next_attempt_at)
     select $1 || coalesce($2, 'none') || n, $1, 'subject_' || n, $2, '2000-01-01'::timestamptz + n * interval '1 second'
     from generate_series(1, $3::int) as n`,
    [topic, group, count],
  )
const claim = (limits: Partial<typeof LIMITS> = {}) =>
  outboxStore(database).claimRoundRobin(SLOW, { ...LIMITS, ...limits }, new Date(), 60_000)
const countsByGroup = (messages: readonly { readonly groupId: string }[]) =>
  Object.fromEntries([...Map.groupBy(messages, ({ groupId }) => groupId)].map(([group, { length }]) => [group, length]))

interface MeasuredNode extends PlanNode {
  readonly 'Actual Rows'?: number
  readonly 'Actual Loops'?: number
  readonly 'Rows Removed by Filter'?: number
  readonly Plans?: MeasuredNode[]
}
const readRowsOf = (node: MeasuredNode): number =>
  (node['Relation Name'] === 'outbox_message'
    ? (node['Actual Loops'] ?? 0) * ((node['Actual Rows'] ?? 0) + (node['Rows Removed by Filter'] ?? 0))
    : 0) + (node.Plans ?? []).reduce((sum, child) => sum + readRowsOf(child), 0)

describe('a claim of messages in turn of their groups', () => {
  test('a group with many messages, of two topics, gets its share and leaves the slots of the others', async () => {
    await addDue('connection.end', 'bank_a', 50)
    await addDue('connection.check', 'bank_a', 50)
    await addDue('sign-in.end', 'bank_b', 3)
    await addDue('connection.end', 'bank_c', 1)
    expect(countsByGroup(await claim())).toEqual({ bank_a: 4, bank_b: 3, bank_c: 1 })
  })

  test('the messages of a group that are in flight count for its share', async () => {
    await addDue('connection.end', 'bank_a', 50)
    await addDue('connection.end', 'bank_b', 50)
    const inFlightByGroup = new Map([
      ['bank_a', 3],
      ['bank_b', 4],
    ])
    expect(countsByGroup(await claim({ inFlightByGroup }))).toEqual({ bank_a: 1 })
  })

  test('messages without a group, as older processes add them, are claimed too, each as a group of its own', async () => {
    await addDue('client.retired', null, 3)
    await addDue('connection.end', 'bank_a', 1)
    expect(countsByGroup(await claim())).toEqual({ subject_1: 1, subject_2: 1, subject_3: 1, bank_a: 1 })
  })

  test('a claimed message, one of another queue and one that is not due are left alone', async () => {
    await addDue('connection.end', 'bank_a', 2)
    await addDue('consent.changed', 'bank_a', 2)
    await addDue('alert.received', null, 2)
    expect(await claim()).toHaveLength(2)
    expect(await claim()).toEqual([])
    await testDatabase.query(
      "update outbox_message set claimed_until = null, next_attempt_at = now() + interval '1 hour'",
    )
    expect(await claim()).toEqual([])
  })

  test('a claim reads a few messages of each group, also if twenty thousand of one are due', async () => {
    await addDue('connection.end', 'bank_a', 20_000)
    await addDue('connection.end', 'bank_b', 20)
    await addDue('alert.received', null, 5_000)
    await testDatabase.query('analyze outbox_message')
    const [row] = await testDatabase.query<{ 'QUERY PLAN': [{ Plan: MeasuredNode }] }>(
      `explain (analyze, format json) ${CLAIM_ROUND_ROBIN_SQL}`,
      [SLOW, new Date(), 4, '{}', 40, 60_000],
    )
    expect(readRowsOf(row!['QUERY PLAN'][0].Plan)).toBeLessThan(100)
  })
})
