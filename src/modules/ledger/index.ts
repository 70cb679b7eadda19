export { createAuditLog, readerOf, type AuditLog } from './audit-log.ts'
export { ledgerResolvers } from './resolvers.ts'
export { createLedger, type Ledger } from './service.ts'
export type { Change, LedgerAction } from './model.ts'
