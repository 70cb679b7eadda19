import type { BankInterface, Problem } from '../../connectors/index.ts'
import { DAY_MS, later, MINUTE_MS, SECOND_MS } from '../../kernel/clock.ts'
import { asGatewayError } from '../../kernel/errors.ts'
import type { FailureCause } from '../../kernel/failure-causes.ts'
import { traceOf } from '../../kernel/log.ts'
import { createSums } from '../../kernel/sums.ts'
import type { World } from '../../kernel/world.ts'
import {
  isTroubleOfTheBank,
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
  report(connectorId: string, problem: Problem): void
  /** What could not be used in the bank's answers today and yesterday, the most frequent first. */
  problemsOf(connectorId: string): Promise<ProblemCount[]>
  /** How each kind of call went in the last quarter of an hour, over all processes. */
  of(connectorId: string): Promise<OperationHealth[]>
  /** Writes what this process has counted and not written yet. */
  flush(): Promise<void>
  /** Forgets old minutes; returns how many rows. */
  sweep(): Promise<number>
}

const WINDOW_MS = 15 * MINUTE_MS
/** Problems are kept for a month. */
const KEPT_DAYS = 30
const FLUSH_MS = 5 * SECOND_MS
const DEGRADED_SHARE = 0.05
const DOWN_SHARE = 0.5

const OPERATIONS: Readonly<Record<Exclude<keyof BankInterface, 'collectEvents'>, BankOperation>> = {
  requestConsent: 'CONSENT',
  revokeConsent: 'CONSENT',
  hasEnded: 'CONSENT',
  completeSignIn: 'SIGN_IN',
  refresh: 'TOKEN',
  accounts: 'ACCOUNTS',
  balances: 'BALANCES',
  bulkBalances: 'BALANCES',
}

/** Counts calls by connector, kind and minute, in memory first, and adds them up in one table. */
export function createBankHealth(store: HealthStore, { clock, log }: Pick<World, 'clock' | 'log'>): BankHealth {
  const calls = createSums<'calls' | 'failures' | 'totalMs', CallCount>(
    ['calls', 'failures', 'totalMs'],
    ({ connectorId, operation, minute }) => `${connectorId}/${operation}/${minute.getTime()}`,
    (counts) => store.addCalls(counts),
  )
  const failures = createSums<'count', FailureCount>(
    ['count'],
    ({ connectorId, operation, cause, minute }) => `${connectorId}/${operation}/${cause}/${minute.getTime()}`,
    (counts) => store.addFailures(counts),
  )
  const problems = createSums<'count', ProblemCount & { readonly connectorId: string }>(
    ['count'],
    ({ connectorId, problem }) => `${connectorId}/${problem}`,
    (counts) => store.addProblems(counts, clock.now()),
  )
  const loggedInMinute = new Map<string, number>()
  let flushedMs = 0

  function count(connectorId: string, operation: BankOperation, failed: boolean, durationMs: number): void {
    const nowMs = clock.now().getTime()
    const minute = new Date(Math.floor(nowMs / MINUTE_MS) * MINUTE_MS)
    calls.add({ connectorId, operation, minute, calls: 1, failures: failed ? 1 : 0, totalMs: durationMs })
    if (nowMs - flushedMs < FLUSH_MS) return
    flushedMs = nowMs
    flush().catch((error: unknown) => log.warn('bank-health.unwritten', { trace: traceOf(error) }))
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
        const began = clock.now().getTime()
        try {
          const answer = await call()
          count(connectorId, operation, false, clock.now().getTime() - began)
          return answer
        } catch (error) {
          // A bank that says no to this customer is well; one that cannot answer is not.
          const known = asGatewayError(error)
          count(connectorId, operation, isTroubleOfTheBank(known), clock.now().getTime() - began)
          if (known.failureCause) countFailure(connectorId, operation, known.failureCause)
          throw error
        }
      }
      const { bulkBalances, hasEnded } = bank
      return {
        requestConsent: (request) => timed(OPERATIONS.requestConsent, () => bank.requestConsent(request)),
        completeSignIn: (url, resume) => timed(OPERATIONS.completeSignIn, () => bank.completeSignIn(url, resume)),
        refresh: (access) => timed(OPERATIONS.refresh, () => bank.refresh(access)),
        accounts: (access, customer) => timed(OPERATIONS.accounts, () => bank.accounts(access, customer)),
        balances: (access, ref, customer) => timed(OPERATIONS.balances, () => bank.balances(access, ref, customer)),
        bulkBalances:
          bulkBalances &&
          ((access, refs, customer) => timed(OPERATIONS.bulkBalances, () => bulkBalances(access, refs, customer))),
        hasEnded: hasEnded && ((ref) => timed(OPERATIONS.hasEnded, () => hasEnded(ref))),
        // Not what any customer asks for.
        collectEvents: bank.collectEvents,
        revokeConsent: (ref) => timed(OPERATIONS.revokeConsent, () => bank.revokeConsent(ref)),
      }
    },

    report(connectorId, problem) {
      problems.add({ connectorId, problem, count: 1 })
    },

    async problemsOf(connectorId) {
      await flush()
      return store.problems(connectorId, later(clock.now(), -DAY_MS))
    },

    async of(connectorId) {
      await flush()
      const since = later(clock.now(), -WINDOW_MS)
      const causes = await store.failures(connectorId, since)
      return (await store.calls(connectorId, since)).map((counted) => ({
        ...healthOf(counted),
        failureCauses: causes
          .filter(({ operation }) => operation === counted.operation)
          .map(({ cause, count }) => ({ cause, count })),
      }))
    },

    async sweep() {
      const minutes = later(clock.now(), -2 * WINDOW_MS)
      return (
        (await store.sweepCalls(minutes)) +
        (await store.sweepFailures(minutes)) +
        (await store.sweepProblems(later(clock.now(), -KEPT_DAYS * DAY_MS)))
      )
    },
  }
}

function healthOf({
  operation,
  calls,
  failures,
  totalMs,
}: Omit<CallCount, 'connectorId' | 'minute'>): Omit<OperationHealth, 'failureCauses'> {
  const share = failures / Math.max(1, calls)
  return {
    operation,
    calls,
    failures,
    meanMs: Math.round(totalMs / Math.max(1, calls)),
    status: share >= DOWN_SHARE ? 'DOWN' : share >= DEGRADED_SHARE ? 'DEGRADED' : 'HEALTHY',
  }
}
