export { createBanks, type Banks } from './service.ts'
export type { Bank } from './model.ts'
export { banksResolvers } from './resolvers.ts'
