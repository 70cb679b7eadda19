export { createBanks, type Banks } from './service.ts'
export type { Bank, Connector } from './model.ts'
export { banksResolvers } from './resolvers.ts'
