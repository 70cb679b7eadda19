import { GatewayError } from './errors.ts'

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
export function startDeadline(timeoutMs: number): Deadline {
  const startedAtMs = performance.now()
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new GatewayError('BANK_TIMEOUT', { internalMessage: 'deadline' })), timeoutMs)
  })
  timeout.catch(() => undefined)
  return {
    race: (promise) => Promise.race([promise, timeout]),
    elapsedMs: () => performance.now() - startedAtMs,
    stop: () => clearTimeout(timer),
  }
}
