import { describe, expect, test } from 'vitest'
import { SECOND_MS } from '../../src/kernel/clock.ts'
import { createEndpointLimits, ENDPOINT_LIMIT } from '../../src/modules/deliveries/endpoint-limits.ts'
import { createFakeTime } from '../support/fake-time.ts'

const ENDPOINT = 'whep_1'
/** Draws the middle of the jitter, so that waits are as the schedule has them, less 0.1 %: half of 255 is no integer. */
const middleRandomness = { bytes: () => Buffer.from([127]) }

function createSubject() {
  const time = createFakeTime()
  const limits = createEndpointLimits(time.clock, middleRandomness)
  const startMany = (count: number) => Array.from({ length: count }, () => limits.start(ENDPOINT))
  return {
    ...time,
    limits,
    startMany,
    limit: () => limits.limitOf(ENDPOINT),
    /** Makes as many attempts, one after the other, with the same outcome. */
    attempt: (count: number, isAccepted: boolean) => {
      for (let index = 0; index < count; index++) limits.start(ENDPOINT)(isAccepted)
    },
  }
}

describe('the circuit breaker of an endpoint', () => {
  test('forty attempts that fail at one moment pause the endpoint for one second', async () => {
    const { advance, startMany, limit, attempt } = createSubject()
    attempt(ENDPOINT_LIMIT.max, true)
    for (const record of startMany(40)) record(false)
    expect(limit()).toBe(0)
    await advance(0.9 * SECOND_MS)
    expect(limit()).toBe(0)
    await advance(0.1 * SECOND_MS)
    expect(limit()).toBe(1)
  })

  test('a late failure of an attempt from before the pause does not prolong the pause', async () => {
    const { advance, startMany, limit, attempt } = createSubject()
    const late = startMany(2)
    attempt(5, false)
    await advance(0.9 * SECOND_MS)
    late[0]!(false)
    await advance(0.1 * SECOND_MS)
    expect(limit()).toBe(1)
    late[1]!(false)
    expect(limit()).toBe(1)
  })

  test('each probe that fails doubles the pause of the endpoint, up to one minute', async () => {
    const { advance, limit, attempt } = createSubject()
    attempt(5, false)
    for (const seconds of [1, 2, 4, 8, 16, 32, 60, 60]) {
      await advance(0.9 * seconds * SECOND_MS)
      expect(limit()).toBe(0)
      await advance(0.1 * seconds * SECOND_MS)
      expect(limit()).toBe(1)
      attempt(1, false)
    }
  })

  test('an accepted attempt closes the circuit breaker, also one from before the pause', () => {
    const { startMany, limit, attempt } = createSubject()
    const [late] = startMany(1)
    attempt(5, false)
    late!(true)
    expect(limit()).toBe(2)
    attempt(4, false)
    expect(limit()).toBe(1)
    attempt(1, false)
    expect(limit()).toBe(0)
  })

  test('a clock that is set back does not let probes fail without a new pause', async () => {
    const { advance, setWallTime, clock, limit, attempt } = createSubject()
    attempt(5, false)
    setWallTime(new Date(clock.now().getTime() - 3_600 * SECOND_MS))
    expect(limit()).toBe(1)
    attempt(1, false)
    expect(limit()).toBe(0)
    await advance(2 * SECOND_MS)
    expect(limit()).toBe(1)
  })
})
