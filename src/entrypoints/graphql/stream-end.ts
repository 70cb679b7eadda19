/**
 * Why the gateway ended a stream, in the data of its last event, `complete`:
 * TOKEN_EXPIRED: come back with a fresh token and the last event's id. NOT_AUTHORIZED: the token was revoked, the consent has
 * ended or the client is suspended. RESUME: come back with the last event's id; events may have been missed, or the gateway
 * stops. RATE_LIMITED: the same after the time in `retry`.
 */
export type StreamEndReason = 'TOKEN_EXPIRED' | 'NOT_AUTHORIZED' | 'RESUME' | 'RATE_LIMITED'

/** The last event of a stream. */
export const completeEvent = (reason: StreamEndReason): string => `event: complete\ndata: {"reason":"${reason}"}\n\n`

/** What lives as long as a token, in milliseconds of the gateway's clock. */
interface ExpiringStream {
  readonly expiresAtMs: number
}

/**
 * Notes when the next of many streams expires, so that looking costs nothing while none has. `due` is true once at least one
 * of those that were noted has expired; then all are noted anew.
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
