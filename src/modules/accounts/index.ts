export { createAccounts, type Accounts } from './service.ts'
export { accountsResolvers } from './resolvers.ts'
export { customerResolvers } from './customer-resolvers.ts'
export { consentHandlers } from './consent-handlers.ts'
