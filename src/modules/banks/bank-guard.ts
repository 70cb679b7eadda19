import type { BankInterface } from '../../connectors/index.ts'
import { createBoundedCache } from '../../kernel/cache.ts'
import { SECOND_MS } from '../../kernel/clock.ts'
import { toGatewayError, GatewayError } from '../../kernel/errors.ts'
import type { Metrics } from '../../kernel/metrics.ts'
import { BANK_READ_RETRY_WITHIN_MS, RETRIES, retryDelayMs, type RetrySchedule } from '../../kernel/retry.ts'
import { toRetryAfterSeconds } from '../../kernel/retry-after.ts'
import type { World } from '../../kernel/world.ts'
import { createCircuitBreaker, type CircuitBreaker } from './circuit-breaker.ts'
import { startDeadline, type Deadline } from './deadline.ts'
import { isBankFailure, type Connector } from './model.ts'
import { BANK_METHODS, interceptCalls, type BankMethod, type CallSubject } from './operations.ts'
import { createSemaphore, type Semaphore } from './semaphore.ts'

/** A bank whose calls are guarded. */
export interface ProtectedBank extends BankInterface {
  /** The deadline of a read, in milliseconds. */
  readonly deadlineMs: number
}

/** Guards of all banks of this process, one for each connector. */
export interface BankGuards {
  /**
   * The same interface with deadlines, limited concurrency and circuit breakers, so that a slow or unavailable bank affects no
   * other.
   */
  protect(connector: Pick<Connector, 'id' | 'bankId'>, bank: BankInterface, deadlineMs: number): ProtectedBank
}

type GuardWorld = Pick<World, 'clock' | 'timers' | 'randomness'>

/** One call to a bank. */
interface GuardedCall<T> {
  readonly method: BankMethod
  readonly subject: CallSubject
  readonly execute: () => Promise<T>
}

/** The state that all calls to one bank share. */
interface BankGuard {
  getCircuit(method: BankMethod): CircuitBreaker
  /** Reads and changes have separate limits, so that slow sign-ins do not delay balances and vice versa. */
  readonly reads: Semaphore
  readonly changes: Semaphore
  readonly pauses: Pauses
  /** So that neither the fraud desk nor the account API of a bank, if it hangs or rejects calls, delays the other. */
  readonly responses: { readonly semaphore: Semaphore; readonly pauses: Pauses }
}

/** The times until which the bank rejects calls. */
interface Pauses {
  /** Throws `BANK_QUOTA_EXHAUSTED` or `BANK_RATE_LIMITED` with the seconds to wait. */
  assertNotPaused(subject: CallSubject): void
  recordRateLimit(error: GatewayError): void
  recordQuota(error: GatewayError, subject: CallSubject): void
}

type Effect = 'read' | 'change' | 'response'

/** The deadline of a change at a bank, in milliseconds. */
const CHANGE_DEADLINE_MS = 10 * SECOND_MS
/** For the accounts of one bank whose quota is exhausted. */
const QUOTA_CACHE_BYTES = 2_097_152

/** Creates the guards. They exist as long as the process, because the state of a bank must survive a new registration. */
export function createBankGuards(
  world: GuardWorld,
  { bankCallsWaiting }: Pick<Metrics, 'bankCallsWaiting'>,
): BankGuards {
  const guards = new Map<string, BankGuard>()

  function getGuard({ id, bankId: bank }: Pick<Connector, 'id' | 'bankId'>): BankGuard {
    let guard = guards.get(id)
    const createCounted = (effect: Effect): Semaphore => createSemaphore(bankCallsWaiting.labels({ bank, effect }))
    if (!guard) guards.set(id, (guard = createBankGuard(world, createCounted)))
    return guard
  }

  return {
    protect(connector, bank, deadlineMs) {
      const guard = getGuard(connector)
      const guarded = interceptCalls(bank, (method, subject, execute) =>
        BANK_METHODS[method].effect === 'READ'
          ? runRead(guard, { method, subject, execute }, deadlineMs, world)
          : runChange(guard, { method, subject, execute }, world),
      )
      return { deadlineMs, ...guarded }
    },
  }
}

function createBankGuard(world: GuardWorld, createCounted: (effect: Effect) => Semaphore): BankGuard {
  const circuits = new Map<BankMethod, CircuitBreaker>()
  return {
    reads: createCounted('read'),
    changes: createCounted('change'),
    pauses: createPauses(world),
    responses: { semaphore: createCounted('response'), pauses: createPauses(world) },
    getCircuit(method) {
      let circuit = circuits.get(method)
      if (!circuit) circuits.set(method, (circuit = createCircuitBreaker(world)))
      return circuit
    },
  }
}

function createPauses({ clock }: Pick<World, 'clock'>): Pauses {
  let pausedUntilMs = 0
  /** By account. The bank counts unattended calls; the count says nothing about its health. */
  const quotaExhaustedUntilMs = createBoundedCache<number>({ maxBytes: QUOTA_CACHE_BYTES, bytesOf: () => 8 })
  const nowMs = (): number => clock.now().getTime()
  return {
    assertNotPaused({ id, isCustomerPresent }) {
      const quotaWaitMs = isCustomerPresent ? 0 : (quotaExhaustedUntilMs.get(id) ?? 0) - nowMs()
      if (quotaWaitMs > 0)
        throw new GatewayError('BANK_QUOTA_EXHAUSTED', { retryAfterSeconds: toRetryAfterSeconds(quotaWaitMs) })
      const pauseMs = pausedUntilMs - nowMs()
      if (pauseMs > 0) throw new GatewayError('BANK_RATE_LIMITED', { retryAfterSeconds: toRetryAfterSeconds(pauseMs) })
    },
    recordRateLimit(error) {
      pausedUntilMs = nowMs() + pauseMsOf(error, RETRIES.bankRateLimit)
    },
    recordQuota(error, { id, isCustomerPresent }) {
      if (!isCustomerPresent) quotaExhaustedUntilMs.set(id, nowMs() + pauseMsOf(error, RETRIES.bankQuota))
    },
  }
}

/** How long the bank rejects calls, in milliseconds: as the bank states it, or by the schedule. */
const pauseMsOf = ({ retryAfterSeconds }: GatewayError, { delaysMs }: RetrySchedule): number =>
  retryAfterSeconds === undefined ? delaysMs[0] : retryAfterSeconds * SECOND_MS

/** A read has one deadline for waiting and the call together, because its result is useless later. */
function runRead<T>(guard: BankGuard, call: GuardedCall<T>, deadlineMs: number, world: GuardWorld): Promise<T> {
  return recordOutcome(guard, guard.reads, call, async () => {
    const deadline = startDeadline(deadlineMs, world.timers)
    try {
      return await inSlot(guard.reads, deadline, () => deadline.race(executeWithRetry(call, deadline, world)))
    } finally {
      deadline.stop()
    }
  })
}

async function executeWithRetry<T>(
  { execute }: GuardedCall<T>,
  deadline: Deadline,
  { timers, randomness }: GuardWorld,
): Promise<T> {
  try {
    return await execute()
  } catch (error) {
    if (toGatewayError(error).code !== 'BANK_UNAVAILABLE' || deadline.elapsedMs() > BANK_READ_RETRY_WITHIN_MS)
      throw error
    await timers.sleep(retryDelayMs(RETRIES.bankRead, 1, randomness))
    return execute()
  }
}

/** The deadline of a change starts with the call, without the wait before it: an interrupted change would lose its result. */
function runChange<T>(guard: BankGuard, call: GuardedCall<T>, { timers }: GuardWorld): Promise<T> {
  const isResponse = BANK_METHODS[call.method].effect === 'RESPONSE'
  const { semaphore, pauses } = isResponse ? guard.responses : { semaphore: guard.changes, pauses: guard.pauses }
  return recordOutcome({ ...guard, pauses }, semaphore, call, async () => {
    const waiting = startDeadline(CHANGE_DEADLINE_MS, timers)
    try {
      return await inSlot(semaphore, waiting, async () => {
        waiting.stop()
        const deadline = startDeadline(CHANGE_DEADLINE_MS, timers)
        try {
          return await deadline.race(call.execute())
        } finally {
          deadline.stop()
        }
      })
    } finally {
      waiting.stop()
    }
  })
}

async function inSlot<T>(semaphore: Semaphore, deadline: Deadline, call: () => Promise<T>): Promise<T> {
  await semaphore.acquire(deadline)
  try {
    return await call()
  } finally {
    semaphore.release()
  }
}

/** Rejects a call that would be useless, and records the outcome of any other. */
async function recordOutcome<T>(
  { pauses, getCircuit }: BankGuard,
  semaphore: Semaphore,
  { method, subject }: GuardedCall<T>,
  run: () => Promise<T>,
): Promise<T> {
  const circuit = getCircuit(method)
  pauses.assertNotPaused(subject)
  circuit.assertClosed()
  try {
    const result = await run()
    recordResponse(semaphore, circuit)
    return result
  } catch (thrown) {
    const error = toGatewayError(thrown)
    if (error.code === 'BANK_QUOTA_EXHAUSTED') pauses.recordQuota(error, subject)
    if (error.code === 'BANK_TIMEOUT') semaphore.decreaseLimit()
    if (error.code === 'BANK_RATE_LIMITED') {
      pauses.recordRateLimit(error)
      circuit.recordNeutral()
    } else if (isBankFailure(error)) circuit.recordFailure(error, subject.id)
    // Any other error is a response, so the bank is available.
    else recordResponse(semaphore, circuit)
    throw thrown
  }
}

function recordResponse(semaphore: Semaphore, circuit: CircuitBreaker): void {
  semaphore.increaseLimit()
  circuit.recordSuccess()
}
