import type { Timers, Timer } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'

/** A time limit for work at a bank. */
export interface Deadline {
  /** Settles as `promise` does, or rejects with `BANK_TIMEOUT` if the time runs out first. The work itself continues. */
  race<T>(promise: Promise<T>): Promise<T>
  /** Milliseconds since the start. */
  elapsedMs(): number
  /** Clears the timer. Call it in every case when the work is done. */
  stop(): void
}

/** Starts a deadline that ends in `timeoutMs` milliseconds. */
export function startDeadline(timeoutMs: number, timers: Timers): Deadline {
  const startedAtMs = timers.monotonicMs()
  let timer: Timer | undefined
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = timers.setTimeout(
      () => reject(new GatewayError('BANK_TIMEOUT', { internalMessage: 'deadline' })),
      timeoutMs,
    )
  })
  timeout.catch(() => undefined)
  return {
    race: (promise) => Promise.race([promise, timeout]),
    elapsedMs: () => timers.monotonicMs() - startedAtMs,
    stop: () => timer?.clear(),
  }
}
