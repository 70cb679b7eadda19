import type { IncomingMessage, ServerResponse } from 'node:http'
import type { GatewayError } from '../kernel/errors.ts'
import { errorTrace } from '../kernel/log.ts'
import type { World } from '../kernel/world.ts'

/** Requested by whatever runs the process, which does not know its public name. */
export const OPERATOR_PATHS: ReadonlySet<string> = new Set(['/livez', '/readyz'])

/** The one line that a request leaves in the log: which route, how it ended and how long it took, and nothing of its content. */
export interface RequestLog {
  /** The path of the route's table entry, with its `{name}` places; never the path that was requested. */
  route: string
  /** Why the request was refused, or what failed. What is our fault makes the line an error, with its trace. */
  error: GatewayError | undefined
  /** Writes the line; a stream's when it opens, and another when it ends. */
  write(): void
}

/** The line of a request that has just come in. Where its sender leaves a stream early, the line is written by then. */
export function createRequestLog(
  { method }: IncomingMessage,
  response: ServerResponse,
  requestId: string,
  { clock, log }: Pick<World, 'clock' | 'log'>,
): RequestLog {
  const startedAtMs = clock.now().getTime()
  const durationMs = (): number => clock.now().getTime() - startedAtMs
  let isWritten = false
  const requestLog: RequestLog = {
    route: 'unmatched',
    error: undefined,
    write() {
      if (isWritten) return
      isWritten = true
      const { route, error } = requestLog
      const fields = {
        requestId,
        route,
        method: safeMethod(method),
        status: response.statusCode,
        durationMs: durationMs(),
        ...(error && { code: error.code }),
      }
      if (error?.definition.category === 'INTERNAL') log.error('request', { ...fields, trace: errorTrace(error) })
      else if (OPERATOR_PATHS.has(route) || isSummarized(route, fields.status)) log.debug('request', fields)
      else log.info('request', fields)
    },
  }
  response.once('close', () => {
    if (!isStream(response)) return
    requestLog.write()
    log.info('stream.ended', { requestId, route: requestLog.route, durationMs: durationMs() })
  })
  return requestLog
}

/** What strangers can cause as often as they like is counted and summed up once a minute: a line for each would be a flood. */
const isSummarized = (route: string, status: number): boolean =>
  status === 429 || (route.startsWith('/bank-events/') && status >= 400 && status < 500)

const isStream = (response: ServerResponse): boolean =>
  response.headersSent && String(response.getHeader('content-type')).startsWith('text/event-stream')

const safeMethod = (method = ''): string => (/^[A-Z]{3,7}$/.test(method) ? method : 'OTHER')
