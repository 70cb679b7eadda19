import type { IncomingMessage, ServerResponse } from 'node:http'
import type { GatewayError } from '../kernel/errors.ts'
import { errorTrace } from '../kernel/log.ts'
import type { World } from '../kernel/world.ts'

/** Health checks, which orchestrators request without knowing the public host name. */
export const OPERATOR_PATHS: ReadonlySet<string> = new Set(['/livez', '/readyz'])

/** The log line of one request: route, status and duration, but no content. */
export interface RequestLog {
  /** The path pattern of the route, with its `{name}` placeholders; never the requested path. */
  route: string
  /** Why the request was rejected or failed. An error of category INTERNAL is logged at level error, with its trace. */
  error: GatewayError | undefined
  /** Writes the line, once. The end of a stream adds a second line. */
  write(): void
}

/** What a finished request is measured by. `route` is the path pattern of the route, or `unmatched`. */
export interface MeasuredRequest {
  readonly route: string
  readonly status: number
  readonly durationMs: number
}

/** Creates the log line of a request that has just arrived. If a stream closes early, the line is written when it closes. */
export function createRequestLog(
  { method }: IncomingMessage,
  response: ServerResponse,
  requestId: string,
  { timers, log }: Pick<World, 'timers' | 'log'>,
  onRequest?: (request: MeasuredRequest) => void,
): RequestLog {
  const startedAtMs = timers.monotonicMs()
  const elapsedMs = (): number => timers.monotonicMs() - startedAtMs
  const durationMs = (): number => Math.round(elapsedMs())
  let isWritten = false
  const requestLog: RequestLog = {
    route: 'unmatched',
    error: undefined,
    write() {
      if (isWritten) return
      isWritten = true
      const { route, error } = requestLog
      onRequest?.({ route, status: response.statusCode, durationMs: elapsedMs() })
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

/** Requests that anybody can repeat at will are logged as counts once a minute, so that they cannot flood the log. */
const isSummarized = (route: string, status: number): boolean =>
  status === 429 || (route.startsWith('/bank-events/') && status >= 400 && status < 500)

const isStream = (response: ServerResponse): boolean =>
  response.headersSent && String(response.getHeader('content-type')).startsWith('text/event-stream')

const safeMethod = (method = ''): string => (/^[A-Z]{3,7}$/.test(method) ? method : 'OTHER')
