import { createBatchedCounters } from '../../kernel/batched-counters.ts'
import { DAY_MS, SECOND_MS, subtractMs, type Timer } from '../../kernel/clock.ts'
import { errorTrace } from '../../kernel/log.ts'
import { expiredBefore } from '../../kernel/retention.ts'
import type { World } from '../../kernel/world.ts'
import type { EventCountStore } from './event-count-store.ts'
import type { EventCount, EventOutcome } from './model.ts'

/** Counts what became of the events of each bank. */
export interface EventCounts {
  /**
   * Counts `count` events of a connector. Costs no database query: the counts of all events are written together, at the latest five
   * seconds later. `eventType` is a name that a standard defines, and never text of the bank.
   */
  count(connectorId: string, outcome: EventOutcome, count?: number, eventType?: string): void
  /** The counts of the last seven days, newest day first; at most 200. */
  recent(connectorId: string): Promise<EventCount[]>
  /** Writes the counts that this process has not written yet. */
  flush(): Promise<void>
  /** Deletes old counts. Returns the number of rows. */
  sweep(): Promise<number>
}

const FLUSH_INTERVAL_MS = 5 * SECOND_MS
const SHOWN_DAYS = 7
const MAX_SHOWN = 200

const startOfDay = (at: Date): Date => new Date(at.toISOString().slice(0, 10))

/** Creates the counts of all banks. */
export function createEventCounts(
  store: EventCountStore,
  { clock, timers, log }: Pick<World, 'clock' | 'timers' | 'log'>,
): EventCounts {
  const counters = createBatchedCounters<'count', EventCount>(
    ['count'],
    ({ connectorId, day, outcome, eventType }) => `${connectorId}/${day.getTime()}/${outcome}/${eventType ?? ''}`,
    (counts) => store.add(counts),
  )
  let nextFlush: Timer | undefined

  async function flush(): Promise<void> {
    nextFlush?.clear()
    nextFlush = undefined
    await counters.flush()
  }

  /** What could not be written is written later. */
  function flushLater(): void {
    nextFlush ??= timers
      .setTimeout(() => {
        flush().catch((error: unknown) => {
          log.warn('bank_events.count_failed', { trace: errorTrace(error) })
          flushLater()
        })
      }, FLUSH_INTERVAL_MS)
      .unref()
  }

  return {
    flush,

    count(connectorId, outcome, count = 1, eventType) {
      counters.add({ connectorId, day: startOfDay(clock.now()), outcome, eventType: eventType ?? null, count })
      flushLater()
    },

    async recent(connectorId) {
      await flush()
      const since = subtractMs(startOfDay(clock.now()), (SHOWN_DAYS - 1) * DAY_MS)
      return store.find(connectorId, since, MAX_SHOWN)
    },

    sweep: () => store.deleteBefore(expiredBefore('bank_event_count', startOfDay(clock.now()))),
  }
}
