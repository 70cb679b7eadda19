export { createLedger, type Ledger } from './service.ts'
export type { LedgerEntry, LedgerKind } from './model.ts'
