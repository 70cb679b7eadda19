import { MINUTE_MS, type Timer } from './clock.ts'
import type { LogEvent } from './log-table.ts'
import type { LogFields } from './log.ts'
import type { World } from './world.ts'

/** Counts events that anybody can cause, and logs one sum per minute instead of one line per event. */
export interface EventCounter {
  /** Counts one event. Labels must come from closed sets, because each combination stays in memory. */
  increment(labels: CounterLabels): void
  /** Starts to log, once a minute, one line for each combination that was counted since the previous line. */
  start(): void
  /** Logs the remaining counts and stops. */
  stop(): void
}

/** The labels by which events are counted. */
export type CounterLabels = Pick<LogFields, 'code' | 'connectorId' | 'route'>

/** Creates a counter whose log lines have the name `event`. `onIncrement` is called for each event, to count it in a metric. */
export function createEventCounter(
  { log, timers }: Pick<World, 'log' | 'timers'>,
  event: LogEvent,
  onIncrement: (labels: CounterLabels) => void,
): EventCounter {
  const entries = new Map<string, { readonly labels: CounterLabels; unloggedCount: number }>()
  let timer: Timer | undefined

  function logCounts(): void {
    for (const entry of entries.values()) {
      if (entry.unloggedCount > 0) log.info(event, { ...entry.labels, count: entry.unloggedCount })
      entry.unloggedCount = 0
    }
  }

  return {
    increment(labels) {
      const key = `${labels.route ?? ''} ${labels.connectorId ?? ''} ${labels.code ?? ''}`
      const entry = entries.get(key) ?? { labels, unloggedCount: 0 }
      entries.set(key, entry)
      entry.unloggedCount++
      onIncrement(labels)
    },
    start() {
      timer ??= timers.setInterval(logCounts, MINUTE_MS).unref()
    },
    stop() {
      timer?.clear()
      timer = undefined
      logCounts()
    },
  }
}
