import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import type { ConnectorStatus, EventStream, EventStreamStatus } from './model.ts'

/** A stream as the checks need it. */
export interface StoredStream extends EventStream {
  /** Whether the gateway paused it, because the connector was suspended. */
  readonly isPausedByGateway: boolean
}

/** The streams in which banks send their events. */
export const eventStreamStore = (database: Database) => ({
  /**
   * Claims the checks that are due, of connectors in one of these statuses whose bank has stream control, except those of `without`.
   * Each is then due again after `intervalMs`, by the database's clock.
   */
  async claimChecks(
    statuses: readonly ConnectorStatus[],
    without: readonly string[],
    intervalMs: number,
  ): Promise<string[]> {
    const rows = await database.tables.$queryRaw<{ connector_id: string }[]>`
      insert into event_stream as known (connector_id, status, check_at)
      select connector.id, 'UNKNOWN', statement_timestamp() + ${intervalMs}::int * interval '1 millisecond'
      from connector left join event_stream on event_stream.connector_id = connector.id
      where connector.status = any(${[...statuses]}) and connector.id <> all(${[...without]})
        and connector.registration #> '{events,stream}' is not null
        and coalesce(event_stream.check_at <= statement_timestamp(), true)
      order by connector.id
      on conflict (connector_id) do update set check_at = excluded.check_at where known.check_at <= statement_timestamp()
      returning connector_id`
    return rows.map(({ connector_id: connectorId }) => connectorId)
  },

  /** Makes the next check due at once. */
  async checkNow(tx: Transaction, connectorId: string): Promise<void> {
    await tablesIn(tx).$executeRaw`
      update event_stream set check_at = statement_timestamp() where connector_id = ${connectorId}`
  },

  /** The stream of a connector. Undefined if its first check was not claimed yet. */
  async find(connectorId: string): Promise<StoredStream | undefined> {
    const row = await database.tables.eventStream.findUnique({
      where: { connectorId },
      select: {
        status: true,
        checkedAt: true,
        verificationRequestedAt: true,
        verifiedAt: true,
        isPausedByGateway: true,
      },
    })
    return row ? { ...row, status: row.status as EventStreamStatus } : undefined
  },

  /** Stores the status that the bank returned. */
  async recordCheck(
    connectorId: string,
    stream: { readonly status: EventStreamStatus; readonly checkedAt: Date; readonly isPausedByGateway: boolean },
  ): Promise<void> {
    await database.tables.eventStream.updateMany({ where: { connectorId }, data: stream })
  },

  /** Stores the status that the bank reported by an event. */
  async recordUpdate(connectorId: string, status: EventStreamStatus, checkedAt: Date): Promise<void> {
    await database.tables.eventStream.updateMany({ where: { connectorId }, data: { status, checkedAt } })
  },

  /** Stores that a verification is requested with this state. Replaces an earlier one. */
  async startVerification(connectorId: string, verificationDigest: string, requestedAt: Date): Promise<void> {
    const data = { verificationDigest, verificationRequestedAt: requestedAt }
    await database.tables.eventStream.updateMany({ where: { connectorId }, data })
  },

  /** Deletes the verification with this state, because the request failed or the bank has no verification endpoint. */
  async cancelVerification(connectorId: string, verificationDigest: string): Promise<void> {
    const data = { verificationDigest: null, verificationRequestedAt: null }
    await database.tables.eventStream.updateMany({ where: { connectorId, verificationDigest }, data })
  },

  /** Stores that the bank sent the state of the last verification. False if it is another one. */
  async confirmVerification(connectorId: string, verificationDigest: string, verifiedAt: Date): Promise<boolean> {
    const where = { connectorId, verificationDigest }
    return (await database.tables.eventStream.updateMany({ where, data: { verifiedAt } })).count === 1
  },
})

/** The store of `eventStreamStore`. */
export type EventStreamStore = ReturnType<typeof eventStreamStore>
