export { createBanks, type Banks } from './service.ts'
export { hasForbiddenAddress as holdsForbiddenAddress } from './registration.ts'
export type { Bank, CertificationRun, OperationHealth, Outage } from './model.ts'
export { banksResolvers } from './resolvers.ts'
