export { createDeliveries, type Deliveries, type WebhookMessage } from './service.ts'
export { deliveriesResolvers } from './resolvers.ts'
