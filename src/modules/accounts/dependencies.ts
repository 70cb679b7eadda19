import type { Metrics } from '../../kernel/metrics.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Signals } from '../../storage/signals.ts'
import type { Alerts } from '../alerts/index.ts'
import type { Banks } from '../banks/index.ts'
import type { Consents } from '../consents/index.ts'
import type { Ledger } from '../ledger/index.ts'

/** Dependencies of the module. */
export interface AccountsDependencies {
  database: Database
  world: World
  seal: Seal
  banks: Banks
  consents: Consents
  ledger: Ledger
  alerts: Pick<Alerts, 'reportLineCrossed'>
  signals: Signals
  metrics: Pick<Metrics, 'balanceFetchesWaiting'>
}
