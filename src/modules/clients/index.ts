export { createClients, hashOf, type Clients } from './service.ts'
export type { Client } from './model.ts'
export type { Charge, Quotas } from './quota.ts'
export { clientsResolvers } from './resolvers.ts'
