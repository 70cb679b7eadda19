import type { BankInterface, ResponseIssue } from '../../connectors/index.ts'
import { subtractMs, DAY_MS, MINUTE_MS, SECOND_MS } from '../../kernel/clock.ts'
import { toGatewayError } from '../../kernel/errors.ts'
import type { FailureCause } from '../../kernel/failure-causes.ts'
import { errorTrace } from '../../kernel/log.ts'
import { createBatchedCounters } from '../../kernel/batched-counters.ts'
import type { Metrics } from '../../kernel/metrics.ts'
import { expiredBefore } from '../../kernel/retention.ts'
import type { World } from '../../kernel/world.ts'
import {
  isBankFailure,
  type CallCount,
  type Connector,
  type FailureCount,
  type OperationHealth,
  type ResponseIssueCount,
} from './model.ts'
import { BANK_METHODS, interceptCalls, type BankOperation } from './operations.ts'
import type { HealthStore } from './health-store.ts'

/** The health of each bank's interface. */
export interface BankHealth {
  /** The same interface, with every call counted. */
  observe(connector: Pick<Connector, 'id' | 'bankId'>, bank: BankInterface): BankInterface
  /** Counts an issue in a bank's response. */
  recordResponseIssue(connectorId: string, code: ResponseIssue): void
  /** The issues in the bank's responses of today and yesterday, most frequent first. */
  responseIssues(connectorId: string): Promise<ResponseIssueCount[]>
  /** The health of each operation in the last 15 minutes, for all processes together. */
  operationHealth(connectorId: string): Promise<OperationHealth[]>
  /** Those of the connectors whose operations CONSENT or SIGN_IN are DOWN, so that customers cannot connect. */
  findDown(connectorIds: readonly string[]): Promise<ReadonlySet<string>>
  /** Writes the counts that this process has not written yet. */
  flush(): Promise<void>
  /** Deletes old counts. Returns the number of rows. */
  sweep(table: 'bank_call_count' | 'bank_failure_count' | 'response_issue'): Promise<number>
}

const WINDOW_MS = 15 * MINUTE_MS
const FLUSH_INTERVAL_MS = 5 * SECOND_MS
const DEGRADED_FAILURE_RATE = 0.05
const DOWN_FAILURE_RATE = 0.5
/** The operations that connecting a bank requires. */
const CONNECT_OPERATIONS: readonly BankOperation[] = ['CONSENT', 'SIGN_IN']
/** The minimum number of failures for an unavailable bank, so that one failed call at a rarely used bank does not make it unavailable. */
const MIN_FAILURES_WHEN_DOWN = 5

/** Counts calls by connector, operation and minute in memory, and adds the counts to the database in batches. */
export function createBankHealth(
  store: HealthStore,
  { clock, timers, log }: Pick<World, 'clock' | 'timers' | 'log'>,
  { bankCallDuration }: Pick<Metrics, 'bankCallDuration'>,
): BankHealth {
  const calls = createBatchedCounters<'callCount' | 'failureCount' | 'totalDurationMs', CallCount>(
    ['callCount', 'failureCount', 'totalDurationMs'],
    ({ connectorId, operation, minute }) => `${connectorId}/${operation}/${minute.getTime()}`,
    (counts) => store.addCalls(counts),
  )
  const failures = createBatchedCounters<'count', FailureCount>(
    ['count'],
    ({ connectorId, operation, cause, minute }) => `${connectorId}/${operation}/${cause}/${minute.getTime()}`,
    (counts) => store.addFailures(counts),
  )
  const responseIssues = createBatchedCounters<'count', ResponseIssueCount & { readonly connectorId: string }>(
    ['count'],
    ({ connectorId, code }) => `${connectorId}/${code}`,
    (counts) => store.addResponseIssues(counts, clock.now()),
  )
  const loggedInMinute = new Map<string, number>()
  let lastFlushMs = 0

  /** Writes the counts, unless this process did so a few seconds ago. */
  async function flushIfDue(): Promise<void> {
    const nowMs = clock.now().getTime()
    if (nowMs - lastFlushMs < FLUSH_INTERVAL_MS) return
    lastFlushMs = nowMs
    await flush().catch((error: unknown) => log.warn('bank_health.write_failed', { trace: errorTrace(error) }))
  }

  function countCall(connectorId: string, operation: BankOperation, isFailure: boolean, durationMs: number): void {
    const minute = new Date(Math.floor(clock.now().getTime() / MINUTE_MS) * MINUTE_MS)
    const failureCount = isFailure ? 1 : 0
    calls.add({ connectorId, operation, minute, callCount: 1, failureCount, totalDurationMs: durationMs })
    void flushIfDue()
  }

  /** Logs one failure per minute, operation and cause, so that an unavailable bank does not flood the log. */
  function countFailure(connectorId: string, operation: BankOperation, cause: FailureCause): void {
    const minuteMs = Math.floor(clock.now().getTime() / MINUTE_MS) * MINUTE_MS
    const key = `${connectorId}/${operation}/${cause}`
    if (loggedInMinute.get(key) !== minuteMs) {
      loggedInMinute.set(key, minuteMs)
      log.warn('bank.unreachable', { connectorId, operation, failureCause: cause })
    }
    failures.add({ connectorId, operation, cause, minute: new Date(minuteMs), count: 1 })
  }

  async function countedCall<T>(
    { id: connectorId, bankId: bank }: Pick<Connector, 'id' | 'bankId'>,
    operation: BankOperation,
    execute: () => Promise<T>,
  ): Promise<T> {
    const startedAtMs = timers.monotonicMs()
    const count = (outcome: string, isFailure: boolean): void => {
      const durationMs = timers.monotonicMs() - startedAtMs
      bankCallDuration.observe({ bank, operation, outcome }, durationMs / SECOND_MS)
      countCall(connectorId, operation, isFailure, Math.round(durationMs))
    }
    try {
      const result = await execute()
      count('success', false)
      return result
    } catch (error) {
      const gatewayError = toGatewayError(error)
      count(gatewayError.code, isBankFailure(gatewayError))
      if (gatewayError.failureCause) countFailure(connectorId, operation, gatewayError.failureCause)
      throw error
    }
  }

  async function flush(): Promise<void> {
    for (const counters of [calls, failures, responseIssues]) await counters.flush()
  }

  return {
    flush,

    observe: (connector, bank) =>
      interceptCalls(bank, (method, _subject, execute) => {
        const { operation } = BANK_METHODS[method]
        return operation === null ? execute() : countedCall(connector, operation, execute)
      }),

    recordResponseIssue(connectorId, code) {
      responseIssues.add({ connectorId, code, count: 1 })
    },

    async responseIssues(connectorId) {
      await flush()
      return store.responseIssues(connectorId, subtractMs(clock.now(), DAY_MS))
    },

    async operationHealth(connectorId) {
      await flush()
      const since = subtractMs(clock.now(), WINDOW_MS)
      const causes = await store.failures(connectorId, since)
      return (await store.calls([connectorId], since)).map((counts) => ({
        ...summarizeCalls(counts),
        failureCauses: causes
          .filter(({ operation }) => operation === counts.operation)
          .map(({ cause, count }) => ({ cause, count })),
      }))
    },

    async findDown(connectorIds) {
      await flushIfDue()
      const isDown = (counts: Omit<CallCount, 'minute'>): boolean =>
        CONNECT_OPERATIONS.includes(counts.operation) &&
        counts.failureCount >= MIN_FAILURES_WHEN_DOWN &&
        summarizeCalls(counts).status === 'DOWN'
      const counts = await store.calls(connectorIds, subtractMs(clock.now(), WINDOW_MS))
      return new Set(counts.filter(isDown).map(({ connectorId }) => connectorId))
    },

    sweep(table) {
      const before = expiredBefore(table, clock.now())
      if (table === 'bank_call_count') return store.sweepCalls(before)
      return table === 'bank_failure_count' ? store.sweepFailures(before) : store.sweepResponseIssues(before)
    },
  }
}

function summarizeCalls({
  operation,
  callCount,
  failureCount,
  totalDurationMs,
}: Omit<CallCount, 'connectorId' | 'minute'>): Omit<OperationHealth, 'failureCauses'> {
  const failureRate = failureCount / Math.max(1, callCount)
  return {
    operation,
    callCount,
    failureCount,
    meanDurationMs: Math.round(totalDurationMs / Math.max(1, callCount)),
    status: failureRate >= DOWN_FAILURE_RATE ? 'DOWN' : failureRate >= DEGRADED_FAILURE_RATE ? 'DEGRADED' : 'HEALTHY',
  }
}
