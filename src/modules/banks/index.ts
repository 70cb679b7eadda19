export { createBanks, type Banks } from './service.ts'
export { holdsForbiddenAddress } from './registration.ts'
export type { Bank, OperationHealth } from './model.ts'
export { banksResolvers, windowOf } from './resolvers.ts'
