import { describe, expect, test } from 'vitest'
import { createSenderLimit, type SenderLimit } from '../../src/entrypoints/bank-events/sender-limit.ts'
import { systemRandomness } from '../../src/kernel/ids.ts'
import { createFakeTime } from '../support/fake-time.ts'

const BURST = 600
const MIN_HOLD_MS = 1_000
const MAX_HOLD_MS = 3_000
const MAX_HELD = 1_000
const SENDER = '192.0.2.1'

interface Counted {
  /** Undefined while it waits. */
  outcome?: 'ACCEPTED' | { code: string; retryAfterSeconds?: number } | undefined
}

function createSender() {
  const time = createFakeTime()
  const limit = createSenderLimit({ ...time, randomness: systemRandomness })
  return { time, limit, send: (count: number, address = SENDER) => send(limit, count, address) }
}

const send = (limit: SenderLimit, count: number, address: string): Counted[] =>
  Array.from({ length: count }, () => {
    const counted: Counted = {}
    limit.count('northbank', address).then(
      () => (counted.outcome = 'ACCEPTED'),
      (error: unknown) => (counted.outcome = error as Counted['outcome']),
    )
    return counted
  })

describe('a sender of events beyond its limit', () => {
  test('it is refused only after a second, so that a connection carries one refusal a second at most', async () => {
    const { time, send } = createSender()
    send(BURST)
    const beyond = send(100)
    await time.advance(MIN_HOLD_MS - 1)
    expect(beyond.filter(({ outcome }) => outcome)).toEqual([])
    await time.advance(MAX_HOLD_MS - MIN_HOLD_MS + 1)
    for (const { outcome } of beyond) expect(outcome).toMatchObject({ code: 'OVERLOADED', retryAfterSeconds: 1 })
  })

  test('connections that are refused together do not send again together', async () => {
    const { time, send } = createSender()
    send(BURST)
    const beyond = send(500)
    await time.advance(MIN_HOLD_MS)
    let refusedCount = 0
    for (let elapsedMs = 0; elapsedMs < MAX_HOLD_MS - MIN_HOLD_MS; elapsedMs += 100) {
      await time.advance(100)
      const nowRefusedCount = beyond.filter(({ outcome }) => outcome).length
      expect(nowRefusedCount - refusedCount).toBeLessThan(75)
      refusedCount = nowRefusedCount
    }
    expect(refusedCount).toBe(beyond.length)
  })

  test('a sender beyond its limit delays no other sender', async () => {
    const { time, send } = createSender()
    send(BURST + 10)
    const [other] = send(1, '198.51.100.1')
    await time.advance(0)
    expect(other!.outcome).toBe('ACCEPTED')
  })

  test('a thousand refusals wait at most, and further ones come immediately', async () => {
    const { time, send } = createSender()
    send(BURST)
    const held = send(MAX_HELD)
    const [further] = send(1)
    await time.advance(0)
    expect(held.every(({ outcome }) => outcome === undefined)).toBe(true)
    expect(further!.outcome).toMatchObject({ code: 'OVERLOADED' })
    await time.advance(MAX_HOLD_MS)
    expect(held.every(({ outcome }) => outcome !== undefined)).toBe(true)
  })
})
