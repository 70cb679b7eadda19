import { expect, test } from 'vitest'
import { createBatchedCounters } from '../../src/kernel/batched-counters.ts'

interface Row {
  readonly key: string
  readonly count: number
}

/** Sums whose writing fails as long as `isAway`; and what was written. */
function written() {
  const state = { isAway: false, batches: [] as (readonly Row[])[] }
  const sums = createBatchedCounters<'count', Row>(
    ['count'],
    ({ key }) => key,
    (rows) => {
      if (state.isAway) return Promise.reject(new Error('away'))
      state.batches.push(rows)
      return Promise.resolve()
    },
  )
  return { state, sums }
}

test('amounts of one key are written as one row, and each only once', async () => {
  const { state, sums } = written()
  for (const key of ['a', 'b', 'a']) sums.add({ key, count: 2 })
  await sums.flush()
  await sums.flush()
  expect(state.batches).toEqual([
    [
      { key: 'a', count: 4 },
      { key: 'b', count: 2 },
    ],
  ])
})

test('amounts that could not be written are written later together with newer ones', async () => {
  const { state, sums } = written()
  state.isAway = true
  sums.add({ key: 'a', count: 1 })
  const failing = sums.flush()
  sums.add({ key: 'a', count: 5 })
  await expect(failing).rejects.toThrow('away')
  state.isAway = false
  await sums.flush()
  expect(state.batches).toEqual([[{ key: 'a', count: 6 }]])
})
