import type { InputFault } from './errors.ts'
import { faultAt } from './input-faults.ts'

/** A range of time: `since` is inclusive, `until` exclusive, and an end that is missing is open. */
export interface TimeRange {
  readonly since: Date | undefined
  readonly until: Date | undefined
}

/** A `TimeRangeInput` whose ends were checked by the scalar `DateTime`. */
export interface TimeRangeInput {
  readonly since?: string | null | undefined
  readonly until?: string | null | undefined
}

/** Reads a range; without input both ends are open. */
export function parseTimeRange(input: TimeRangeInput | null | undefined): TimeRange {
  const parseInstant = (text: string | null | undefined): Date | undefined => (text ? new Date(text) : undefined)
  return { since: parseInstant(input?.since), until: parseInstant(input?.until) }
}

/** The fault of a range that cannot hold any instant, if any. `path` leads to the input. */
export const timeRangeFaults = ({ since, until }: Partial<TimeRange>, path: readonly string[]): InputFault[] =>
  since && until && since >= until
    ? [faultAt([...path, 'since'], `must be before \`${[...path, 'until'].join('.')}\``)]
    : []
