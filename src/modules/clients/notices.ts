import { newId } from '../../kernel/ids.ts'
import { connectionByTime, type Connection, type PageArguments } from '../../kernel/pagination.ts'
import { expiredBefore } from '../../kernel/retention.ts'
import type { World } from '../../kernel/world.ts'
import type { Database, Sql } from '../../storage/database.ts'
import type { Mail } from '../mail/index.ts'
import type { ClientNotice } from './model.ts'
import { noticeStore } from './notice-store.ts'

/** Notices to the owners of clients: in the API, and by email to the contact of the client. */
export interface ClientNotices {
  /** Records notices, and queues an email for each, in the transaction of `sql`. */
  record(sql: Sql, notices: readonly Pick<ClientNotice, 'clientId' | 'kind' | 'subjectId'>[]): Promise<void>
  /** A page of the client's notices, newest first. Throws `INVALID_INPUT` with every fault of `page`. */
  list(clientId: string, page: PageArguments): Promise<Connection<ClientNotice>>
  /** Deletes notices of more than 90 days ago. Returns their number. */
  deleteOld(): Promise<number>
}

/** Creates the notices. */
export function createNotices(
  database: Database,
  { clock, randomness, log }: Pick<World, 'clock' | 'randomness' | 'log'>,
  mail: Mail,
): ClientNotices {
  const store = noticeStore(database)
  return {
    async record(sql, notices) {
      for (const { clientId, kind } of notices) log.info('client.notice', { clientId, code: kind })
      const added = notices.map((notice) => ({ ...notice, id: newId('ntce', randomness) }))
      await store.add(sql, added, clock.now())
      await mail.queue(
        sql,
        notices.map(({ clientId, kind: template, subjectId }) => ({
          template,
          recipient: { kind: 'CLIENT', id: clientId },
          subjectId,
        })),
      )
    },

    list: (clientId, page) =>
      connectionByTime(
        page,
        (id) => store.position(clientId, id),
        (slice) => store.slice(clientId, slice),
      ),

    deleteOld: () => store.deleteBefore(expiredBefore('client_notice', clock.now())),
  }
}
