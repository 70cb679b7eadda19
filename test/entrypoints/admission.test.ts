import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import { describe, expect, test } from 'vitest'
import { createAdmission } from '../../src/entrypoints/bank-events/admission.ts'
import { createFakeTime } from '../support/fake-time.ts'

/** Events that run until they are told to end, by connector. */
function events() {
  const admission = createAdmission(createFakeTime().timers, { connector: 4, all: 12, reserved: 4 })
  const running: { connectorId: string; end: () => void }[] = []
  return {
    running,
    arrive(connectorId: string, count = 1): void {
      for (let index = 0; index < count; index++) {
        const response = Object.assign(new EventEmitter(), { closed: false }) as unknown as ServerResponse
        void admission.admit(connectorId, response, () => {
          const { promise, resolve } = Promise.withResolvers<undefined>()
          running.push({ connectorId, end: () => resolve(undefined) })
          return promise
        })
      }
    },
    names: (): string[] => running.map(({ connectorId }) => connectorId),
    /** Ends the event that runs longest and lets the next begin; returns whose that is. */
    async next(): Promise<string | undefined> {
      const before = running.length
      running.shift()!.end()
      await settled()
      return running.length === before ? running.at(-1)!.connectorId : undefined
    },
  }
}
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe('the admission of events', () => {
  test('four of the twelve slots are reserved for connectors without an event in progress', async () => {
    const { arrive, names } = events()
    for (const busy of ['a', 'b', 'c']) arrive(busy, 10)
    await settled()
    expect(names()).toEqual(['a', 'a', 'a', 'a', 'b', 'b', 'b', 'b', 'c'])
    for (const idle of ['d', 'e', 'f', 'g']) arrive(idle)
    await settled()
    expect(names().slice(9)).toEqual(['d', 'e', 'f'])
  })

  test('at most twelve events are stored concurrently, for any number of connectors', async () => {
    const { arrive, names } = events()
    for (let index = 0; index < 40; index++) arrive(`connector-${index}`)
    await settled()
    expect(names()).toHaveLength(12)
  })

  test('a free slot is given to the connector that has waited longest', async () => {
    const { arrive, names, next } = events()
    for (const busy of ['a', 'b', 'c']) arrive(busy, 20)
    await settled()
    expect(names()).toHaveLength(9)
    const begun: (string | undefined)[] = []
    for (let index = 0; index < 12; index++) begun.push(await next())
    for (const busy of ['a', 'b', 'c'])
      expect(begun.filter((name) => name === busy).length, busy).toBeGreaterThanOrEqual(3)
  })
})
