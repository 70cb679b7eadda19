import type { BankInterface } from '../../connectors/index.ts'
import { later, MINUTE_MS, SECOND_MS } from '../../kernel/clock.ts'
import { asGatewayError } from '../../kernel/errors.ts'
import { traceOf } from '../../kernel/log.ts'
import type { World } from '../../kernel/world.ts'
import type { BankOperation, CallCount, OperationHealth } from './model.ts'
import type { BankStore } from './store.ts'

/** How each bank's interface answers. */
export interface BankHealth {
  /** The same interface, with every call counted. */
  observe(connectorId: string, bank: BankInterface): BankInterface
  /** How each kind of call went in the last quarter of an hour, over all processes. */
  of(connectorId: string): Promise<OperationHealth[]>
  /** Writes what this process has counted and not written yet. */
  flush(): Promise<void>
  /** Forgets old minutes; returns how many rows. */
  sweep(): Promise<number>
}

const WINDOW_MS = 15 * MINUTE_MS
const FLUSH_MS = 5 * SECOND_MS
const DEGRADED_SHARE = 0.05
const DOWN_SHARE = 0.5

const OPERATIONS: Readonly<Record<keyof BankInterface, BankOperation>> = {
  requestConsent: 'CONSENT',
  revokeConsent: 'CONSENT',
  completeSignIn: 'SIGN_IN',
  refresh: 'TOKEN',
  accounts: 'ACCOUNTS',
  balances: 'BALANCES',
}

/** Counts calls by connector, kind and minute, in memory first, and adds them up in one table. */
export function createBankHealth(store: BankStore, { clock, log }: Pick<World, 'clock' | 'log'>): BankHealth {
  let counted = new Map<string, CallCount>()
  let flushedMs = 0

  function count(connectorId: string, operation: BankOperation, failed: boolean, durationMs: number): void {
    const nowMs = clock.now().getTime()
    const minuteMs = Math.floor(nowMs / MINUTE_MS) * MINUTE_MS
    const key = `${connectorId}/${operation}/${minuteMs}`
    const before = counted.get(key)
    counted.set(key, {
      connectorId,
      operation,
      minute: new Date(minuteMs),
      calls: (before?.calls ?? 0) + 1,
      failures: (before?.failures ?? 0) + (failed ? 1 : 0),
      totalMs: (before?.totalMs ?? 0) + durationMs,
    })
    if (nowMs - flushedMs < FLUSH_MS) return
    flushedMs = nowMs
    flush().catch((error: unknown) => log.warn('bank-health.unwritten', { trace: traceOf(error) }))
  }

  async function flush(): Promise<void> {
    const batch = [...counted.values()]
    counted = new Map()
    if (batch.length > 0) await store.addCalls(batch)
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
          const { category, retryable } = asGatewayError(error).facts
          count(connectorId, operation, category === 'BANK' && retryable, clock.now().getTime() - began)
          throw error
        }
      }
      return {
        requestConsent: (request) => timed(OPERATIONS.requestConsent, () => bank.requestConsent(request)),
        completeSignIn: (url, resume) => timed(OPERATIONS.completeSignIn, () => bank.completeSignIn(url, resume)),
        refresh: (access) => timed(OPERATIONS.refresh, () => bank.refresh(access)),
        accounts: (access) => timed(OPERATIONS.accounts, () => bank.accounts(access)),
        balances: (access, ref) => timed(OPERATIONS.balances, () => bank.balances(access, ref)),
        revokeConsent: (ref) => timed(OPERATIONS.revokeConsent, () => bank.revokeConsent(ref)),
      }
    },

    async of(connectorId) {
      await flush()
      return (await store.calls(connectorId, later(clock.now(), -WINDOW_MS))).map(healthOf)
    },

    sweep: () => store.sweepCalls(later(clock.now(), -2 * WINDOW_MS)),
  }
}

function healthOf({ operation, calls, failures, totalMs }: Omit<CallCount, 'connectorId' | 'minute'>): OperationHealth {
  const share = failures / Math.max(1, calls)
  return {
    operation,
    calls,
    failures,
    meanMs: Math.round(totalMs / Math.max(1, calls)),
    state: share >= DOWN_SHARE ? 'DOWN' : share >= DEGRADED_SHARE ? 'DEGRADED' : 'HEALTHY',
  }
}
