import { expect, test } from 'vitest'
import { SECOND_MS } from '../../src/kernel/clock.ts'
import { databaseUnavailableError } from '../../src/kernel/errors.ts'
import { systemRandomness } from '../../src/kernel/ids.ts'
import { createLog } from '../../src/kernel/log.ts'
import type { World } from '../../src/kernel/world.ts'
import type { ClaimedDelivery } from '../../src/modules/deliveries/model.ts'
import { createSettlement, type AttemptOutcome } from '../../src/modules/deliveries/settlement.ts'
import type { Ledger } from '../../src/modules/ledger/index.ts'
import type { Database, SqlTransaction } from '../../src/storage/database.ts'
import { createFakeTime } from '../support/fake-time.ts'

const STEP_MS = 50

/** A settlement whose database is away until `availableAfterMs`; then it stores each outcome. */
function createSubject(availableAfterMs: number) {
  const { clock, timers, advance } = createFakeTime()
  const storedIds: string[] = []
  const tx = {
    query: (_name: string, _sql: string, [deliveryIds, , attemptIds]: string[][]) => {
      storedIds.push(...deliveryIds!)
      return Promise.resolve(
        deliveryIds!.map((deliveryId, index) => ({
          deliveryId,
          attemptId: attemptIds![index],
          number: 1,
          isHeld: true,
          isNew: true,
        })),
      )
    },
  } as unknown as SqlTransaction
  const database = {
    delivery: {
      transaction: (work: (tx: SqlTransaction) => Promise<unknown>) =>
        timers.monotonicMs() < availableAfterMs
          ? Promise.reject(databaseUnavailableError(new Error('connect ECONNREFUSED')))
          : work(tx),
    },
  } as unknown as Database
  const log = createLog('error', clock.now, () => undefined)
  const world = { clock, timers, log, randomness: systemRandomness } as World
  const ledger = { recordEntries: () => Promise.resolve() } as unknown as Ledger
  const settlement = createSettlement({ database, world, ledger }, { record: () => Promise.resolve() })
  return {
    settlement,
    storedIds,
    now: clock.now,
    /** Lets time pass in steps, because a write that fails starts the timer of its next one some turns of the event loop later. */
    async advance(ms: number) {
      for (let leftMs = ms; leftMs > 0; leftMs -= STEP_MS) await advance(Math.min(leftMs, STEP_MS))
    },
  }
}

const acceptedOutcome = (id: string, now: Date): AttemptOutcome => ({
  claimed: {
    id,
    claimedUntil: now,
    webhookEndpointId: 'whep_1',
    attemptCount: 0,
    scheduleStartedAt: now,
    priority: 'STANDARD',
    consentId: 'cnst_1',
    subject: null,
    isInOrder: false,
    endpoint: {},
  } as unknown as ClaimedDelivery,
  grant: undefined,
  result: { attemptedAt: now, httpStatus: 204, outcome: 'ACCEPTED', failureCause: null },
})

test('a database that is away for ten seconds loses no outcome of an attempt', async () => {
  const { settlement, storedIds, advance, now } = createSubject(10 * SECOND_MS)
  const ids = Array.from({ length: 200 }, (_, index) => `dlvr_${index}`)
  const settled = Promise.allSettled(ids.map((id) => settlement.settle(acceptedOutcome(id, now()))))
  await advance(9 * SECOND_MS)
  expect(storedIds).toEqual([])
  // Well before the lease of the claims ends, after which the messages would be sent again.
  await advance(4 * SECOND_MS)
  expect(storedIds.toSorted()).toEqual(ids.toSorted())
  expect((await settled).every(({ status }) => status === 'fulfilled')).toBe(true)
})

test('an outcome is stored after the database was away for almost thirty seconds', async () => {
  const { settlement, storedIds, advance, now } = createSubject(28 * SECOND_MS)
  const settled = Promise.allSettled([settlement.settle(acceptedOutcome('dlvr_1', now()))])
  await advance(30 * SECOND_MS)
  expect(storedIds).toEqual(['dlvr_1'])
  expect(await settled).toMatchObject([{ status: 'fulfilled' }])
})

test('an outcome that cannot be stored for thirty seconds is given up with the error of the database', async () => {
  const { settlement, advance, now } = createSubject(Infinity)
  const failed = expect(settlement.settle(acceptedOutcome('dlvr_1', now()))).rejects.toThrow(
    expect.objectContaining({ code: 'DATABASE_UNAVAILABLE' }),
  )
  await advance(30 * SECOND_MS)
  await failed
})
