import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { systemClock, systemTimers } from '../../src/kernel/clock.ts'
import { systemRandomness } from '../../src/kernel/ids.ts'
import { createLog } from '../../src/kernel/log.ts'
import { createMetrics } from '../../src/kernel/metrics.ts'
import type { World } from '../../src/kernel/world.ts'
import { createOutbox, type Outbox, type OutboxQueue } from '../../src/modules/outbox/index.ts'
import { openDatabase, type Database } from '../../src/storage/database.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { eventually } from '../support/gateway.ts'

let testDatabase: TestDatabase
let databases: Database[]
let sender: Outbox
const woken: OutboxQueue[] = []
let unsubscribe: () => Promise<void>

beforeAll(async () => {
  testDatabase = await createTestDatabase()
  databases = [openDatabase(testDatabase.url, 2), openDatabase(testDatabase.url, 2)]
  const [own, other] = databases.map(outboxOf)
  sender = own!
  unsubscribe = await other!.onEnqueued((queue) => void woken.push(queue))
})
afterAll(async () => {
  await unsubscribe()
  await Promise.all(databases.map((database) => database.close()))
  await testDatabase.drop()
})
beforeEach(() => void woken.splice(0))

function outboxOf(database: Database): Outbox {
  const log = createLog(
    'info',
    () => systemClock.now(),
    () => undefined,
  )
  const world = { clock: systemClock, timers: systemTimers, log, randomness: systemRandomness } as World
  return createOutbox({ database, world, metrics: createMetrics() })
}

/** Which queues are woken until a later message arrives, of a queue that the test does not use. */
async function wokenBefore(queue: OutboxQueue, commitLater: () => Promise<unknown>): Promise<OutboxQueue[]> {
  await commitLater()
  await eventually(`a wake of ${queue}`, () => Promise.resolve(woken.includes(queue)))
  return woken.slice(0, woken.indexOf(queue))
}

describe('the wakes of the outbox', () => {
  test('a commit wakes another process for the queue of its message, and for no other', async () => {
    const [database] = databases
    await database!.transaction((tx) => sender.enqueue(tx, 'consent.changed', 'cnst_1'))
    const queues = await wokenBefore('URGENT', () =>
      database!.transaction((tx) => sender.enqueue(tx, 'alert-response.given', 'resp_1')),
    )
    expect(queues).toEqual(['FAST'])
  })

  test('a commit with many messages wakes each of their queues once', async () => {
    const [database] = databases
    await database!.intake.transaction((tx) =>
      sender.enqueueAll(tx, [
        { topic: 'alert.received', subjectId: 'alrt_1' },
        { topic: 'alert.received', subjectId: 'alrt_2' },
        { topic: 'consent.changed', subjectId: 'cnst_1' },
      ]),
    )
    const queues = await wokenBefore('SLOW', () =>
      database!.transaction((tx) => sender.enqueue(tx, 'connection.check', 'conn_1')),
    )
    expect([...queues].sort()).toEqual(['FAST', 'PLANNING'])
  })

  test('a process of another version that names no queue wakes every queue', async () => {
    await testDatabase.query("select pg_notify('guichet_outbox', '')")
    await eventually('four wakes', () => Promise.resolve(woken.length === 4))
    expect([...woken].sort()).toEqual(['FAST', 'PLANNING', 'SLOW', 'URGENT'])
  })
})
