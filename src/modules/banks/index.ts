export { createBanks, type Banks } from './service.ts'
export { holdsForbiddenAddress } from './registration.ts'
export type { Bank } from './model.ts'
export { banksResolvers, windowOf } from './resolvers.ts'
