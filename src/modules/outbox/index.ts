export { createOutbox, type NewMessage, type Outbox, type OutboxHandlers } from './service.ts'
export {
  TOPICS,
  type FailingMessages,
  type LockedMessage,
  type OutboxQueue,
  type OutboxTopic,
  type PlannedTopic,
} from './model.ts'
