/** The faults that can be injected. */
export const FAULTS = [
  'SERVER_ERROR',
  'HTML_ERROR',
  'TOO_MANY_REQUESTS',
  'FORBIDDEN',
  'NOT_FOUND',
  'REDIRECT',
  'TRUNCATED',
  'HTML',
  'EMPTY',
  'HUGE',
  'WRONG_TYPES',
] as const

/** One fault, with its delay and the number of requests that it still affects. */
export interface Fault {
  readonly kind: (typeof FAULTS)[number] | 'NONE'
  readonly delayMs: number
  times: number
}

/** The key of a fault that affects every request to the account API. */
export const ALL_ACCOUNTS = '*'
