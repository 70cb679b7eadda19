import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Signal } from '../../src/kernel/signal.ts'
import { openDatabase, tablesIn, type Database } from '../../src/storage/database.ts'
import { createSignals, SIGNAL_CHANNEL, type Signals } from '../../src/storage/signals.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { eventually } from '../support/gateway.ts'

interface Process {
  readonly database: Database
  readonly signals: Signals
  readonly received: Signal[]
}

const SIGNAL: Signal = { kind: 'CLIENT', id: 'one' }
const LAST_ID = 'last'

let own: TestDatabase
let here: Process
let there: Process

async function startProcess(): Promise<Process> {
  const database = openDatabase(own.url, 2)
  const signals = createSignals(database)
  const received: Signal[] = []
  signals.onSignal((signal) => void received.push(signal))
  await signals.start()
  return { database, signals, received }
}

/** Everything that a process received before this call, from the database as well: notifications arrive in order. */
async function receivedBy({ received }: Process): Promise<Signal[]> {
  const last = { publicationId: '', signal: { kind: 'CLIENT', id: LAST_ID } }
  await own.query('select pg_notify($1, $2)', [SIGNAL_CHANNEL, JSON.stringify(last)])
  await eventually('the last signal', () => Promise.resolve(received.some(isLast)))
  return received.filter((signal) => !isLast(signal))
}
const isLast = (signal: Signal): boolean => signal.kind === 'CLIENT' && signal.id === LAST_ID

beforeAll(async () => {
  own = await createTestDatabase()
})
beforeEach(async () => {
  ;[here, there] = await Promise.all([startProcess(), startProcess()])
})
afterEach(async () => {
  for (const { signals, database } of [here, there]) {
    await signals.stop()
    await database.close()
  }
})
afterAll(() => own.drop())

test('a signal reaches the listeners of its own process before the transaction returns', async () => {
  const beforeCommit = await here.database.transaction(async (tx) => {
    await here.signals.publish(tx, SIGNAL)
    return [...here.received]
  })
  expect(here.received).toEqual([SIGNAL])
  expect(beforeCommit).toEqual([])
})

test('a signal reaches each process exactly once', async () => {
  await here.database.transaction((tx) => here.signals.publish(tx, SIGNAL))
  await here.signals.publishNow(SIGNAL)
  expect(await receivedBy(here)).toEqual([SIGNAL, SIGNAL])
  expect(await receivedBy(there)).toEqual([SIGNAL, SIGNAL])
})

test('a transaction that rolls back publishes nothing, in its own process or in another', async () => {
  const rolledBack = here.database.transaction(async (tx) => {
    await here.signals.publish(tx, SIGNAL)
    throw new Error('rolled back')
  })
  await expect(rolledBack).rejects.toThrow('rolled back')
  expect(await receivedBy(here)).toEqual([])
  expect(await receivedBy(there)).toEqual([])
})

test('a transaction whose commit fails publishes nothing, in its own process or in another', async () => {
  await own.query('create table parent (id int primary key)')
  await own.query('create table child (parent int references parent deferrable initially deferred)')
  const failed = here.database.transaction(async (tx) => {
    await here.signals.publish(tx, SIGNAL)
    await tablesIn(tx).$executeRaw`insert into child values (1)`
  })
  await expect(failed).rejects.toThrow()
  expect(await receivedBy(here)).toEqual([])
  expect(await receivedBy(there)).toEqual([])
})

test('a cache that a signal invalidates returns what the transaction wrote to every waiting reader', async () => {
  let cached: string | undefined = 'before'
  here.signals.onSignal(() => (cached = undefined))
  await own.query('create table setting (value text)')
  await own.query("insert into setting values ('before')")
  await here.database.transaction(async (tx) => {
    await tablesIn(tx).$executeRaw`update setting set value = 'after'`
    await here.signals.publish(tx, SIGNAL)
  })
  cached ??= (await here.database.query<{ value: string }>('setting', 'select value from setting', []))[0]!.value
  expect(cached).toBe('after')
})

test('a failing listener affects neither other listeners nor the transaction, and every cache is invalidated', async () => {
  const process = await startProcess()
  const coherence = process.signals.coherence()
  let isFailing = true
  process.signals.onSignal(() => {
    if (isFailing) throw new Error('a listener failed')
  })
  const later: Signal[] = []
  process.signals.onSignal((signal) => void later.push(signal))
  await process.database.transaction((tx) => process.signals.publish(tx, SIGNAL))
  isFailing = false
  expect(later).toEqual([SIGNAL])
  expect(process.signals.coherence()).not.toBe(coherence)
  await process.signals.stop()
  await process.database.close()
})

test('a notification that is not a signal counts as a missed signal', async () => {
  const coherence = here.signals.coherence()
  await there.database.notify(SIGNAL_CHANNEL, 'no signal')
  await eventually('another epoch', () => Promise.resolve(![false, coherence].includes(here.signals.coherence())))
})
