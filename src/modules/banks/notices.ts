import { newId } from '../../kernel/ids.ts'
import { connectionByTime, type Connection, type PageArguments } from '../../kernel/pagination.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { BankHealth } from './health.ts'
import type { Connector, Notice, NoticeKind } from './model.ts'
import type { NoticeStore } from './notice-store.ts'

/** Notices to partners and admins about their connectors. */
export interface Notices {
  record(connectorId: string, kind: NoticeKind, operation?: Notice['operation']): Promise<void>
  /** Whether a notice of this kind was recorded since a time. */
  exists(connectorId: string, kind: NoticeKind, since: Date): Promise<boolean>
  /** A page of the connector's notices, newest first. Throws `INVALID_INPUT` with every fault of `page`. */
  page(connectorId: string, page: PageArguments): Promise<Connection<Notice>>
  /** Records a notice for each operation that failed or recovered since its last notice. Returns their number. */
  recordHealthChanges(connectors: readonly Connector[]): Promise<number>
}

/** Stores notices for the partner and logs them for the operator. */
export function createNotices(
  store: NoticeStore,
  health: BankHealth,
  database: Database,
  { clock, randomness, log }: World,
): Notices {
  async function record(connectorId: string, kind: NoticeKind, operation: Notice['operation'] = null): Promise<void> {
    log.warn('connector.notice', { connectorId, code: kind, ...(operation && { operation }) })
    await store.add({ id: newId('ntce', randomness), connectorId, occurredAt: clock.now(), kind, operation })
  }

  return {
    record,
    exists: (connectorId, kind, since) => store.exists(connectorId, kind, since),
    page: (connectorId, page) =>
      connectionByTime(
        page,
        (id) => store.position(connectorId, id),
        (slice) => store.slice(connectorId, slice),
      ),

    // One process at a time, so that no notice is recorded twice.
    recordHealthChanges: (connectors) =>
      database.withAdvisoryLock('bank-notices', async () => {
        let recordedCount = 0
        for (const { id } of connectors)
          for (const { operation, status } of await health.operationHealth(id)) {
            const lastKind = await store.lastKind(id, operation)
            const kind = status === 'DOWN' ? 'DOWN' : status === 'HEALTHY' ? 'RECOVERED' : undefined
            if (!kind || kind === (lastKind ?? 'RECOVERED')) continue
            await record(id, kind, operation)
            recordedCount++
          }
        return recordedCount
      }),
  }
}
