import { startOfHour } from '../../kernel/clock.ts'
import { newId } from '../../kernel/ids.ts'
import type { World } from '../../kernel/world.ts'
import type { SqlTransaction } from '../../storage/database.ts'
import type { Seal } from '../../storage/seal.ts'
import type { AlertSubject } from '../consents/index.ts'
import type { Alert, CrossedLine } from './model.ts'
import type { AlertStore } from './store.ts'
import { storeAlerts, type StoringDependencies } from './storing.ts'
import { shownAtOf } from './window.ts'

/** The crossing of a line that a customer drew for one client. */
export interface LineCrossing extends AlertSubject {
  readonly accountId: string
  readonly clientId: string
  readonly balanceLine: CrossedLine
}

/** The dependencies of `createLineAlerts`. */
export interface LineAlertsDependencies extends StoringDependencies {
  readonly world: Pick<World, 'clock' | 'randomness'>
  readonly seal: Seal
}

/**
 * Creates the function that stores an alert about a line, in the transaction of the caller. It is shown like an alert of a bank
 * that is not urgent: when the window of its hour closes.
 */
export function createLineAlerts({ world, seal, ...dependencies }: LineAlertsDependencies, store: AlertStore) {
  return async (tx: SqlTransaction, crossing: LineCrossing): Promise<void> => {
    const now = world.clock.now()
    const { bankId, customerId, accountId, clientId, balanceLine } = crossing
    const alert: Alert = {
      id: newId('alrt', world.randomness),
      bankId,
      customerId,
      accountId,
      clientId,
      balanceLine,
      type: 'BALANCE_LINE_CROSSED',
      severity: 'INFO',
      requestedAction: 'NONE',
      occurredAt: startOfHour(now),
      createdAt: now,
      shownAt: shownAtOf({ severity: 'INFO', customerId }, now, seal),
      question: null,
    }
    await storeAlerts(dependencies, store, tx, [alert], now)
  }
}
