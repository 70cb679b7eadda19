/** Log levels, from the most to the least talkative. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error'] as const
/** One of the levels. */
export type LogLevel = (typeof LOG_LEVELS)[number]

/**
 * All that a log line may hold besides its event name. Each is an id of ours, a code from a table or a number: there
 * is no field that bank text, customer text or an amount could go into.
 */
export interface LogFields {
  requestId?: string
  clientId?: string
  customerId?: string
  consentId?: string
  connectorId?: string
  bankId?: string
  accountId?: string
  alertId?: string
  deliveryId?: string
  messageId?: string
  topic?: string
  code?: string
  operation?: string
  method?: string
  route?: string
  status?: number
  durationMs?: number
  bytes?: number
  unknownKeys?: number
  attempt?: number
  count?: number
  port?: number
  /** Class names and frames of our own files only; never an error's message. */
  trace?: string
}

/** Writes lines of a level; what is below the configured one is dropped. */
export interface Log {
  trace(event: string, fields?: LogFields): void
  debug(event: string, fields?: LogFields): void
  info(event: string, fields?: LogFields): void
  warn(event: string, fields?: LogFields): void
  error(event: string, fields?: LogFields): void
}

const ALLOWED = {
  requestId: true,
  clientId: true,
  customerId: true,
  consentId: true,
  connectorId: true,
  bankId: true,
  accountId: true,
  alertId: true,
  deliveryId: true,
  messageId: true,
  topic: true,
  code: true,
  operation: true,
  method: true,
  route: true,
  status: true,
  durationMs: true,
  bytes: true,
  unknownKeys: true,
  attempt: true,
  count: true,
  port: true,
  trace: true,
} as const satisfies Record<keyof LogFields, true>

/** One JSON line per entry through `write`; fields outside `LogFields` are dropped even where the types were bypassed. */
export function createLog(level: LogLevel, now: () => Date, write: (line: string) => void): Log {
  const threshold = LOG_LEVELS.indexOf(level)
  const at =
    (name: LogLevel) =>
    (event: string, fields: LogFields = {}) => {
      if (LOG_LEVELS.indexOf(name) < threshold) return
      const kept = Object.entries(fields).filter(([key, value]) => Object.hasOwn(ALLOWED, key) && value !== undefined)
      write(JSON.stringify({ at: now().toISOString(), level: name, event, ...Object.fromEntries(kept) }))
    }
  return { trace: at('trace'), debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

/**
 * What may be logged of an error: the names of its classes down the causes, error codes of node and PostgreSQL, and
 * the frames of the stack. Messages are left out, because V8 and drivers put input into them.
 */
export function traceOf(error: unknown): string {
  const names: string[] = []
  let frames = ''
  for (let cause: unknown = error; cause instanceof Error && names.length < 5; cause = cause.cause) {
    const code: unknown = Reflect.get(cause, 'code')
    names.push(typeof code === 'string' && /^[\w-]{1,40}$/.test(code) ? `${cause.name}(${code})` : cause.name)
    frames ||= (cause.stack ?? '')
      .split('\n')
      .filter((line) => /^\s+at /.test(line))
      .slice(0, 6)
      .map((line) => line.trim())
      .join(' | ')
  }
  return `${names.join(' < ') || typeof error} ${frames}`.trim()
}
