import { newId } from '../../kernel/ids.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { BankHealth } from './health.ts'
import type { Connector, Notice, NoticeKind } from './model.ts'
import type { BankStore } from './store.ts'

/** What partners and admins are told of their connectors. */
export interface Notices {
  record(connectorId: string, kind: NoticeKind, operation?: Notice['operation']): Promise<void>
  /** The newest first. */
  recentNotices(connectorId: string): Promise<Notice[]>
  /** Tells of every kind of call that has broken, or is well again, since it was told of last; returns how many. */
  recordHealthChanges(connectors: readonly Connector[]): Promise<number>
}

const NOTICE_LIMIT = 20

/** Kept in a table, so that whoever was not looking finds them; and in the log and the metrics, for whoever is on duty. */
export function createNotices(
  store: BankStore,
  health: BankHealth,
  database: Database,
  { clock, randomness, log }: World,
): Notices {
  async function record(connectorId: string, kind: NoticeKind, operation: Notice['operation'] = null): Promise<void> {
    log.warn('connector.notice', { connectorId, code: kind, ...(operation && { operation }) })
    await store.addNotice({ id: newId('ntce', randomness), connectorId, at: clock.now(), kind, operation })
  }

  return {
    record,
    recentNotices: (connectorId) => store.notices(connectorId, NOTICE_LIMIT),

    // One process at a time, so that nothing is told twice.
    recordHealthChanges: (connectors) =>
      database.withAdvisoryLock('bank-notices', async () => {
        let recordedCount = 0
        for (const { id } of connectors)
          for (const { operation, status } of await health.operationHealth(id)) {
            const lastKind = await store.lastNotice(id, operation)
            const kind = status === 'DOWN' ? 'BROKEN' : status === 'HEALTHY' ? 'RECOVERED' : undefined
            if (!kind || kind === (lastKind ?? 'RECOVERED')) continue
            await record(id, kind, operation)
            recordedCount++
          }
        return recordedCount
      }),
  }
}
