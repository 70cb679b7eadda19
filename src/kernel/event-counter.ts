import { MINUTE_MS } from './clock.ts'
import type { LogEvent } from './log-table.ts'
import type { Log, LogFields } from './log.ts'

/** Something that strangers can cause as often as they like: counted, and summed up in the log once a minute. */
export interface EventCounter {
  /** Counts one. The fields must come from closed sets: each combination is kept for as long as the process runs. */
  increment(labels: CounterLabels): void
  /** How often each combination of fields was counted since the start. */
  totals(): readonly (readonly [fields: CounterLabels, count: number])[]
  /** From now on, writes a line a minute for each combination that was counted since the one before. */
  start(): void
  /** Writes what was counted since the last lines, and no more. */
  stop(): void
}

/** What tells one kind from another. */
export type CounterLabels = Pick<LogFields, 'code' | 'connectorId' | 'route'>

/** A tally whose log lines have the name `event`. */
export function createEventCounter(log: Log, event: LogEvent): EventCounter {
  const entries = new Map<string, { readonly labels: CounterLabels; total: number; loggedTotal: number }>()
  let timer: NodeJS.Timeout | undefined

  function logCounts(): void {
    for (const entry of entries.values()) {
      if (entry.total > entry.loggedTotal) log.info(event, { ...entry.labels, count: entry.total - entry.loggedTotal })
      entry.loggedTotal = entry.total
    }
  }

  return {
    increment(labels) {
      const key = `${labels.route ?? ''} ${labels.connectorId ?? ''} ${labels.code ?? ''}`
      const entry = entries.get(key) ?? { labels, total: 0, loggedTotal: 0 }
      entries.set(key, entry)
      entry.total++
    },
    totals: () => [...entries.values()].map(({ labels, total }) => [labels, total]),
    start() {
      timer ??= setInterval(logCounts, MINUTE_MS).unref()
    },
    stop() {
      clearInterval(timer)
      timer = undefined
      logCounts()
    },
  }
}
