/** How long keeping a promise can take: at once, or as long as a bank does, for which no other promise may wait. */
export type OutboxQueue = 'FAST' | 'SLOW'

/** What is promised to be done after a commit. A message is a topic and the id of what it is about, never data. */
export const OUTBOX_TOPICS = {
  'alert.received': 'FAST',
  'consent.changed': 'FAST',
  // Ends the consents of all its customers, one after the other.
  'client.retired': 'SLOW',
  'connection.end': 'SLOW',
  'connection.check': 'SLOW',
  'sign-in.end': 'SLOW',
} as const satisfies Readonly<Record<string, OutboxQueue>>
/** One kind of promise. */
export type OutboxTopic = keyof typeof OUTBOX_TOPICS

/** The promises that are kept at the same pace. */
export const topicsOf = (queue: OutboxQueue): OutboxTopic[] =>
  (Object.keys(OUTBOX_TOPICS) as OutboxTopic[]).filter((topic) => OUTBOX_TOPICS[topic] === queue)

/** A promise that was claimed. */
export interface OutboxMessage {
  readonly id: string
  readonly topic: OutboxTopic
  readonly subjectId: string
  /** Whom its work waits for, such as a bank; its own subject where nobody was named. */
  readonly groupId: string
  /** Attempts that failed. */
  readonly attemptCount: number
  /** When the claim ends, by the database's clock. Whoever claims it later has another. */
  readonly claimedUntil: Date
}
