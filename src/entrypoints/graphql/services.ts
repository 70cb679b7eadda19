import type { Accounts } from '../../modules/accounts/index.ts'
import type { Alerts } from '../../modules/alerts/index.ts'
import type { Banks } from '../../modules/banks/index.ts'
import type { Clients } from '../../modules/clients/index.ts'
import type { Consents } from '../../modules/consents/index.ts'
import type { Deliveries } from '../../modules/deliveries/index.ts'
import type { Jobs } from '../../modules/jobs/index.ts'
import type { AuditLog } from '../../modules/ledger/index.ts'

/** The modules that the resolvers call. */
export interface Services {
  readonly accounts: Accounts
  readonly alerts: Alerts
  readonly auditLog: AuditLog
  readonly banks: Banks
  readonly clients: Clients
  readonly consents: Consents
  readonly deliveries: Deliveries
  readonly jobs: Jobs
}
