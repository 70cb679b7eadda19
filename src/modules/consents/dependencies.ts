import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Signals } from '../../storage/signals.ts'
import type { Banks } from '../banks/index.ts'
import type { Ledger } from '../ledger/index.ts'
import type { Outbox } from '../outbox/index.ts'

/** What consents stand on. */
export interface ConsentsDependencies {
  database: Database
  world: World
  seal: Seal
  banks: Banks
  ledger: Ledger
  outbox: Outbox
  signals: Signals
}
