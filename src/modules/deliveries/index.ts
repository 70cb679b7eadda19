export { createDeliveries, type Deliveries } from './service.ts'
export { generateEventKey, publicEventKey } from './security-event.ts'
export { deliveriesResolvers } from './resolvers.ts'
