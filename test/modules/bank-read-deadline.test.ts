import { expect, test } from 'vitest'
import { systemClock } from '../../src/kernel/clock.ts'
import { createConnectors } from '../../src/modules/banks/connectors.ts'
import type { Connector } from '../../src/modules/banks/model.ts'
import type { BankStore } from '../../src/modules/banks/store.ts'
import type { Signals } from '../../src/storage/signals.ts'

test.each<{ timeouts: (number | undefined)[]; deadlineMs: number }>([
  { timeouts: [undefined], deadlineMs: 1_400 },
  { timeouts: [9_000, undefined], deadlineMs: 9_000 },
  { timeouts: [200], deadlineMs: 200 },
  { timeouts: [], deadlineMs: 1_400 },
])('the deadline of a bank is the longest of its active connectors: $timeouts', async ({ timeouts, deadlineMs }) => {
  const active = timeouts.map((readTimeoutMs) => ({ registration: { readTimeoutMs } }) as unknown as Connector)
  const store = { connectors: () => Promise.resolve(active) } as unknown as BankStore
  const signals = { onSignal: () => undefined } as unknown as Signals
  const cacheOptions = { clock: systemClock, maxBytes: 65_536, ttlMs: 1_000, coherence: () => 1 }
  expect(await createConnectors(store, signals, cacheOptions).readDeadlineMs('bank')).toBe(deadlineMs)
})
