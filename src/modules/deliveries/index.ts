export { createDeliveries, type Deliveries } from './service.ts'
export { deliveriesResolvers } from './resolvers.ts'
