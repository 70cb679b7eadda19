import { deleteInBatches } from '../../storage/batch-delete.ts'
import type { Database } from '../../storage/database.ts'
import type { EventCount, EventOutcome } from './model.ts'

/** Counts of the events of banks, by day. */
export const eventCountStore = (database: Database) => ({
  async add(counts: readonly EventCount[]): Promise<void> {
    await database.tables.$executeRaw`
      insert into bank_event_count as known (connector_id, day, outcome, event_type, count)
      select "connectorId", day, outcome, coalesce("eventType", ''), count
      from jsonb_to_recordset(${JSON.stringify(counts)}::jsonb) as counted (
        "connectorId" text, day date, outcome text, "eventType" text, count int)
      order by "connectorId", day, outcome, coalesce("eventType", '')
      on conflict (connector_id, day, outcome, event_type) do update set count = known.count + excluded.count`
  },

  /** The counts of a connector since this day, newest day first, and the most frequent first. */
  async find(connectorId: string, since: Date, limit: number): Promise<EventCount[]> {
    const rows = await database.tables.bankEventCount.findMany({
      where: { connectorId, day: { gte: since } },
      orderBy: [{ day: 'desc' }, { count: 'desc' }, { outcome: 'asc' }, { eventType: 'asc' }],
      take: limit,
    })
    return rows.map(({ outcome, eventType, ...row }) => ({
      ...row,
      outcome: outcome as EventOutcome,
      eventType: eventType === '' ? null : eventType,
    }))
  },

  async deleteBefore(day: Date): Promise<number> {
    // As a text, because the driver would send the day that this is in the time zone of the machine.
    const values = [day.toISOString().slice(0, 10)]
    return deleteInBatches(database, { table: 'bank_event_count', where: 'day < $1', orderBy: 'day', values })
  },
})
/** The store of the counts of events. */
export type EventCountStore = ReturnType<typeof eventCountStore>
