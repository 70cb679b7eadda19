import { subtractMs, DAY_MS, HOUR_MS, SECOND_MS } from '../../kernel/clock.ts'
import { faultAt, invalidInputError } from '../../kernel/input-faults.ts'
import { errorTrace } from '../../kernel/log.ts'
import { createBatchedCounters } from '../../kernel/batched-counters.ts'
import { expiredBefore, RETENTION } from '../../kernel/retention.ts'
import { timeRangeFaults, type TimeRange } from '../../kernel/time-range.ts'
import type { World } from '../../kernel/world.ts'
import type { UsageCount, UsageInterval } from './model.ts'
import type { UsageStore } from './store.ts'

/** Usage of a client in one hour or day. */
export interface UsageBucket {
  readonly startsAt: Date
  readonly requestCount: number
  readonly pointCount: number
  readonly errorCount: number
}

/** Counts the usage of clients. */
export interface Usage {
  /** Adds to the current hour. */
  record(clientId: string, counts: { requests?: number; points?: number; errors?: number }): void
  /** Hours or days with usage, oldest first. Throws `INVALID_INPUT` for an invalid or too long range. */
  query(clientId: string, range: TimeRange, interval: UsageInterval): Promise<UsageBucket[]>
  /** The hour of each client's last request, if there was one. */
  lastUsedAt(clientIds: readonly string[]): Promise<ReadonlyMap<string, Date>>
  /** Writes the counts that this process has not written yet. */
  flush(): Promise<void>
  /** Deletes usage that is too old. Returns the number of rows. */
  sweep(): Promise<number>
}

const FLUSH_INTERVAL_MS = 5 * SECOND_MS
const RETENTION_DAYS = RETENTION.client_usage.afterMs / DAY_MS
const MAX_RANGE_DAYS: Readonly<Record<UsageInterval, number>> = { HOUR: 31, DAY: RETENTION_DAYS }
const INT_MAX = 2_147_483_647

/** Counts by client and hour in memory, and adds the counts to the database in batches. */
export function createUsage(store: UsageStore, { clock, log }: Pick<World, 'clock' | 'log'>): Usage {
  const { add, flush } = createBatchedCounters<'requests' | 'points' | 'errors', UsageCount>(
    ['requests', 'points', 'errors'],
    ({ clientId, hour }) => `${clientId}/${hour.getTime()}`,
    (counts) => store.add(counts),
  )
  let lastFlushMs = 0

  return {
    flush,

    record(clientId, { requests = 0, points = 0, errors = 0 }) {
      const nowMs = clock.now().getTime()
      add({ clientId, hour: new Date(Math.floor(nowMs / HOUR_MS) * HOUR_MS), requests, points, errors })
      if (Math.abs(nowMs - lastFlushMs) < FLUSH_INTERVAL_MS) return
      lastFlushMs = nowMs
      flush().catch((error: unknown) => log.warn('usage.write_failed', { trace: errorTrace(error) }))
    },

    async query(clientId, { since, until = clock.now() }, interval) {
      const rangeStart = since ?? subtractMs(until, MAX_RANGE_DAYS[interval] * DAY_MS)
      const faults = timeRangeFaults({ since: rangeStart, until }, ['range'])
      if (faults.length > 0) throw invalidInputError(faults)
      if (until.getTime() - rangeStart.getTime() > MAX_RANGE_DAYS[interval] * DAY_MS)
        throw invalidInputError([
          faultAt(['range'], `must be at most ${MAX_RANGE_DAYS[interval]} days long for the interval ${interval}`),
        ])
      await flush()
      return (await store.of(clientId, rangeStart, until, interval)).map(({ startsAt, requests, points, errors }) => ({
        startsAt,
        requestCount: Math.min(Number(requests), INT_MAX),
        pointCount: Math.max(0, Math.min(Number(points), INT_MAX)),
        errorCount: Math.min(Number(errors), INT_MAX),
      }))
    },

    async lastUsedAt(clientIds) {
      await flush()
      return store.lastUsedAt(clientIds)
    },

    sweep: () => store.sweep(expiredBefore('client_usage', clock.now())),
  }
}
