import { addMs, DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from './clock.ts'
import type { Randomness } from './ids.ts'

/** When something is tried again. */
export interface RetrySchedule {
  /** What is tried again, as the subject of a sentence. */
  readonly what: string
  /** The waits after the first, second, … failure, in milliseconds. Every further failure waits as long as the last one. */
  readonly delaysMs: readonly [number, ...number[]]
  /** The share by which each wait is varied at random, up or down, so that many failures at once do not return at once. */
  readonly jitter?: number
  /** How long trying lasts at most, in milliseconds. Code that waits uses this value. */
  readonly timeoutMs?: number
  /** When trying ends. If there is a `timeoutMs`, trying also ends after it. */
  readonly ends: string
  /** Why the waits are as they are. */
  readonly why: string
}

/** Waits that double from `firstMs` up to `maxMs`. */
function doubling(firstMs: number, maxMs: number): [number, ...number[]] {
  const delaysMs: [number, ...number[]] = [firstMs]
  for (let delayMs = 2 * firstMs; delayMs < maxMs; delayMs *= 2) delaysMs.push(delayMs)
  return [...delaysMs, maxMs]
}

/** When a webhook delivery is given up: at this age, but not before this many attempts. */
export const WEBHOOK_GIVE_UP = { afterMs: 72 * HOUR_MS, minAttempts: 3 }

/** When an endpoint that accepts nothing is disabled: after this long, but not before this many failed attempts. */
export const WEBHOOK_FAILING = { afterMs: 5 * DAY_MS, minAttempts: 10 }

/** The longest wait that `Retry-After` of a webhook endpoint is honoured for, in milliseconds. */
export const WEBHOOK_MAX_RETRY_AFTER_MS = DAY_MS
/** When something is given up, in milliseconds: an email after it was queued, an answer to an alert after the customer gave it. */
export const GIVE_UP_MS = { mail: 72 * HOUR_MS, alertResponse: DAY_MS }

/** How long after the start of a read a failure still allows its one retry, in milliseconds. */
export const BANK_READ_RETRY_WITHIN_MS = 400

/** How often the start of the embedded server is tried again. */
export const EMBEDDED_START_RETRIES = 8

/**
 * Every retry and every regular check of work in the background: no other file has a schedule for it, except that
 * kernel/schedules.ts has the scheduled jobs. docs/RETRIES.md is generated from both tables.
 */
export const RETRIES = {
  webhook: {
    what: 'A webhook that its endpoint did not accept',
    delaysMs: [5 * SECOND_MS, 30 * SECOND_MS, 2 * MINUTE_MS, 10 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS, DAY_MS],
    jitter: 0.2,
    ends: `with a last attempt ${WEBHOOK_GIVE_UP.afterMs / HOUR_MS} h after the delivery was planned or replayed, but not before ${WEBHOOK_GIVE_UP.minAttempts} attempts`,
    why: `A restart of the endpoint costs seconds; an outage over a weekend loses nothing. \`Retry-After\` of the endpoint prolongs a wait, to ${WEBHOOK_MAX_RETRY_AFTER_MS / HOUR_MS} h at most.`,
  },
  urgentWebhook: {
    what: 'A webhook about an URGENT alert that its endpoint did not accept',
    delaysMs: [
      SECOND_MS,
      5 * SECOND_MS,
      15 * SECOND_MS,
      MINUTE_MS,
      5 * MINUTE_MS,
      30 * MINUTE_MS,
      2 * HOUR_MS,
      6 * HOUR_MS,
      12 * HOUR_MS,
      DAY_MS,
    ],
    jitter: 0.2,
    ends: 'as that of any other webhook',
    why: 'A customer can still stop a fraud in its first minute.',
  },
  testWebhook: {
    what: 'A test event that its endpoint did not accept',
    delaysMs: [SECOND_MS, 5 * SECOND_MS, 15 * SECOND_MS],
    jitter: 0.2,
    ends: 'after the last wait',
    why: 'A person waits for the result.',
  },
  webhookEndpoint: {
    what: 'An endpoint that did not accept five webhooks in a row',
    delaysMs: doubling(SECOND_MS, MINUTE_MS),
    jitter: 0.2,
    ends: 'when a single probe is accepted',
    why: 'An endpoint that is down costs one request a minute. Deliveries wait, and their schedules do not count it.',
  },
  webhookOutcome: {
    what: 'Storing the outcome of a webhook attempt',
    delaysMs: [200, 800, 2 * SECOND_MS],
    timeoutMs: 30 * SECOND_MS,
    ends: 'when it is stored',
    why: 'An endpoint that accepted a message must not get it twice because the database failed over, or was down for ten seconds.',
  },
  alertResponse: {
    what: 'An answer to an alert that its bank did not accept',
    delaysMs: [SECOND_MS, 5 * SECOND_MS, 15 * SECOND_MS, MINUTE_MS, 5 * MINUTE_MS],
    jitter: 0.2,
    ends: `${GIVE_UP_MS.alertResponse / HOUR_MS} h after the customer answered, or when the bank refuses it for good`,
    why: 'The bank can still stop a fraud in its first minute. After a day, the customer must have reached it in another way.',
  },
  mail: {
    what: 'An email that the mail server did not accept',
    delaysMs: [MINUTE_MS, 5 * MINUTE_MS, 30 * MINUTE_MS, 2 * HOUR_MS, 6 * HOUR_MS],
    jitter: 0.2,
    ends: `${GIVE_UP_MS.mail / HOUR_MS} h after it was queued, or when the server refuses the recipient permanently`,
    why: 'A mail server that restarts costs minutes. After three days, the message is old news.',
  },
  outbox: {
    what: 'An outbox message whose handler failed: fan-out of an alert or a reminder, the end of a consent at the bank, a consent check',
    delaysMs: doubling(2 * SECOND_MS, 10 * MINUTE_MS),
    ends: 'when it succeeds',
    why: 'What a commit announced must happen. A bank that is down for a day is not asked every second.',
  },
  circuitBreaker: {
    what: 'A kind of call to a bank whose circuit breaker is open',
    delaysMs: doubling(5 * SECOND_MS, 2 * MINUTE_MS),
    jitter: 0.2,
    ends: 'when a single probe call succeeds',
    why: 'Short outages end soon; a bank that stays down gets one call in two minutes from each process.',
  },
  bankRead: {
    what: `A read at a bank that failed within ${BANK_READ_RETRY_WITHIN_MS} ms because the bank could not be reached`,
    delaysMs: [60],
    jitter: 0.2,
    ends: 'after one retry',
    why: 'A lost connection or a restarting server of the bank must not cost the customer the answer.',
  },
  bankRateLimit: {
    what: 'Calls to a bank that returned 429 without `Retry-After`',
    delaysMs: [30 * SECOND_MS],
    ends: 'when a call succeeds',
    why: 'Long enough to respect the limit, and short enough for a customer who is waiting.',
  },
  bankQuota: {
    what: 'Unattended calls about an account whose daily quota at the bank is used up, if the bank does not say until when',
    delaysMs: [HOUR_MS],
    ends: 'when a call succeeds',
    why: 'The quota is counted by the day, but the day of the bank is not known.',
  },
  scheduledCertification: {
    what: 'The scheduled certification run of an active connector that passed',
    delaysMs: [DAY_MS],
    ends: 'when the connector is no longer active',
    why: 'A bank that changes its interface is noticed within a day.',
  },
  failedCertification: {
    what: 'The scheduled certification run of an active connector that failed',
    delaysMs: [HOUR_MS],
    ends: 'when it passes',
    why: 'While it fails, the bank takes no new consents: one short outage must not cost a day.',
  },
  eventPoll: {
    what: 'Polling a bank that stores its events',
    delaysMs: [5 * SECOND_MS],
    ends: 'when the connector is no longer active',
    why: 'A fraud alert should arrive within seconds. One process polls a bank at a time.',
  },
  streamCheck: {
    what: 'Reading the status of the stream in which a bank sends its events',
    delaysMs: [10 * MINUTE_MS],
    ends: 'when the connector is neither active nor suspended',
    why: 'A stream that the bank stopped is noticed although no events arrive. A connector that is suspended or activated is checked at once.',
  },
  streamVerification: {
    what: 'Having a bank send an event that shows that its stream works',
    delaysMs: [6 * HOUR_MS],
    ends: 'when the connector is no longer active',
    why: 'Banks limit such requests. A request that fails is repeated with the next check of the stream.',
  },
  newConsent: {
    what: 'Reading a new consent at a bank that needs time before a customer can agree to it',
    delaysMs: [3 * SECOND_MS],
    ends: 'when the bank returns the consent, or after `consentReadyAfterSeconds` of the registration',
    why: 'The customer waits on a page of the gateway and should continue soon.',
  },
  tokenRenewal: {
    what: 'Renewing the tokens of a connection after the bank has refused the renewed ones too',
    delaysMs: [10 * MINUTE_MS],
    ends: 'when the bank accepts them',
    why: 'Each renewal at such a bank fails in the same way and counts against its limits.',
  },
  idleTokens: {
    what: 'Renewing the tokens of a connection that nobody has used for a week, whose bank did not respond',
    delaysMs: [DAY_MS],
    ends: 'when the bank renews them, or has ended the consent',
    why: 'Refresh tokens live for weeks. A bank that is down does not get the requests of all idle customers at once.',
  },
  fetchByOthers: {
    what: 'Looking whether another process has fetched the balances of an account',
    delaysMs: [20],
    timeoutMs: 1_400,
    ends: 'when it has',
    why: 'A customer waits. It is one statement for all accounts of the process. A longer deadline of the bank also applies here.',
  },
  renewalByOthers: {
    what: 'Looking whether another process has renewed the tokens of a connection',
    delaysMs: [50],
    timeoutMs: 30 * SECOND_MS,
    ends: 'when it has',
    why: 'A customer waits. It is one indexed read.',
  },
  repeatedBankChoice: {
    what: 'Looking whether the same choice of a bank, sent twice, has been completed by the first request',
    delaysMs: [100],
    timeoutMs: 15 * SECOND_MS,
    ends: 'when it has',
    why: 'A customer waits who pressed a button twice. It is one indexed read.',
  },
  repeatedDecision: {
    what: 'Looking whether the same decision of an opt-in, sent twice, has been completed by the first request',
    delaysMs: [100],
    timeoutMs: 20 * SECOND_MS,
    ends: 'when it has',
    why: 'A customer waits who pressed a button twice. The first request may wait for the bank.',
  },
  platformRedirect: {
    what: 'Looking whether another request has prepared the redirect to the platform',
    delaysMs: [50],
    timeoutMs: 5 * SECOND_MS,
    ends: 'when it has',
    why: 'A customer waits for the last redirect of an opt-in.',
  },
  workerIdle: {
    what: 'Looking for due deliveries, outbox messages, certification runs and scheduled jobs while nobody announces any',
    delaysMs: [SECOND_MS],
    ends: 'when the process stops',
    why: 'New work wakes the worker at once; only retries and work of ended processes wait for this.',
  },
  scheduledJob: {
    what: 'A scheduled job whose run failed',
    delaysMs: doubling(10 * SECOND_MS, 10 * MINUTE_MS),
    ends: 'when it succeeds',
    why: 'A short outage of the database costs seconds; a job that keeps failing does not flood the log.',
  },
  reseal: {
    what: 'Looking for values sealed with a previous key',
    delaysMs: [10 * MINUTE_MS],
    ends: 'when the process stops',
    why: 'A process that still has the old key may have sealed values after the last pass.',
  },
  databaseListen: {
    what: 'Connecting again to receive notifications of the database',
    delaysMs: [500],
    ends: 'when the process stops',
    why: 'Caches are not used without notifications, so reconnecting is urgent.',
  },
  databaseProbe: {
    what: 'Testing that notifications of the database still arrive',
    delaysMs: [SECOND_MS],
    ends: 'when the process stops',
    why: 'Without proof, caches count as incoherent: a withdrawn consent must have effect within 5 s everywhere.',
  },
  dnsQuery: {
    what: 'A DNS query without an answer',
    delaysMs: [SECOND_MS],
    ends: 'after one retry',
    why: 'A lost datagram is common; every outbound request has its own deadline.',
  },
  embeddedStart: {
    what: 'Starting the embedded PostgreSQL server',
    delaysMs: [400],
    ends: `after ${EMBEDDED_START_RETRIES} retries`,
    why: 'Child processes of a killed server hold its shared memory for a few seconds.',
  },
  embeddedReady: {
    what: 'Looking whether the embedded PostgreSQL server accepts connections',
    delaysMs: [20],
    timeoutMs: 30 * SECOND_MS,
    ends: 'when it does',
    why: 'A server on an empty folder starts within a fraction of a second.',
  },
  embeddedRecovery: {
    what: 'Connecting to an embedded PostgreSQL server that recovers from a crash',
    delaysMs: [100],
    timeoutMs: 30 * SECOND_MS,
    ends: 'when it accepts the connection',
    why: 'Recovery replays at most a few minutes of writes.',
  },
  sandboxCertification: {
    what: 'Looking whether a sandbox bank has passed its certification',
    delaysMs: [20],
    ends: 'when its run has ended',
    why: 'Somebody waits for the first start.',
  },
} as const satisfies Readonly<Record<string, RetrySchedule>>

/** The wait after the `failureCount`th failure in a row (from 1), in milliseconds, with the jitter of the schedule. */
export function retryDelayMs(
  { delaysMs, jitter = 0 }: RetrySchedule,
  failureCount: number,
  random: Randomness,
): number {
  const delayMs = delaysMs[Math.min(failureCount, delaysMs.length) - 1]!
  return jitter === 0 ? delayMs : delayMs * (1 - jitter + 2 * jitter * (random.bytes(1)[0]! / 255))
}

/** When to try again, from `now` on: `retryDelayMs` as a time. */
export const retryAt = (schedule: RetrySchedule, failureCount: number, random: Randomness, now: Date): Date =>
  addMs(now, retryDelayMs(schedule, failureCount, random))
