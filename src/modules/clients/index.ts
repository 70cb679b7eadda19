export { createClients, type Clients } from './service.ts'
export type { Client } from './model.ts'
export { clientsResolvers } from './resolvers.ts'
