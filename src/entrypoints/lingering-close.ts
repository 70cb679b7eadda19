import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Timers } from '../kernel/clock.ts'

/** An unread body of at most this size is drained, and the connection stays open. */
const MAX_DRAIN_BYTES = 65_536
/** How much of a longer body is read, and for how long, before the connection closes. */
const LINGER_LIMITS = { bytes: 1_048_576, ms: 2_000 }

/** Whether a body is short enough to be drained, so that the connection can be reused. */
export const canDrain = ({ headers }: IncomingMessage): boolean =>
  Number(headers['content-length'] ?? Infinity) <= MAX_DRAIN_BYTES

/**
 * Sends the last response on a connection while the client still sends its body. The response is sent at once. Incoming data is
 * discarded for a while before the connection closes, because a reset could destroy the response before the client reads it.
 */
export function endLingering(request: IncomingMessage, response: ServerResponse, body: Buffer, timers: Timers): void {
  const end = (): void => {
    timer.clear()
    response.end()
  }
  const timer = timers.setTimeout(end, LINGER_LIMITS.ms)
  let bytes = 0
  if (body.length > 0) response.write(body)
  else response.flushHeaders()
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes > LINGER_LIMITS.bytes) end()
  })
  request.once('end', end)
  request.once('close', end)
}
