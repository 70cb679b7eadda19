export { createDeliveries, type Deliveries } from './service.ts'
export type { WebhookMessage } from './model.ts'
export { deliveriesResolvers } from './resolvers.ts'
