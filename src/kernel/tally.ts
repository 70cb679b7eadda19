import { MINUTE_MS } from './clock.ts'
import type { LogEvent } from './log-table.ts'
import type { Log, LogFields } from './log.ts'

/** Something that strangers can cause as often as they like: counted, and summed up in the log once a minute. */
export interface Tally {
  /** Counts one. The fields must come from closed sets: each combination is kept for as long as the process runs. */
  count(fields: Kind): void
  /** How often each combination of fields was counted since the start. */
  totals(): readonly (readonly [fields: Kind, count: number])[]
  /** From now on, writes a line a minute for each combination that was counted since the one before. */
  start(): void
  /** Writes what was counted since the last lines, and no more. */
  stop(): void
}

/** What tells one kind from another. */
export type Kind = Pick<LogFields, 'code' | 'connectorId' | 'route'>

/** A tally whose log lines have the name `event`. */
export function createTally(log: Log, event: LogEvent): Tally {
  const kinds = new Map<string, { readonly fields: Kind; total: number; written: number }>()
  let timer: NodeJS.Timeout | undefined

  function write(): void {
    for (const kind of kinds.values()) {
      if (kind.total > kind.written) log.info(event, { ...kind.fields, count: kind.total - kind.written })
      kind.written = kind.total
    }
  }

  return {
    count(fields) {
      const key = `${fields.route ?? ''} ${fields.connectorId ?? ''} ${fields.code ?? ''}`
      const kind = kinds.get(key) ?? { fields, total: 0, written: 0 }
      kinds.set(key, kind)
      kind.total++
    },
    totals: () => [...kinds.values()].map(({ fields, total }) => [fields, total]),
    start() {
      timer ??= setInterval(write, MINUTE_MS).unref()
    },
    stop() {
      clearInterval(timer)
      timer = undefined
      write()
    },
  }
}
