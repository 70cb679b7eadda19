import type { Database } from '../../storage/database.ts'
import { accountStore } from './account-store.ts'
import { connectionStore } from './connection-store.ts'
import { consentStore } from './consent-store.ts'
import { customerStore } from './customer-store.ts'
import { receiptStore } from './receipt-store.ts'
import { signInStore } from './sign-in-store.ts'

/** The stores of the module. Each is the only one that writes to its tables. */
export type Stores = ReturnType<typeof createStores>

/** Creates the stores of the module. */
export const createStores = (database: Database) => ({
  consents: consentStore(database),
  receipts: receiptStore(database),
  connections: connectionStore(database),
  signIns: signInStore(database),
  customers: customerStore(database),
  accounts: accountStore(database),
})
