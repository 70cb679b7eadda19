import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { BankAccess, BankInterface } from '../../src/connectors/index.ts'
import { SECOND_MS, systemClock, systemTimers } from '../../src/kernel/clock.ts'
import { GatewayError } from '../../src/kernel/errors.ts'
import { createMetrics } from '../../src/kernel/metrics.ts'
import { createBankGuards } from '../../src/modules/banks/bank-guard.ts'
import { createCircuitBreaker } from '../../src/modules/banks/circuit-breaker.ts'
import { startDeadline } from '../../src/modules/banks/deadline.ts'
import { CONCURRENCY_LIMIT, createSemaphore, MAX_QUEUED_CALLS } from '../../src/modules/banks/semaphore.ts'

const access = { consentRef: 'consent' } as BankAccess
const READ_MS = 1_400
const CHANGE_MS = 10_000
/** Draws the middle of every range, so that no wait is varied. */
const randomness = { bytes: () => Buffer.from([0x80]) }
const world = { clock: systemClock, timers: systemTimers, randomness }

const timeout = () => new GatewayError('BANK_TIMEOUT')
const unreachable = () => new GatewayError('BANK_UNAVAILABLE', { failureCause: 'CONNECTION_REFUSED' })
const serverError = () => new GatewayError('BANK_UNAVAILABLE')
const errorsAbout = (...ids: string[]) => ids.map((id) => [serverError(), id] as const)
const codeOf = (run: () => void): string => {
  try {
    run()
    return 'NONE'
  } catch (error) {
    return (error as GatewayError).code
  }
}

beforeEach(() => void vi.useFakeTimers({ now: 0 }))
afterEach(() => void vi.useRealTimers())

describe('a circuit breaker', () => {
  const create = () => createCircuitBreaker(world)
  const isOpen = (circuit: ReturnType<typeof create>): boolean => codeOf(circuit.assertClosed) === 'BANK_UNAVAILABLE'
  const fail = (circuit: ReturnType<typeof create>, times: number, error = unreachable()): void => {
    for (let call = 0; call < times; call++) circuit.recordFailure(error, 'account')
  }
  function openWaitMs(circuit: ReturnType<typeof create>): number {
    for (let waitedMs = 0; ; waitedMs += 100) {
      if (!isOpen(circuit)) return waitedMs
      vi.advanceTimersByTime(100)
    }
  }

  test.each([
    ['five calls of one account without a response', Array.from({ length: 5 }, () => [timeout(), 'a'] as const), true],
    ['four calls without a response', Array.from({ length: 4 }, () => [timeout(), 'a'] as const), false],
    ['nine error responses about one account', Array.from({ length: 9 }, () => [serverError(), 'a'] as const), false],
    ['five error responses about two accounts', errorsAbout('a', 'b', 'a', 'b', 'a'), false],
    ['five error responses about three accounts', errorsAbout('a', 'b', 'c', 'a', 'b'), true],
    ['four error responses about four accounts', errorsAbout('a', 'b', 'c', 'd'), false],
  ])('%s opens the circuit or does not, as the table states', (_what, failures, opens) => {
    const circuit = create()
    for (const [error, id] of failures) circuit.recordFailure(error, id)
    expect(isOpen(circuit)).toBe(opens)
  })

  test('a response between failures resets the count', () => {
    const circuit = create()
    fail(circuit, 4)
    circuit.recordSuccess()
    fail(circuit, 4)
    expect(isOpen(circuit)).toBe(false)
  })

  test('an open circuit returns the time to wait, and then admits exactly one probe', () => {
    const circuit = create()
    fail(circuit, 5)
    const refusal = (() => {
      try {
        circuit.assertClosed()
      } catch (error) {
        return error
      }
    })()
    expect(refusal).toMatchObject({ code: 'BANK_UNAVAILABLE', retryAfterSeconds: 6 })
    vi.advanceTimersByTime(5_100)
    expect(isOpen(circuit)).toBe(false)
    expect([isOpen(circuit), isOpen(circuit)]).toEqual([true, true])
  })

  test('a probe that succeeds closes the circuit for all', () => {
    const circuit = create()
    fail(circuit, 5)
    openWaitMs(circuit)
    circuit.recordSuccess()
    expect([isOpen(circuit), isOpen(circuit)]).toEqual([false, false])
  })

  test('each failed probe doubles the wait up to two minutes, and a success resets it to five seconds', () => {
    const circuit = create()
    fail(circuit, 5)
    const waits: number[] = []
    for (let probe = 0; probe < 7; probe++) {
      waits.push(Math.round(openWaitMs(circuit) / SECOND_MS))
      fail(circuit, 1)
    }
    expect(waits).toEqual([5, 10, 20, 40, 80, 120, 120])
    openWaitMs(circuit)
    circuit.recordSuccess()
    fail(circuit, 5)
    expect(Math.round(openWaitMs(circuit) / SECOND_MS)).toBe(5)
  })

  test('calls that began before the circuit opened do not prolong the wait when they fail', () => {
    const circuit = create()
    fail(circuit, 24, timeout())
    expect(Math.round(openWaitMs(circuit) / SECOND_MS)).toBe(5)
  })

  test('a probe without information about the bank leaves its slot to the next call', () => {
    const circuit = create()
    fail(circuit, 5)
    openWaitMs(circuit)
    circuit.recordNeutral()
    expect(isOpen(circuit)).toBe(false)
  })

  test('the wait is varied by a fifth in both directions', () => {
    const waits = [0, 255].map((byte) => {
      const circuit = createCircuitBreaker({ ...world, randomness: { bytes: () => Buffer.from([byte]) } })
      fail(circuit, 5)
      return openWaitMs(circuit)
    })
    expect(waits).toEqual([4_000, 6_000])
  })
})

describe('a semaphore', () => {
  const deadline = (ms = READ_MS) => startDeadline(ms, systemTimers)
  /** How many further calls are admitted at once. */
  const uncounted = { inc: () => undefined, dec: () => undefined }
  async function freeSlots(semaphore: ReturnType<typeof createSemaphore>): Promise<number> {
    let admitted = 0
    for (;;) {
      const [outcome] = await Promise.all([
        Promise.allSettled([semaphore.acquire(deadline(1))]),
        vi.advanceTimersByTimeAsync(1),
      ])
      if (outcome[0].status === 'rejected') break
      admitted++
    }
    for (let slot = 0; slot < admitted; slot++) semaphore.release()
    return admitted
  }

  test('the limit of a semaphore grows by one for each full round of responses, up to 64', async () => {
    const semaphore = createSemaphore(uncounted)
    expect(await freeSlots(semaphore)).toBe(CONCURRENCY_LIMIT.initial)
    for (let call = 0; call <= CONCURRENCY_LIMIT.initial; call++) semaphore.increaseLimit()
    expect(await freeSlots(semaphore)).toBe(CONCURRENCY_LIMIT.initial + 1)
    for (let call = 0; call < 10_000; call++) semaphore.increaseLimit()
    expect(await freeSlots(semaphore)).toBe(CONCURRENCY_LIMIT.max)
  })

  test('the limit of a semaphore halves with each timeout, down to 2', async () => {
    const semaphore = createSemaphore(uncounted)
    semaphore.decreaseLimit()
    expect(await freeSlots(semaphore)).toBe(12)
    for (let call = 0; call < 10; call++) semaphore.decreaseLimit()
    expect(await freeSlots(semaphore)).toBe(CONCURRENCY_LIMIT.min)
  })

  test('a semaphore whose limit fell admits no call until enough calls have ended', async () => {
    const semaphore = createSemaphore(uncounted)
    for (let call = 0; call < 24; call++) await semaphore.acquire(deadline())
    semaphore.decreaseLimit()
    let isAdmitted = false
    const waiting = semaphore.acquire(deadline()).then(() => (isAdmitted = true))
    for (let call = 0; call < 12; call++) semaphore.release()
    await vi.advanceTimersByTimeAsync(0)
    expect(isAdmitted).toBe(false)
    semaphore.release()
    await waiting
    expect(isAdmitted).toBe(true)
  })

  test('waiting calls are admitted in their order, and a new call never takes the slot of one that was admitted', async () => {
    const semaphore = createSemaphore(uncounted)
    for (let call = 0; call < 10; call++) semaphore.decreaseLimit()
    for (let call = 0; call < CONCURRENCY_LIMIT.min; call++) await semaphore.acquire(deadline())
    const admitted: string[] = []
    const wait = (name: string) => semaphore.acquire(deadline()).then(() => admitted.push(name))
    const first = [wait('first'), wait('second')]
    semaphore.release()
    // Before the first waiting call goes on.
    const late = wait('late')
    await vi.advanceTimersByTimeAsync(0)
    expect(admitted).toEqual(['first'])
    semaphore.release()
    semaphore.release()
    await Promise.all([...first, late])
    expect(admitted).toEqual(['first', 'second', 'late'])
  })

  test('a call whose time runs out leaves the queue, and its slot is not lost', async () => {
    const semaphore = createSemaphore(uncounted)
    for (let call = 0; call < 24; call++) await semaphore.acquire(deadline(CHANGE_MS))
    await expectTimeout(semaphore.acquire(deadline(50)))
    for (let call = 0; call < 24; call++) semaphore.release()
    expect(await freeSlots(semaphore)).toBe(24)
  })

  test('a call beyond 500 waiting ones is refused immediately', async () => {
    const semaphore = createSemaphore(uncounted)
    for (let call = 0; call < 24; call++) await semaphore.acquire(deadline())
    for (let call = 0; call < MAX_QUEUED_CALLS; call++) semaphore.acquire(deadline()).catch(() => undefined)
    await expect(semaphore.acquire(deadline())).rejects.toMatchObject({ code: 'BANK_UNAVAILABLE' })
  })

  async function expectTimeout(call: Promise<void>): Promise<void> {
    const settled = Promise.allSettled([call])
    await vi.advanceTimersByTimeAsync(50)
    expect(await settled).toMatchObject([{ status: 'rejected', reason: { code: 'BANK_TIMEOUT' } }])
  }
})

describe('the guard of one bank', () => {
  const protect = (bank: Partial<BankInterface>, metrics = createMetrics()) =>
    createBankGuards(world, metrics).protect({ id: 'one', bankId: 'bank' }, bank as BankInterface, READ_MS)
  const responds = (): Promise<never> => Promise.resolve({ balances: [], invalidTypes: [] } as never)
  const hangs = (): Promise<never> => new Promise(() => undefined)
  const after = (ms: number) => (): Promise<BankAccess> =>
    new Promise((resolve) => setTimeout(() => resolve(access), ms))
  const isPresent = { ip: '192.0.2.1', userAgent: null }

  test('token renewals that hang take no slot from reads, nor reads from renewals', async () => {
    const renewing = protect({ refresh: hangs, balances: responds })
    for (let call = 0; call < 3 * CONCURRENCY_LIMIT.initial; call++) renewing.refresh(access).catch(() => undefined)
    expect(await renewing.balances(access, 'account', null)).toMatchObject({ balances: [] })

    const reading = protect({ refresh: after(0), balances: hangs })
    for (let call = 0; call < 3 * CONCURRENCY_LIMIT.initial; call++)
      reading.balances(access, 'account', null).catch(() => undefined)
    const renewed = reading.refresh(access)
    await vi.advanceTimersByTimeAsync(1)
    expect(await renewed).toBe(access)
  })

  test('responses to alerts that hang take no slot from renewals, nor renewals from responses', async () => {
    const response = { id: 'answ_1' } as never
    const desk = protect({ sendAlertResponse: hangs, refresh: after(0) })
    for (let call = 0; call < 3 * CONCURRENCY_LIMIT.initial; call++)
      desk.sendAlertResponse!(response).catch(() => undefined)
    const renewed = desk.refresh(access)
    await vi.advanceTimersByTimeAsync(1)
    expect(await renewed).toBe(access)

    const renewing = protect({ sendAlertResponse: () => Promise.resolve('ACCEPTED'), refresh: hangs })
    for (let call = 0; call < 3 * CONCURRENCY_LIMIT.initial; call++) renewing.refresh(access).catch(() => undefined)
    expect(await renewing.sendAlertResponse!(response)).toBe('ACCEPTED')
  })

  test('a rate limit of the account API delays no response to an alert, nor that of the fraud desk a read', async () => {
    const response = { id: 'answ_1' } as never
    const limited = () => Promise.reject(new GatewayError('BANK_RATE_LIMITED', { retryAfterSeconds: 3_600 }))
    const reading = protect({ balances: limited, sendAlertResponse: () => Promise.resolve('ACCEPTED') })
    await expect(reading.balances(access, 'account', isPresent)).rejects.toMatchObject({ code: 'BANK_RATE_LIMITED' })
    expect(await reading.sendAlertResponse!(response)).toBe('ACCEPTED')

    const desk = protect({ balances: responds, sendAlertResponse: limited })
    await expect(desk.sendAlertResponse!(response)).rejects.toMatchObject({ code: 'BANK_RATE_LIMITED' })
    expect(await desk.balances(access, 'account', isPresent)).toMatchObject({ balances: [] })
  })

  test('a renewal that waited for a slot has its whole deadline once it starts', async () => {
    let startedCount = 0
    const bank = protect({
      refresh: () => (startedCount++ < CONCURRENCY_LIMIT.initial ? after(CHANGE_MS - 1_000)() : after(5_000)()),
    })
    const all = Array.from({ length: CONCURRENCY_LIMIT.initial + 1 }, () => bank.refresh(access))
    const last = all.at(-1)!
    await vi.advanceTimersByTimeAsync(CHANGE_MS - 1_000)
    expect(startedCount).toBe(CONCURRENCY_LIMIT.initial + 1)
    await vi.advanceTimersByTimeAsync(5_000)
    expect(await last).toBe(access)
  })

  test('a read waits for a slot no longer than its deadline', async () => {
    const metrics = createMetrics()
    const bank = protect({ balances: hangs }, metrics)
    const all = Array.from({ length: 3 * CONCURRENCY_LIMIT.initial }, (_one, index) =>
      bank.balances(access, `account${index}`, null),
    )
    const settled = Promise.allSettled(all)
    const countWaiting = async () =>
      (await metrics.bankCallsWaiting.get()).values.map(({ labels, value }) => [labels.effect, value])
    const waitingCount = 2 * CONCURRENCY_LIMIT.initial
    expect(await countWaiting()).toEqual([['read', waitingCount]])
    await vi.advanceTimersByTimeAsync(READ_MS)
    expect(await countWaiting()).toEqual([['read', 0]])
    for (const one of await settled) expect(one).toMatchObject({ reason: { code: 'BANK_TIMEOUT' } })
  })

  test('a read that fails early is tried once more, a change never', async () => {
    const calls = { balances: 0, refresh: 0 }
    const bank = protect({
      balances: () => (calls.balances++ === 0 ? Promise.reject(unreachable()) : responds()),
      refresh: () => (calls.refresh++, Promise.reject(unreachable())),
    })
    const read = bank.balances(access, 'account', null)
    const changed = Promise.allSettled([bank.refresh(access)])
    await vi.advanceTimersByTimeAsync(100)
    expect(await read).toMatchObject({ balances: [] })
    expect(await changed).toMatchObject([{ reason: { code: 'BANK_UNAVAILABLE' } }])
    expect(calls).toEqual({ balances: 2, refresh: 1 })
  })

  test('the circuit of one kind of call does not stop the others', async () => {
    const bank = protect({ refresh: () => Promise.reject(unreachable()), balances: responds })
    for (let call = 0; call < 6; call++) await expect(bank.refresh(access)).rejects.toThrow()
    await expect(bank.refresh(access)).rejects.toMatchObject({ internalMessage: 'circuit open' })
    expect(await bank.balances(access, 'account', null)).toMatchObject({ balances: [] })
  })

  test('a bank that limits the rate gets no call of any kind for the time it named, or for 30 seconds', async () => {
    for (const retryAfterSeconds of [7, undefined]) {
      const limited = new GatewayError(
        'BANK_RATE_LIMITED',
        retryAfterSeconds === undefined ? {} : { retryAfterSeconds },
      )
      const bank = protect({ balances: () => Promise.reject(limited), refresh: after(0) })
      await expect(bank.balances(access, 'account', null)).rejects.toBe(limited)
      const seconds = retryAfterSeconds ?? 30
      await expect(bank.refresh(access)).rejects.toMatchObject({
        code: 'BANK_RATE_LIMITED',
        retryAfterSeconds: seconds,
      })
      vi.advanceTimersByTime(seconds * SECOND_MS)
      const renewed = bank.refresh(access)
      await vi.advanceTimersByTimeAsync(1)
      expect(await renewed).toBe(access)
    }
  })

  test('a used-up quota stops unattended calls about that account only', async () => {
    const exhausted = new GatewayError('BANK_QUOTA_EXHAUSTED', { retryAfterSeconds: 3_600 })
    let isExhausted = true
    const bank = protect({ balances: () => (isExhausted ? Promise.reject(exhausted) : responds()) })
    await expect(bank.balances(access, 'account', null)).rejects.toBe(exhausted)
    isExhausted = false
    await expect(bank.balances(access, 'account', null)).rejects.toMatchObject({ code: 'BANK_QUOTA_EXHAUSTED' })
    expect(await bank.balances(access, 'account', isPresent)).toMatchObject({ balances: [] })
    expect(await bank.balances(access, 'other', null)).toMatchObject({ balances: [] })
    vi.advanceTimersByTime(3_600 * SECOND_MS)
    expect(await bank.balances(access, 'account', null)).toMatchObject({ balances: [] })
  })
})
