import { newId } from '../../kernel/ids.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { BankHealth } from './health.ts'
import type { Connector, Notice, NoticeKind } from './model.ts'
import type { BankStore } from './store.ts'

/** What partners and admins are told of their connectors. */
export interface Notices {
  tell(connectorId: string, kind: NoticeKind, operation?: Notice['operation']): Promise<void>
  /** The newest first. */
  of(connectorId: string): Promise<Notice[]>
  /** Tells of every kind of call that has broken, or is well again, since it was told of last; returns how many. */
  watch(connectors: readonly Connector[]): Promise<number>
}

const SHOWN = 20

/** Kept in a table, so that whoever was not looking finds them; and in the log and the metrics, for whoever is on duty. */
export function createNotices(
  store: BankStore,
  health: BankHealth,
  database: Database,
  { clock, randomness, log }: World,
): Notices {
  async function tell(connectorId: string, kind: NoticeKind, operation: Notice['operation'] = null): Promise<void> {
    log.warn('connector.notice', { connectorId, code: kind, ...(operation && { operation }) })
    await store.addNotice({ id: newId('ntce', randomness), connectorId, at: clock.now(), kind, operation })
  }

  return {
    tell,
    of: (connectorId) => store.notices(connectorId, SHOWN),

    // One process at a time, so that nothing is told twice.
    watch: (connectors) =>
      database.exclusively('bank-notices', async () => {
        let told = 0
        for (const { id } of connectors)
          for (const { operation, status } of await health.of(id)) {
            const last = await store.lastNotice(id, operation)
            const kind = status === 'DOWN' ? 'BROKEN' : status === 'HEALTHY' ? 'REPAIRED' : undefined
            if (!kind || kind === (last ?? 'REPAIRED')) continue
            await tell(id, kind, operation)
            told++
          }
        return told
      }),
  }
}
