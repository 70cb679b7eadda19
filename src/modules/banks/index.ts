export { createBanks, type Banks } from './service.ts'
export { hasForbiddenAddress } from './registration.ts'
export type { Bank, OperationHealth } from './model.ts'
export { banksResolvers } from './resolvers.ts'
