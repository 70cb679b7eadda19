import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Idempotency } from '../../storage/idempotency.ts'
import type { Signals } from '../../storage/signals.ts'
import type { Ledger } from '../ledger/index.ts'
import type { Mail } from '../mail/index.ts'
import type { Outbox } from '../outbox/index.ts'

/** Dependencies of the module. */
export interface ClientsDependencies {
  readonly database: Database
  readonly world: World
  readonly ledger: Ledger
  readonly outbox: Outbox
  readonly mail: Mail
  readonly signals: Signals
  readonly idempotency: Idempotency
  /** Whether clients with bearer tokens can be registered: in the sandbox only. */
  readonly isBearerAllowed: boolean
}
