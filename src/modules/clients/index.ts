export { createClients, type Clients } from './service.ts'
export type { Client, Platform, TokenBinding } from './model.ts'
export { clientsResolvers } from './resolvers.ts'
