import type { Transaction } from '../../kernel/transaction.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Signals } from '../../storage/signals.ts'
import type { Banks } from '../banks/index.ts'
import type { Ledger } from '../ledger/index.ts'
import type { Outbox } from '../outbox/index.ts'

/**
 * What a module that depends on consents changes in its own tables when a consent changes. Runs in the transaction of that
 * change: if a handler throws, all of it is rolled back.
 */
export interface ConsentHandlers {
  /** Called when a consent that was ACTIVE has ended. */
  onConsentEnded(tx: Transaction, consentId: string, now: Date): Promise<void>
  /**
   * Called when a bank has given the number of an account for the first time. From now on `disclosureKey` names the account in
   * place of `previousKey`; a process that has cached the account can use `previousKey` a while longer.
   */
  onDisclosureKeyChanged(tx: Transaction, previousKey: string, disclosureKey: string): Promise<void>
}

/** Dependencies of the module. */
export interface ConsentsDependencies {
  database: Database
  world: World
  seal: Seal
  banks: Banks
  ledger: Ledger
  outbox: Outbox
  signals: Signals
  handlers: ConsentHandlers
}
