/**
 * Why the gateway ended a stream, in the data of its last event, `complete`:
 * TOKEN_EXPIRED: reconnect with a new token and the last event's id. NOT_AUTHORIZED: the token was revoked, the consent has
 * ended or the client is suspended. RESUME: reconnect with the last event's id, because events may have been missed or the
 * gateway stops. RATE_LIMITED: reconnect with the last event's id after the time in `retry`.
 */
export type StreamEndReason = 'TOKEN_EXPIRED' | 'NOT_AUTHORIZED' | 'RESUME' | 'RATE_LIMITED'

/** The last event of a stream. */
export const completeEvent = (reason: StreamEndReason): string => `event: complete\ndata: {"reason":"${reason}"}\n\n`

/** A stream that expires with its token. */
interface ExpiringStream {
  readonly expiresAtMs: number
}

/**
 * Tracks when the next of many streams expires, so that they are searched only if one has. If `hasExpired` returns true, the
 * caller ends the expired streams and calls `reset` with the others.
 */
export function createExpiryTracker(): {
  track(stream: ExpiringStream): void
  hasExpired(nowMs: number): boolean
  reset(streams: Iterable<ExpiringStream>): void
} {
  let nextExpiryMs = Infinity
  const track = ({ expiresAtMs }: ExpiringStream): void => void (nextExpiryMs = Math.min(nextExpiryMs, expiresAtMs))
  return {
    track,
    hasExpired: (nowMs) => nowMs >= nextExpiryMs,
    reset(streams) {
      nextExpiryMs = Infinity
      for (const stream of streams) track(stream)
    },
  }
}
