import { UsageError } from './errors.ts'

/** A value that a command takes from the command line, as an argument or an option. */
export interface Input<Value> {
  /** `--limit <number>` for an option, `<client-id>` or `[consent-id...]` for an argument. */
  readonly flags: string
  readonly description: string
  readonly isRequired?: boolean
  readonly isRepeatable?: boolean
  readonly choices?: readonly string[]
  readonly defaultValue?: Value
  /** Whether the shell completes names of files. */
  readonly isFile?: boolean
  /** Parses one value. Throws `UsageError` for a value that is not acceptable. */
  readonly parse?: (text: string) => unknown
}

/** The inputs of a command, by the names of their values. */
export type Inputs = Readonly<Record<string, Input<unknown>>>
/** The values of the inputs, by the same names. */
export type ValuesOf<T extends Inputs> = {
  readonly [K in keyof T]: T[K] extends Input<infer Value> ? Value : never
}

type Optional = string | undefined

/** An argument that must be given. */
export const argument = (flags: string, description: string): Input<string> => ({ flags, description })

/** An argument with a fixed set of values, which must be given. */
export const requiredChoice = <const T extends string>(
  flags: string,
  description: string,
  choices: readonly T[],
): Input<T> => ({ flags, description, choices })

/** Any number of arguments. */
export const argumentList = (flags: string, description: string): Input<readonly string[]> => ({
  flags,
  description,
  defaultValue: [],
})

/** An option without a value: false unless given. */
export const flag = (flags: string, description: string): Input<boolean> => ({
  flags,
  description,
  defaultValue: false,
})

/** An option with any text. */
export const text = (flags: string, description: string): Input<Optional> => ({ flags, description })

/** The same with a default. */
export const textWithDefault = (flags: string, description: string, defaultValue: string): Input<string> => ({
  flags,
  description,
  defaultValue,
})

/** An option that must be given. */
export const requiredText = (flags: string, description: string): Input<string> => ({
  flags,
  description,
  isRequired: true,
})

/** An option that can be given several times. */
export const textList = (flags: string, description: string): Input<readonly string[] | undefined> => ({
  flags,
  description: `${description}; can be repeated`,
  isRepeatable: true,
})

/** The name of a file. */
export const file = (flags: string, description: string): Input<Optional> => ({ flags, description, isFile: true })

/** The name of a file that must be given. */
export const requiredFile = (flags: string, description: string): Input<string> => ({
  flags,
  description,
  isFile: true,
  isRequired: true,
})

/** One of a fixed set of values. */
export const choice = <const T extends string>(
  flags: string,
  description: string,
  choices: readonly T[],
): Input<T | undefined> => ({ flags, description, choices })

/** The same with a default. */
export const choiceWithDefault = <const T extends string>(
  flags: string,
  description: string,
  choices: readonly T[],
  defaultValue: T,
): Input<T> => ({ flags, description, choices, defaultValue })

/** A space-separated list in one value, such as `"accounts:read alerts:read"`. */
export const words = (flags: string, description: string): Input<readonly string[] | undefined> => ({
  flags,
  description,
  parse: parseWords,
})

/** The same, which must be given. */
export const requiredWords = (flags: string, description: string): Input<readonly string[]> => ({
  flags,
  description,
  isRequired: true,
  parse: parseWords,
})

/** A comma-separated list in one value, such as `a,b`. */
export const list = (flags: string, description: string): Input<readonly string[] | undefined> => ({
  flags,
  description: `${description}, separated by commas`,
  parse: (value) => value.split(',').map((item) => item.trim()),
})

/** A whole number from 1 to `max`. */
export const positiveInteger = (flags: string, description: string, max?: number): Input<number | undefined> => ({
  flags,
  description,
  parse: (value) => parsePositiveInteger(value, max),
})

/** A time; its value is ISO 8601 in UTC. */
export const time = (flags: string, description: string): Input<Optional> => ({ flags, description, parse: parseTime })

/** The same, which must be given. */
export const requiredTime = (flags: string, description: string): Input<string> => ({
  flags,
  description,
  isRequired: true,
  parse: parseTime,
})

const parseWords = (value: string): string[] => value.trim().split(/\s+/)

const MAX_INTEGER = 9_999_999_999

function parsePositiveInteger(value: string, max = MAX_INTEGER): number {
  if (!/^[1-9]\d{0,9}$/.test(value) || Number(value) > max)
    throw new UsageError(`It must be a whole number from 1 to ${max}.`)
  return Number(value)
}

const HOUR_MS = 3_600_000

/** `now`, hours from now (`+4h`) or before now (`-4h`), or an ISO 8601 time with a zone. */
function parseTime(value: string): string {
  const hours = /^[+-]\d{1,4}(?=h$)/.exec(value)?.[0]
  if (value === 'now' || hours !== undefined) return new Date(Date.now() + Number(hours ?? 0) * HOUR_MS).toISOString()
  // Without a zone, the time would depend on the machine.
  const at = /^\d{4}-\d{2}-\d{2}T[\d:.]+(Z|[+-]\d{2}:\d{2})$/.test(value) ? new Date(value) : undefined
  if (at === undefined || Number.isNaN(at.getTime()))
    throw new UsageError('It is not a time: use now, +4h, -24h, or a time with a zone such as 2026-12-31T08:00:00Z.')
  return at.toISOString()
}

/** The sandbox customer for whom a command acts. */
export const CUSTOMER = requiredText('--customer <persona>', 'the customer of the sandbox, such as ada')
/** The client of an admin. */
export const AS_ADMIN = textWithDefault('--as <client>', 'the admin client, by its name or key file', 'admin')
/** The client of an admin or of a bank partner. */
export const AS_ADMIN_OR_PARTNER = textWithDefault(
  '--as <client>',
  "the admin client or the partner's, by its name or key file",
  'admin',
)
/** The client of a bank partner. */
export const AS_PARTNER = requiredText('--as <client>', "the bank partner's client, by its name or key file")
/** The start of a range of time, inclusive. */
export const SINCE = time('--since <time>', 'from this time on: -24h, now, or 2026-12-31T08:00:00Z')
/** The end of a range of time, exclusive. */
export const UNTIL = time('--until <time>', 'before this time')
