import { GatewayError } from './errors.ts'

/** A time by which something must be answered. */
export interface Deadline {
  /** The same, or `BANK_TIMEOUT` where the time is over first; the work itself goes on. */
  race<T>(promise: Promise<T>): Promise<T>
  /** Milliseconds since it was set. */
  elapsedMs(): number
  /** To be called at the end, whatever it was. */
  stop(): void
}

/** Sets a deadline in `ms` milliseconds from now. */
export function startDeadline(timeoutMs: number): Deadline {
  const startedAtMs = performance.now()
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new GatewayError('BANK_TIMEOUT', { internalMessage: 'deadline' })), timeoutMs)
  })
  timeout.catch(() => undefined)
  return {
    race: (work) => Promise.race([work, timeout]),
    elapsedMs: () => performance.now() - startedAtMs,
    stop: () => clearTimeout(timer),
  }
}
