export { createLedger, type Ledger } from './service.ts'
export type { LedgerKind } from './model.ts'
