export { createOutbox, type Outbox, type OutboxHandlers, type Signal } from './service.ts'
