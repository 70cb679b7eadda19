export { createAccounts, type Accounts } from './service.ts'
export type { OpenedAccount } from './model.ts'
export { accountsResolvers } from './resolvers.ts'
