import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { BankAccess, BankInterface } from '../../src/connectors/index.ts'
import { systemClock, systemTimers } from '../../src/kernel/clock.ts'
import { systemRandomness } from '../../src/kernel/ids.ts'
import { createBankGuards } from '../../src/modules/banks/circuit-breaker.ts'

const access = { consentRef: 'consent' } as BankAccess
const READ_MS = 1_400
const CHANGE_MS = 10_000
/** So many calls of one kind a bank gets at once at first. */
const AT_ONCE = 24

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const protect = (bank: Partial<BankInterface>) =>
  createBankGuards({ clock: systemClock, timers: systemTimers, randomness: systemRandomness }).protect(
    'one',
    bank as BankInterface,
    READ_MS,
  )
const answers = (): Promise<never> => Promise.resolve({ balances: [], invalidTypes: [] } as never)
const hangs = (): Promise<never> => new Promise(() => undefined)
const after = (ms: number) => (): Promise<BankAccess> => new Promise((resolve) => setTimeout(() => resolve(access), ms))

describe('the room that one bank has', () => {
  test('is not taken from looks by renewals that stand still, nor the other way round', async () => {
    const still = protect({ refresh: hangs, balances: answers })
    for (let index = 0; index < 3 * AT_ONCE; index++) still.refresh(access).catch(() => undefined)
    expect(await still.balances(access, 'account', null)).toMatchObject({ balances: [] })

    const slow = protect({ refresh: after(0), balances: hangs })
    for (let index = 0; index < 3 * AT_ONCE; index++) slow.balances(access, 'account', null).catch(() => undefined)
    const renewed = slow.refresh(access)
    await vi.advanceTimersByTimeAsync(1)
    expect(await renewed).toBe(access)
  })

  test('a renewal that waited for room has all of its time once it begins, for its answer would be lost', async () => {
    let begun = 0
    const bank = protect({ refresh: () => (begun++ < AT_ONCE ? after(CHANGE_MS - 1_000)() : after(5_000)()) })
    const all = Array.from({ length: AT_ONCE + 1 }, () => bank.refresh(access))
    const last = all.at(-1)!
    await vi.advanceTimersByTimeAsync(CHANGE_MS - 1_000)
    expect(begun).toBe(AT_ONCE + 1)
    await vi.advanceTimersByTimeAsync(5_000)
    expect(await last).toBe(access)
  })

  test('is waited for no longer than the deadline of the call', async () => {
    const bank = protect({ balances: hangs })
    const all = Array.from({ length: 3 * AT_ONCE }, (_one, index) => bank.balances(access, `account${index}`, null))
    const settled = Promise.allSettled(all)
    await vi.advanceTimersByTimeAsync(READ_MS)
    for (const one of await settled) expect(one).toMatchObject({ reason: { code: 'BANK_TIMEOUT' } })
  })
})
