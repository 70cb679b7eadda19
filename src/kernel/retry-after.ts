import { SECOND_MS } from './clock.ts'

/** The forms of an HTTP date (RFC 9110, 5.6.7), the two obsolete ones included. */
const HTTP_DATE =
  /^(?:[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} [\d:]{8} GMT|[A-Z][a-z]+day, \d{2}-[A-Z][a-z]{2}-\d{2} [\d:]{8} GMT|[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d [\d:]{8} \d{4})$/

/**
 * The wait that a `Retry-After` of another party requests (RFC 9110, 10.2.3: seconds, or an HTTP date), in seconds and at most
 * `maxSeconds`. Undefined if the header is absent or malformed, or the date has passed.
 */
export function parseRetryAfter(text: string | undefined, now: Date, maxSeconds: number): number | undefined {
  const value = text?.trim() ?? ''
  const seconds = /^\d+$/.test(value) ? Number(value) : secondsUntil(value, now)
  return seconds > 0 ? Math.min(seconds, maxSeconds) : undefined
}

function secondsUntil(text: string, now: Date): number {
  if (!HTTP_DATE.test(text)) return Number.NaN
  const date = Date.parse(text.endsWith('GMT') ? text : `${text} GMT`)
  return Math.ceil((date - now.getTime()) / SECOND_MS)
}

/** The value of `Retry-After` or `retryAt` if no limit or bank says when the same request can succeed, in seconds. */
export const RETRY_AFTER_SECONDS = {
  /** The process has too many requests, or runs late: it recovers as fast as requests end. */
  overloaded: 1,
  /** The database cannot be reached: a failover takes a few seconds. */
  databaseUnavailable: 2,
  /** The queue for events of banks is full. */
  eventQueueFull: 2,
  /** An event of a bank could not be stored. */
  eventNotStored: 5,
  /** Any other 503, such as of a process that stops. */
  unavailable: 5,
  /** The customer has too many open subscriptions, or the process has. */
  tooManyStreams: 30,
  /** Any other error that is retryable. */
  retryable: 30,
} as const

/** A wait in milliseconds as whole seconds for `Retry-After`: rounded up, and at least one. */
export const toRetryAfterSeconds = (waitMs: number): number => Math.max(1, Math.ceil(waitMs / SECOND_MS))

/** The header `Retry-After` (RFC 9110, 10.2.3), or none if the time is not known. */
export const retryAfterHeader = (retryAfterSeconds: number | undefined): Readonly<Record<string, string>> =>
  retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) }
