import { AsyncLocalStorage } from 'node:async_hooks'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { LOG_FIELDS, LOG_LEVELS, type LogEvent, type LogLevel } from './log-table.ts'

/**
 * The fields that a log line may hold besides its event. Each is one of our ids, a code from a table or a number; no field can
 * hold text of a bank or customer, or an amount.
 */
export type LogFields = { [Name in keyof typeof LOG_FIELDS]?: Name extends NumericField ? number : string }
type NumericField = 'status' | 'durationMs' | 'bytes' | 'unknownKeyCount' | 'attempt' | 'count' | 'port' | 'offsetMs'

/** Writes a line at a level; lines below the configured level are dropped. */
export type Log = Readonly<Record<LogLevel, (event: LogEvent, fields?: LogFields) => void>>

const requestIds = new AsyncLocalStorage<string>()

/** Runs `work`. Every line that is written during it, also asynchronously, holds the request's id. */
export const withRequestId = <T>(requestId: string, work: () => T): T => requestIds.run(requestId, work)

/** Creates a log that passes one JSON line per entry to `write`. Fields outside `LOG_FIELDS` are dropped at run time as well. */
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
 * What may be logged of an error: class names of the error, its causes (`<`) and the errors of an AggregateError (`[…; …]`),
 * codes of Node and PostgreSQL, and source locations. Messages are left out, because V8 and drivers put input into them.
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
    const errors = thrown instanceof AggregateError ? thrown.errors.flatMap((nested) => describe(nested) ?? []) : []
    const inner = errors.length > 0 ? ` [${errors.join('; ')}]` : ''
    const cause = describe(thrown.cause)
    return `${name}${code === undefined ? '' : `(${code})`}${inner}${cause === undefined ? '' : ` < ${cause}`}`
  }

  return `${describe(error) ?? typeof error} ${frames}`.trim()
}

/**
 * The source locations of a stack, without function names. A message can imitate a stack line, so a stack that does not begin
 * with the error's own name and message is ignored.
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
 * `src/file.ts:line:column`, or `undefined` if the line names no existing file: if a message was changed after the stack was
 * captured, the rest of the old message can look like a location.
 */
function parseFrame(line: string): string | undefined {
  const match = /^    at (?:.*\()?(?:file:\/\/)?(\/[\w@$.+/-]{1,200})(:\d{1,6}:\d{1,6})\)?$/.exec(line)
  const path = match?.[1]
  if (!path?.startsWith(`${ROOT}/`) || !existsSync(path)) return undefined
  return path.slice(ROOT.length + 1) + match![2]!
}

const matchOrUndefined = (pattern: RegExp, value: unknown): string | undefined =>
  typeof value === 'string' && pattern.test(value) ? value : undefined

/** Reads a property of an unknown error; a getter may throw. */
function readProperty(error: Error, name: string): unknown {
  try {
    return Reflect.get(error, name)
  } catch {
    return undefined
  }
}
