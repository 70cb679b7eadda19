import type { TimePosition, TimeSlice } from '../../kernel/pagination.ts'
import type { Database } from '../../storage/database.ts'
import { sliceByTime } from '../../storage/time-slice.ts'
import type { Notice, NoticeKind } from './model.ts'
import type { BankOperation } from './operations.ts'

/** Notices about connectors. */
export const noticeStore = (database: Database) => ({
  async add(notice: Notice): Promise<void> {
    await database.tables.connectorNotice.create({ data: notice })
  },

  async slice(connectorId: string, slice: TimeSlice): Promise<Notice[]> {
    const { where, ...order } = sliceByTime('occurredAt', slice)
    return (await database.tables.connectorNotice.findMany({ where: { ...where, connectorId }, ...order })) as Notice[]
  },

  async position(connectorId: string, id: string): Promise<TimePosition | undefined> {
    const row = await database.tables.connectorNotice.findFirst({
      where: { connectorId, id },
      select: { occurredAt: true },
    })
    return row ? { id, at: row.occurredAt } : undefined
  },

  /** Whether there is a notice of this kind since a time. */
  async exists(connectorId: string, kind: NoticeKind, since: Date): Promise<boolean> {
    const where = { connectorId, kind, occurredAt: { gte: since } }
    return (await database.tables.connectorNotice.findFirst({ where, select: { id: true } })) !== null
  },

  /** The newest notice about one operation. */
  async lastKind(connectorId: string, operation: BankOperation): Promise<NoticeKind | undefined> {
    const row = await database.tables.connectorNotice.findFirst({
      where: { connectorId, operation },
      orderBy: [{ occurredAt: 'desc' }, { id: 'desc' }],
    })
    return row?.kind as NoticeKind | undefined
  },
})
/** The store of notices. */
export type NoticeStore = ReturnType<typeof noticeStore>
