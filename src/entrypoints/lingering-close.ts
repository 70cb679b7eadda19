import type { IncomingMessage, ServerResponse } from 'node:http'

/** A body that is no longer than this is read to its end, and the connection goes on. */
const MAX_DRAIN_BYTES = 65_536
/** How much of a longer body is read, and for how long, before the connection is cut. */
const LINGER_LIMITS = { bytes: 1_048_576, ms: 2_000 }

/** Whether the rest of a body that nobody read is short enough that the connection can be used for another request. */
export const canDrain = ({ headers }: IncomingMessage): boolean =>
  Number(headers['content-length'] ?? Infinity) <= MAX_DRAIN_BYTES

/**
 * Ends an answer whose connection closes with it, while the client still sends its body. The answer goes out at once; what
 * arrives is dropped for a while, since a reset would take an answer along that the client has not read.
 */
export function endLingering(request: IncomingMessage, response: ServerResponse, body: Buffer): void {
  const end = (): void => {
    clearTimeout(timer)
    response.end()
  }
  const timer = setTimeout(end, LINGER_LIMITS.ms)
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
