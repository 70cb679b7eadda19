import { AsyncLocalStorage } from 'node:async_hooks'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { LOG_FIELDS, LOG_LEVELS, type LogEvent, type LogLevel } from './log-table.ts'

/**
 * All that a log line may hold besides its event. Each is an id of ours, a code from a table or a number: there is no field
 * that bank text, customer text or an amount could go into.
 */
export type LogFields = { [Name in keyof typeof LOG_FIELDS]?: Name extends NumericField ? number : string }
type NumericField = 'status' | 'durationMs' | 'bytes' | 'unknownKeys' | 'attempt' | 'count' | 'port' | 'offsetMs'

/** Writes lines of a level; what is below the configured one is dropped. */
export type Log = Readonly<Record<LogLevel, (event: LogEvent, fields?: LogFields) => void>>

const requestIds = new AsyncLocalStorage<string>()

/** Runs `work`: every line that it and what it starts write holds the request's id. */
export const withRequestId = <T>(requestId: string, work: () => T): T => requestIds.run(requestId, work)

/** One JSON line per entry through `write`; fields outside `LogFields` are dropped even where the types were bypassed. */
export function createLog(level: LogLevel, now: () => Date, write: (line: string) => void): Log {
  const threshold = LOG_LEVELS.indexOf(level)
  const writerFor =
    (name: LogLevel) =>
    (event: LogEvent, fields: LogFields = {}) => {
      if (LOG_LEVELS.indexOf(name) < threshold) return
      const requestId = requestIds.getStore()
      const allFields = { ...(requestId !== undefined && { requestId }), ...fields }
      const allowedFields = Object.entries(allFields).filter(([key]) => Object.hasOwn(LOG_FIELDS, key))
      write(JSON.stringify({ at: now().toISOString(), level: name, event, ...Object.fromEntries(allowedFields) }))
    }
  return {
    trace: writerFor('trace'),
    debug: writerFor('debug'),
    info: writerFor('info'),
    warn: writerFor('warn'),
    error: writerFor('error'),
  }
}

const MAX_ERRORS = 8
const MAX_FRAMES = 6
const ROOT = join(import.meta.dirname, '../..')

/**
 * What may be logged of an error: the class names of it, its causes (`<`) and an AggregateError's errors (`[…; …]`), codes of
 * node and PostgreSQL, and the files where it was thrown. Messages are left out, because V8 and drivers
 * put input into them.
 */
export function errorTrace(error: unknown): string {
  const seen = new Set<Error>()
  let frames = ''

  function describe(thrown: unknown): string | undefined {
    if (!(thrown instanceof Error) || seen.has(thrown) || seen.size >= MAX_ERRORS) return undefined
    seen.add(thrown)
    frames ||= stackFrames(thrown)
    const code = matchOrUndefined(/^([A-Z][A-Z0-9_]{1,39}|[0-9A-Z]{5})$/, readProperty(thrown, 'code'))
    const name = matchOrUndefined(/^[A-Za-z][\w$]{0,59}$/, readProperty(thrown, 'name')) ?? 'Error'
    const errors = thrown instanceof AggregateError ? thrown.errors.flatMap((one) => describe(one) ?? []) : []
    const inner = errors.length > 0 ? ` [${errors.join('; ')}]` : ''
    const cause = describe(thrown.cause)
    return `${name}${code === undefined ? '' : `(${code})`}${inner}${cause === undefined ? '' : ` < ${cause}`}`
  }

  return `${describe(error) ?? typeof error} ${frames}`.trim()
}

/**
 * The places of a stack, without the names of functions. A message can look like a line of the stack, so nothing is read from
 * a stack that does not begin with the error's name and message as they are.
 */
function stackFrames(error: Error): string {
  const [stack, message] = [readProperty(error, 'stack'), readProperty(error, 'message')]
  if (typeof stack !== 'string' || typeof message !== 'string') return ''
  const head = /^[A-Za-z][\w$]{0,59}(?: \[[A-Z0-9_]+\])?(?:: )?/.exec(stack)?.[0] ?? ''
  const lines = stack.startsWith(message, head.length) ? stack.slice(head.length + message.length) : ''
  if (!lines.startsWith('\n    at ')) return ''
  return lines
    .split('\n')
    .flatMap((line) => parseFrame(line) ?? [])
    .slice(0, MAX_FRAMES)
    .join(' | ')
}

/**
 * `src/file.ts:line:column`; nothing for a line of anything but a file that exists: where a message was changed after its stack
 * was made, the rest of the old one can still look like a place.
 */
function parseFrame(line: string): string | undefined {
  const match = /^    at (?:.*\()?(?:file:\/\/)?(\/[\w@$.+/-]{1,200})(:\d{1,6}:\d{1,6})\)?$/.exec(line)
  const path = match?.[1]
  if (!path?.startsWith(`${ROOT}/`) || !existsSync(path)) return undefined
  return path.slice(ROOT.length + 1) + match![2]!
}

const matchOrUndefined = (pattern: RegExp, value: unknown): string | undefined =>
  typeof value === 'string' && pattern.test(value) ? value : undefined

/** A property of an error of unknown making, which may throw when it is read. */
function readProperty(error: Error, name: string): unknown {
  try {
    return Reflect.get(error, name)
  } catch {
    return undefined
  }
}
