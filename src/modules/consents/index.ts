export { createConsents, type Consents } from './service.ts'
export type { Grant } from './grant.ts'
export type { Consent, Receipt, Shared, SharedAccount } from './model.ts'
export { consentsResolvers } from './resolvers.ts'
