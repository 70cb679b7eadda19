import { GatewayError } from './errors.ts'

/** A time by which something must be answered. */
export interface Deadline {
  /** The same, or `BANK_TIMEOUT` where the time is over first; the work itself goes on. */
  race<T>(work: Promise<T>): Promise<T>
  /** Milliseconds since it was set. */
  elapsedMs(): number
  /** To be called at the end, whatever it was. */
  stop(): void
}

/** Sets a deadline in `ms` milliseconds from now. */
export function startDeadline(ms: number): Deadline {
  const began = performance.now()
  let timer: NodeJS.Timeout | undefined
  const over = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new GatewayError('BANK_TIMEOUT', { internal: 'deadline' })), ms)
  })
  over.catch(() => undefined)
  return {
    race: (work) => Promise.race([work, over]),
    elapsedMs: () => performance.now() - began,
    stop: () => clearTimeout(timer),
  }
}
