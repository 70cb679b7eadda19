export { createOutbox, type Outbox, type OutboxHandlers } from './service.ts'
