import { expect, test } from 'vitest'
import { createInFlight } from '../../src/kernel/in-flight.ts'

test('a task counts in its group until it has ended, and is then announced as ended', async () => {
  const inFlight = createInFlight()
  const first = Promise.withResolvers<undefined>()
  const second = Promise.withResolvers<undefined>()
  const counts: number[] = []
  const onEnd = (): void => void counts.push(inFlight.count)
  inFlight.start('slow', () => first.promise, onEnd)
  inFlight.start('slow', () => second.promise, onEnd)
  inFlight.start('other', () => second.promise)
  expect(inFlight.countByGroup()).toEqual(
    new Map([
      ['slow', 2],
      ['other', 1],
    ]),
  )
  first.resolve(undefined)
  await expect.poll(() => counts).toEqual([2])
  expect(inFlight.hasAny('slow')).toBe(true)
  const idle = inFlight.waitUntilIdle()
  second.resolve(undefined)
  await idle
  expect(inFlight.count).toBe(0)
  expect(inFlight.hasAny('slow')).toBe(false)
})
