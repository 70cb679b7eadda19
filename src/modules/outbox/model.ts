/** FAST: only the database is involved. SLOW: a message can take as long as a bank, and must not delay those of other groups. */
export type OutboxQueue = 'FAST' | 'SLOW'

/** The topics and their queues. A message has a topic and the ID of its subject, and no data. */
export const OUTBOX_TOPICS = {
  'alert.received': 'FAST',
  'consent.changed': 'FAST',
  // Ends every consent of the client, one after the other.
  'client.retired': 'SLOW',
  // Records the suspension or the resumption of every consent that the change concerns.
  'bank.platform_access_changed': 'SLOW',
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

/** A message that this process has claimed. */
export interface OutboxMessage {
  readonly id: string
  readonly topic: OutboxTopic
  readonly subjectId: string
  /** What limits its concurrency, such as a bank; the subject if no group was given. */
  readonly groupId: string
  /** Failed attempts. */
  readonly attemptCount: number
  /** The end of the lease, by the database's clock. Every claim has a different one. */
  readonly claimedUntil: Date
}
