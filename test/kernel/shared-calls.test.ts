import { describe, expect, test } from 'vitest'
import { createSharedCalls } from '../../src/kernel/shared-calls.ts'

describe('calls in flight', () => {
  /** Calls whose ends the test decides. */
  function controlledCalls() {
    const shared = createSharedCalls<string>()
    const started: PromiseWithResolvers<string>[] = []
    const share = (key: string): Promise<string> =>
      shared.share(key, () => {
        const call = Promise.withResolvers<string>()
        started.push(call)
        return call.promise
      })
    return { shared, started, share }
  }

  test('callers during a call in flight share it, and another key has its own call', async () => {
    const { started, share } = controlledCalls()
    const results = Promise.all([share('a'), share('a'), share('b')])
    expect(started).toHaveLength(2)
    started[0]!.resolve('first')
    started[1]!.resolve('other')
    expect(await results).toEqual(['first', 'first', 'other'])
  })

  test('a failure reaches every caller that shares the call, and the next caller starts a new one', async () => {
    const { started, share } = controlledCalls()
    const results = Promise.allSettled([share('a'), share('a')])
    started[0]!.reject(new Error('away'))
    expect(await results).toMatchObject([{ reason: { message: 'away' } }, { reason: { message: 'away' } }])
    const next = share('a')
    expect(started).toHaveLength(2)
    started[1]!.resolve('second')
    expect(await next).toBe('second')
  })

  test('a call that ends is not cached', async () => {
    const { started, share } = controlledCalls()
    const first = share('a')
    started[0]!.resolve('first')
    await first
    void share('a')
    expect(started).toHaveLength(2)
  })

  test('a start that throws leaves no call in flight', async () => {
    const { shared } = controlledCalls()
    const fail = (): Promise<string> => {
      throw new Error('broken')
    }
    expect(() => shared.share('a', fail)).toThrow('broken')
    expect(await shared.share('a', () => Promise.resolve('fine'))).toBe('fine')
  })

  test('idle is reached when all calls have succeeded or failed, including those that started later', async () => {
    const { shared, started, share } = controlledCalls()
    await shared.waitUntilIdle()
    let isIdle = false
    share('a').catch(() => void share('b'))
    const idle = shared.waitUntilIdle().then(() => (isIdle = true))
    started[0]!.reject(new Error('away'))
    await new Promise(setImmediate)
    expect([started.length, isIdle]).toEqual([2, false])
    started[1]!.resolve('done')
    await idle
  })
})
