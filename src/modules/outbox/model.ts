/** What is promised to be done after a commit. A message is a topic and the id of what it is about, never data. */
export const OUTBOX_TOPICS = ['alert.received', 'consent.changed', 'connection.end'] as const
/** One kind of promise. */
export type OutboxTopic = (typeof OUTBOX_TOPICS)[number]

/** A promise that was claimed. */
export interface OutboxMessage {
  readonly id: string
  readonly topic: OutboxTopic
  readonly subjectId: string
  readonly attemptCount: number
}

/** How long to wait before the next try of a message that failed: 1 s doubling to 10 min. */
export const retryDelayMs = (attemptCount: number): number => Math.min(1_000 * 2 ** Math.min(attemptCount, 20), 600_000)
