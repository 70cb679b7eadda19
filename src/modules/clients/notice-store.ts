import type { TimePosition, TimeSlice } from '../../kernel/pagination.ts'
import { deleteInBatches } from '../../storage/batch-delete.ts'
import type { Database, Sql } from '../../storage/database.ts'
import { sliceByTime } from '../../storage/time-slice.ts'
import type { ClientNotice, NoticeKind } from './model.ts'

const ADD_SQL = `
  insert into client_notice (id, client_id, kind, subject_id, occurred_at)
  select id, client_id, kind, subject_id, $5 from unnest($1::text[], $2::text[], $3::text[], $4::text[])
    as added (id, client_id, kind, subject_id)`

/** Notices about clients. */
export const noticeStore = (database: Database) => ({
  async add(sql: Sql, notices: readonly Omit<ClientNotice, 'occurredAt'>[], now: Date): Promise<void> {
    await sql.query('add-client-notices', ADD_SQL, [
      notices.map(({ id }) => id),
      notices.map(({ clientId }) => clientId),
      notices.map(({ kind }) => kind),
      notices.map(({ subjectId }) => subjectId),
      now,
    ])
  },

  async slice(clientId: string, slice: TimeSlice): Promise<ClientNotice[]> {
    const { where, ...order } = sliceByTime('occurredAt', slice)
    const rows = await database.tables.clientNotice.findMany({ where: { ...where, clientId }, ...order })
    return rows.map((row) => ({ ...row, kind: row.kind as NoticeKind }))
  },

  async position(clientId: string, id: string): Promise<TimePosition | undefined> {
    const row = await database.tables.clientNotice.findFirst({
      where: { clientId, id },
      select: { occurredAt: true },
    })
    return row ? { id, at: row.occurredAt } : undefined
  },

  /** Deletes notices from before this time. Returns their number. */
  deleteBefore: (before: Date): Promise<number> =>
    deleteInBatches(database, {
      table: 'client_notice',
      where: 'occurred_at < $1',
      orderBy: 'occurred_at',
      values: [before],
    }),
})
