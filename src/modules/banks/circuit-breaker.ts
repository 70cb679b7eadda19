import type { BankInterface } from '../../connectors/index.ts'
import { createBoundedCache, type BoundedCache } from '../../kernel/cache.ts'
import { SECOND_MS } from '../../kernel/clock.ts'
import { toGatewayError, GatewayError } from '../../kernel/errors.ts'
import type { World } from '../../kernel/world.ts'
import {
  BANK_READ_RETRY_WITHIN_MS,
  RETRIES,
  retryDelayMs,
  toRetryAfterSeconds,
  type RetrySchedule,
} from '../../kernel/retry.ts'
import { startDeadline, type Deadline } from './deadline.ts'
import { isBankFailure } from './model.ts'
import { BANK_METHODS, interceptCalls, type BankMethod, type CallSubject } from './operations.ts'

/** A bank behind its breakers. */
export interface ProtectedBank extends BankInterface {
  /** How long a read takes at most, in milliseconds. */
  readonly deadlineMs: number
}

/** Keeps one bank's bad day from being anybody else's. */
export interface BankGuards {
  /** The same interface, with deadlines, a bounded number of calls at once, and no calls at all while they are of no use. */
  protect(connectorId: string, bank: BankInterface, deadlineMs: number): ProtectedBank
}

/**
 * So many failures of one kind of call in a row open its breaker: when nobody answers at all; or, where the bank answers
 * with an error, when it does so about several accounts, for one account's trouble is not the bank's.
 */
const FAILURE_THRESHOLD = 5
const DISTINCT_SUBJECT_THRESHOLD = 3
/** Calls at once, per bank, process and kind: grows by one for each full round that went well, halves with each timeout. */
const CONCURRENCY_LIMIT = { initial: 24, min: 2, max: 64 }
const MAX_QUEUED_CALLS = 500
/** Of each bank's accounts that are spent for the day. */
const QUOTA_CACHE_BYTES = 2_097_152

const CHANGE_DEADLINE_MS = 10 * SECOND_MS

interface Circuit {
  failures: number
  /** Failures in which nobody answered. */
  timeouts: number
  /** What the failures were about. */
  readonly failedSubjectIds: Set<string>
  isOpen: boolean
  openUntilMs: number
  /** How often it opened in a row. */
  openCount: number
  isProbing: boolean
}

interface Semaphore {
  readonly queue: (() => void)[]
  limit: number
  active: number
}

interface BankGuard {
  readonly circuits: Map<BankMethod, Circuit>
  /** Reads and changes have a limit each, so that slow sign-ins do not hold up balances, nor the other way round. */
  readonly reads: Semaphore
  readonly changes: Semaphore
  /** The bank said that it wants no calls before this. */
  pausedUntilMs: number
  /** What the bank answers no more until then while the customer is away: its own count, not its health. */
  readonly quotaExhaustedUntilMs: BoundedCache<number>
}

/** One guard for each connector, so that a bank that is slow or down does not affect the others. */
export function createBankGuards({
  clock,
  timers,
  randomness,
}: Pick<World, 'clock' | 'timers' | 'randomness'>): BankGuards {
  const guards = new Map<string, BankGuard>()
  const nowMs = (): number => clock.now().getTime()

  function getGuard(connectorId: string): BankGuard {
    let guard = guards.get(connectorId)
    if (!guard) {
      guard = {
        circuits: new Map(),
        reads: { queue: [], limit: CONCURRENCY_LIMIT.initial, active: 0 },
        changes: { queue: [], limit: CONCURRENCY_LIMIT.initial, active: 0 },
        pausedUntilMs: 0,
        quotaExhaustedUntilMs: createBoundedCache({ maxBytes: QUOTA_CACHE_BYTES, bytesOf: () => 8 }),
      }
      guards.set(connectorId, guard)
    }
    return guard
  }

  function getCircuit(guard: BankGuard, method: BankMethod): Circuit {
    let circuit = guard.circuits.get(method)
    if (!circuit) {
      circuit = {
        failures: 0,
        timeouts: 0,
        failedSubjectIds: new Set(),
        isOpen: false,
        openUntilMs: 0,
        openCount: 0,
        isProbing: false,
      }
      guard.circuits.set(method, circuit)
    }
    return circuit
  }

  /** Throws where a call is of no use now. */
  function assertCallAllowed(guard: BankGuard, circuit: Circuit, { id, isCustomerPresent }: CallSubject): void {
    const currentMs = nowMs()
    const quotaResetInMs = isCustomerPresent ? 0 : (guard.quotaExhaustedUntilMs.get(id) ?? 0) - currentMs
    if (quotaResetInMs > 0)
      throw new GatewayError('BANK_QUOTA_EXHAUSTED', { retryAfterSeconds: toRetryAfterSeconds(quotaResetInMs) })
    if (guard.pausedUntilMs > currentMs)
      throw new GatewayError('BANK_RATE_LIMITED', {
        retryAfterSeconds: toRetryAfterSeconds(guard.pausedUntilMs - currentMs),
      })
    if (!circuit.isOpen) return
    // Once its time is over, one call finds out for all.
    if (circuit.openUntilMs > currentMs || circuit.isProbing)
      throw new GatewayError('BANK_UNAVAILABLE', {
        internalMessage: 'breaker open',
        retryAfterSeconds: toRetryAfterSeconds(circuit.openUntilMs - currentMs),
      })
    circuit.isProbing = true
  }

  function recordSuccess(semaphore: Semaphore, circuit: Circuit): void {
    semaphore.limit = Math.min(CONCURRENCY_LIMIT.max, semaphore.limit + 1 / semaphore.limit)
    circuit.failedSubjectIds.clear()
    Object.assign(circuit, {
      failures: 0,
      timeouts: 0,
      isOpen: false,
      openUntilMs: 0,
      openCount: 0,
      isProbing: false,
    })
  }

  function recordFailure(
    guard: BankGuard,
    semaphore: Semaphore,
    circuit: Circuit,
    { id, isCustomerPresent }: CallSubject,
    thrown: unknown,
  ): void {
    const error = toGatewayError(thrown)
    circuit.isProbing = false
    if (error.code === 'BANK_RATE_LIMITED') {
      guard.pausedUntilMs = nowMs() + waitMs(error, RETRIES.bankRateLimit)
      return
    }
    if (error.code === 'BANK_QUOTA_EXHAUSTED' && !isCustomerPresent) {
      guard.quotaExhaustedUntilMs.set(id, nowMs() + waitMs(error, RETRIES.bankQuota))
    }
    // What the bank answers, be it a no, shows that it is there.
    if (!isBankFailure(error)) return void recordSuccess(semaphore, circuit)
    if (error.code === 'BANK_TIMEOUT') semaphore.limit = Math.max(CONCURRENCY_LIMIT.min, semaphore.limit / 2)
    circuit.failures++
    if (isUnanswered(error)) circuit.timeouts++
    if (circuit.failedSubjectIds.size < DISTINCT_SUBJECT_THRESHOLD) circuit.failedSubjectIds.add(id)
    const isBankWide =
      circuit.timeouts >= FAILURE_THRESHOLD || circuit.failedSubjectIds.size >= DISTINCT_SUBJECT_THRESHOLD
    if (!circuit.isOpen && (circuit.failures < FAILURE_THRESHOLD || !isBankWide)) return
    circuit.isOpen = true
    circuit.openUntilMs = nowMs() + retryDelayMs(RETRIES.circuitBreaker, ++circuit.openCount, randomness)
  }

  /** Waits for room, for no longer than the deadline. */
  async function acquire(semaphore: Semaphore, deadline: Deadline): Promise<void> {
    if (semaphore.active >= Math.floor(semaphore.limit)) {
      if (semaphore.queue.length >= MAX_QUEUED_CALLS)
        throw new GatewayError('BANK_UNAVAILABLE', { internalMessage: 'too many queued calls for this bank' })
      let wake: () => void = () => undefined
      const acquired = new Promise<void>((resolve) => semaphore.queue.push((wake = resolve)))
      try {
        await deadline.race(acquired)
      } catch (error) {
        const index = semaphore.queue.indexOf(wake)
        if (index >= 0) semaphore.queue.splice(index, 1)
        // The turn came in the same moment: it is the next one's.
        else semaphore.queue.shift()?.()
        throw error
      }
    }
    semaphore.active++
  }

  function release(semaphore: Semaphore): void {
    semaphore.active--
    if (semaphore.active < Math.floor(semaphore.limit)) semaphore.queue.shift()?.()
  }

  async function runGuarded<T>(
    guard: BankGuard,
    method: BankMethod,
    deadlineMs: number,
    subject: CallSubject,
    execute: () => Promise<T>,
  ): Promise<T> {
    const isRead = BANK_METHODS[method].effect === 'READ'
    const semaphore = isRead ? guard.reads : guard.changes
    const circuit = getCircuit(guard, method)
    assertCallAllowed(guard, circuit, subject)
    let deadline = startDeadline(deadlineMs, timers)
    try {
      await acquire(semaphore, deadline)
      try {
        if (!isRead) {
          // What changes something has all its time once it begins: cut off, its answer would be lost.
          deadline.stop()
          deadline = startDeadline(deadlineMs, timers)
        }
        const result = await deadline.race(isRead ? withRetry(execute, deadline) : execute())
        recordSuccess(semaphore, circuit)
        return result
      } finally {
        release(semaphore)
      }
    } catch (error) {
      recordFailure(guard, semaphore, circuit, subject, error)
      throw error
    } finally {
      deadline.stop()
    }
  }

  async function withRetry<T>(execute: () => Promise<T>, deadline: Deadline): Promise<T> {
    try {
      return await execute()
    } catch (error) {
      if (toGatewayError(error).code !== 'BANK_UNAVAILABLE' || deadline.elapsedMs() > BANK_READ_RETRY_WITHIN_MS)
        throw error
      await timers.sleep(retryDelayMs(RETRIES.bankRead, 1, randomness))
      return execute()
    }
  }

  return {
    protect(connectorId, bank, deadlineMs) {
      const guard = getGuard(connectorId)
      const guarded = interceptCalls(bank, (method, subject, execute) => {
        const isRead = BANK_METHODS[method].effect === 'READ'
        return runGuarded(guard, method, isRead ? deadlineMs : CHANGE_DEADLINE_MS, subject, execute)
      })
      return { deadlineMs, ...guarded }
    },
  }
}

/** How long the bank wants no more calls, in milliseconds; by our schedule if it does not say. */
const waitMs = ({ retryAfterSeconds }: GatewayError, { delaysMs }: RetrySchedule): number =>
  retryAfterSeconds === undefined ? delaysMs[0] : retryAfterSeconds * SECOND_MS

/** Whether the bank sent no response at all. */
const isUnanswered = ({ code, failureCause }: GatewayError): boolean =>
  code === 'BANK_TIMEOUT' || (code === 'BANK_UNAVAILABLE' && failureCause !== undefined)
