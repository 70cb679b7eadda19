export { createDeliveries, type Deliveries, type WebhookMessage } from './service.ts'
export type { Attempt, Delivery, WebhookEndpoint } from './model.ts'
export { deliveriesResolvers } from './resolvers.ts'
