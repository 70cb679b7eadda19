import type { ErrorCode } from '../../kernel/errors.ts'

/**
 * FAST: only the database is involved. SLOW: a message can take as long as a bank, and must not delay those of other groups.
 * URGENT: like SLOW, with slots and a schedule of its own, because a customer waits. PLANNING: many messages are handled by one
 * transaction, which also removes them.
 */
export const OUTBOX_QUEUES = ['FAST', 'SLOW', 'URGENT', 'PLANNING'] as const
/** The queue of a message. */
export type OutboxQueue = (typeof OUTBOX_QUEUES)[number]

/** The topics and their queues. A message has a topic and the ID of its subject, and no data. */
export const OUTBOX_TOPICS = {
  'alert.urgent': 'PLANNING',
  'alert.received': 'PLANNING',
  'consent.expiring': 'PLANNING',
  // Sends a customer's answer to the bank.
  'alert-response.given': 'URGENT',
  // Applies a report that came while its alert was being stored.
  'alert-detail.viewed': 'FAST',
  'consent.changed': 'FAST',
  // Ends every consent of the client, one after the other.
  'client.retired': 'SLOW',
  // Records the suspension or the resumption of every consent that the change concerns.
  'bank.platform_access_changed': 'SLOW',
  // Ends the pending deliveries of a disabled endpoint.
  'webhook-endpoint.disabled': 'SLOW',
  'connection.end': 'SLOW',
  'connection.check': 'SLOW',
  'sign-in.end': 'SLOW',
  'certification-access.end': 'SLOW',
} as const satisfies Readonly<Record<string, OutboxQueue>>
/** What a message is about. */
export type OutboxTopic = keyof typeof OUTBOX_TOPICS

/** The topics of one queue. */
export const topicsOf = (queue: OutboxQueue): OutboxTopic[] =>
  (Object.keys(OUTBOX_TOPICS) as OutboxTopic[]).filter((topic) => OUTBOX_TOPICS[topic] === queue)

/** The topics whose messages are handled one by one. */
export type HandledTopic = {
  [Topic in OutboxTopic]: (typeof OUTBOX_TOPICS)[Topic] extends 'PLANNING' ? never : Topic
}[OutboxTopic]

/** The topics whose messages are handled together. */
export type PlannedTopic = Exclude<OutboxTopic, HandledTopic>

/** The topics of all queues. */
export const TOPICS = Object.keys(OUTBOX_TOPICS) as OutboxTopic[]

/** The pending messages of a topic that keep failing. */
export interface FailingMessages {
  readonly topic: OutboxTopic
  readonly count: number
  /** When the oldest of them was added. */
  readonly since: Date
  /** The most failed attempts of one of them. */
  readonly maxAttemptCount: number
  /** The last error of the oldest of them. */
  readonly lastErrorCode: ErrorCode | null
}

/** A message that a transaction has locked. */
export interface LockedMessage {
  readonly id: string
  readonly subjectId: string
  /** Failed attempts. */
  readonly attemptCount: number
}

/** A message that this process has claimed. */
export interface OutboxMessage {
  readonly id: string
  readonly topic: HandledTopic
  readonly subjectId: string
  /** What limits its concurrency, such as a bank; the subject if no group was given. */
  readonly groupId: string
  /** Failed attempts. */
  readonly attemptCount: number
  /** The end of the lease, by the database's clock. Every claim has a different one. */
  readonly claimedUntil: Date
}
