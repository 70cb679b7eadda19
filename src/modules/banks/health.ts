import type { BankInterface, Problem } from '../../connectors/index.ts'
import { DAY_MS, addMs, MINUTE_MS, SECOND_MS } from '../../kernel/clock.ts'
import { toGatewayError } from '../../kernel/errors.ts'
import type { FailureCause } from '../../kernel/failure-causes.ts'
import { errorTrace } from '../../kernel/log.ts'
import { createBatchedCounters } from '../../kernel/batched-counters.ts'
import type { World } from '../../kernel/world.ts'
import {
  isBankFailure,
  type BankOperation,
  type CallCount,
  type FailureCount,
  type OperationHealth,
  type ProblemCount,
} from './model.ts'
import type { HealthStore } from './health-store.ts'

/** How each bank's interface answers. */
export interface BankHealth {
  /** The same interface, with every call counted. */
  observe(connectorId: string, bank: BankInterface): BankInterface
  /** Counts what could not be used in a bank's answer. */
  recordProblem(connectorId: string, problem: Problem): void
  /** What could not be used in the bank's answers today and yesterday, the most frequent first. */
  problemsOf(connectorId: string): Promise<ProblemCount[]>
  /** How each kind of call went in the last quarter of an hour, over all processes. */
  operationHealth(connectorId: string): Promise<OperationHealth[]>
  /** Writes what this process has counted and not written yet. */
  flush(): Promise<void>
  /** Forgets old minutes; returns how many rows. */
  sweep(): Promise<number>
}

const WINDOW_MS = 15 * MINUTE_MS
/** Problems are kept for a month. */
const RETENTION_DAYS = 30
const FLUSH_INTERVAL_MS = 5 * SECOND_MS
const DEGRADED_FAILURE_RATE = 0.05
const DOWN_FAILURE_RATE = 0.5

const OPERATIONS: Readonly<Record<Exclude<keyof BankInterface, 'pollEvents'>, BankOperation>> = {
  requestConsent: 'CONSENT',
  revokeConsent: 'CONSENT',
  isConsentEnded: 'CONSENT',
  completeSignIn: 'SIGN_IN',
  refresh: 'TOKEN',
  accounts: 'ACCOUNTS',
  balances: 'BALANCES',
  bulkBalances: 'BALANCES',
}

/** Counts calls by connector, kind and minute, in memory first, and adds them up in one table. */
export function createBankHealth(store: HealthStore, { clock, log }: Pick<World, 'clock' | 'log'>): BankHealth {
  const calls = createBatchedCounters<'calls' | 'failures' | 'totalMs', CallCount>(
    ['calls', 'failures', 'totalMs'],
    ({ connectorId, operation, minute }) => `${connectorId}/${operation}/${minute.getTime()}`,
    (counts) => store.addCalls(counts),
  )
  const failures = createBatchedCounters<'count', FailureCount>(
    ['count'],
    ({ connectorId, operation, cause, minute }) => `${connectorId}/${operation}/${cause}/${minute.getTime()}`,
    (counts) => store.addFailures(counts),
  )
  const problems = createBatchedCounters<'count', ProblemCount & { readonly connectorId: string }>(
    ['count'],
    ({ connectorId, problem }) => `${connectorId}/${problem}`,
    (counts) => store.addProblems(counts, clock.now()),
  )
  const loggedInMinute = new Map<string, number>()
  let lastFlushMs = 0

  function countCall(connectorId: string, operation: BankOperation, isFailure: boolean, durationMs: number): void {
    const nowMs = clock.now().getTime()
    const minute = new Date(Math.floor(nowMs / MINUTE_MS) * MINUTE_MS)
    calls.add({ connectorId, operation, minute, calls: 1, failures: isFailure ? 1 : 0, totalMs: durationMs })
    if (nowMs - lastFlushMs < FLUSH_INTERVAL_MS) return
    lastFlushMs = nowMs
    flush().catch((error: unknown) => log.warn('bank_health.write_failed', { trace: errorTrace(error) }))
  }

  /** The first of a minute is logged: a bank that is away must not fill the log. */
  function countFailure(connectorId: string, operation: BankOperation, cause: FailureCause): void {
    const minuteMs = Math.floor(clock.now().getTime() / MINUTE_MS) * MINUTE_MS
    const key = `${connectorId}/${operation}/${cause}`
    if (loggedInMinute.get(key) !== minuteMs) {
      loggedInMinute.set(key, minuteMs)
      log.warn('bank.unreachable', { connectorId, operation, failureCause: cause })
    }
    failures.add({ connectorId, operation, cause, minute: new Date(minuteMs), count: 1 })
  }

  async function flush(): Promise<void> {
    for (const sums of [calls, failures, problems]) await sums.flush()
  }

  return {
    flush,

    observe(connectorId, bank) {
      const timed = async <T>(operation: BankOperation, call: () => Promise<T>): Promise<T> => {
        const startedMs = clock.now().getTime()
        try {
          const result = await call()
          countCall(connectorId, operation, false, clock.now().getTime() - startedMs)
          return result
        } catch (error) {
          // A bank that says no to this customer is well; one that cannot answer is not.
          const gatewayError = toGatewayError(error)
          countCall(connectorId, operation, isBankFailure(gatewayError), clock.now().getTime() - startedMs)
          if (gatewayError.failureCause) countFailure(connectorId, operation, gatewayError.failureCause)
          throw error
        }
      }
      const { bulkBalances, isConsentEnded } = bank
      return {
        requestConsent: (request) => timed(OPERATIONS.requestConsent, () => bank.requestConsent(request)),
        completeSignIn: (url, resume) => timed(OPERATIONS.completeSignIn, () => bank.completeSignIn(url, resume)),
        refresh: (access) => timed(OPERATIONS.refresh, () => bank.refresh(access)),
        accounts: (access, customer) => timed(OPERATIONS.accounts, () => bank.accounts(access, customer)),
        balances: (access, ref, customer) => timed(OPERATIONS.balances, () => bank.balances(access, ref, customer)),
        bulkBalances:
          bulkBalances &&
          ((access, refs, customer) => timed(OPERATIONS.bulkBalances, () => bulkBalances(access, refs, customer))),
        isConsentEnded: isConsentEnded && ((ref) => timed(OPERATIONS.isConsentEnded, () => isConsentEnded(ref))),
        // Not what any customer asks for.
        pollEvents: bank.pollEvents,
        revokeConsent: (ref) => timed(OPERATIONS.revokeConsent, () => bank.revokeConsent(ref)),
      }
    },

    recordProblem(connectorId, problem) {
      problems.add({ connectorId, problem, count: 1 })
    },

    async problemsOf(connectorId) {
      await flush()
      return store.problems(connectorId, addMs(clock.now(), -DAY_MS))
    },

    async operationHealth(connectorId) {
      await flush()
      const since = addMs(clock.now(), -WINDOW_MS)
      const causes = await store.failures(connectorId, since)
      return (await store.calls(connectorId, since)).map((callCount) => ({
        ...summarizeCalls(callCount),
        failureCauses: causes
          .filter(({ operation }) => operation === callCount.operation)
          .map(({ cause, count }) => ({ cause, count })),
      }))
    },

    async sweep() {
      const before = addMs(clock.now(), -2 * WINDOW_MS)
      return (
        (await store.sweepCalls(before)) +
        (await store.sweepFailures(before)) +
        (await store.sweepProblems(addMs(clock.now(), -RETENTION_DAYS * DAY_MS)))
      )
    },
  }
}

function summarizeCalls({
  operation,
  calls,
  failures,
  totalMs,
}: Omit<CallCount, 'connectorId' | 'minute'>): Omit<OperationHealth, 'failureCauses'> {
  const failureRate = failures / Math.max(1, calls)
  return {
    operation,
    calls,
    failures,
    meanMs: Math.round(totalMs / Math.max(1, calls)),
    status: failureRate >= DOWN_FAILURE_RATE ? 'DOWN' : failureRate >= DEGRADED_FAILURE_RATE ? 'DEGRADED' : 'HEALTHY',
  }
}
