import { deleteInBatches } from '../../storage/batch-delete.ts'
import type { Database, Sql } from '../../storage/database.ts'
import type { ClaimedMail, MailStatus, NewMail } from './model.ts'

const ADD_SQL = `
  insert into mail_message (id, template, recipient_kind, recipient_id, subject_id, status, created_at, next_attempt_at)
  select id, template, recipient_kind, recipient_id, subject_id, 'PENDING', $6, $6
  from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
    as added (id, template, recipient_kind, recipient_id, subject_id)
  where (
    select count(*) from mail_message known
    where known.recipient_id = added.recipient_id and known.recipient_kind = added.recipient_kind and known.created_at > $7
  ) < $8::int`
const CLAIM_SQL = `
  update mail_message set claimed_until = statement_timestamp() + $4::int * interval '1 millisecond'
  where id in (
    select id from mail_message where status = 'PENDING' and next_attempt_at <= $1 and created_at > $2
      and coalesce(claimed_until <= statement_timestamp(), true)
    order by next_attempt_at limit $3 for update skip locked)
  returning id, template, recipient_kind as "recipientKind", recipient_id as "recipientId", subject_id as "subjectId",
    created_at as "createdAt", attempt_count as "attemptCount", claimed_until as "claimedUntil"`
const END_SQL = `
  update mail_message set status = $3, claimed_until = null where id = $1 and claimed_until = $2 and status = 'PENDING'`
const RESCHEDULE_SQL = `
  update mail_message set next_attempt_at = $3, attempt_count = attempt_count + 1, claimed_until = null
  where id = $1 and claimed_until = $2 and status = 'PENDING'`

type ClaimedRow = Omit<ClaimedMail, 'recipient'> & {
  readonly recipientKind: ClaimedMail['recipient']['kind']
  readonly recipientId: string
}

/** Identifies a claim. */
type Claim = Pick<ClaimedMail, 'id' | 'claimedUntil'>

/** Messages that are to be sent. A claim has a lease by the database's clock; what it changes is changed while the claim is held. */
export const mailStore = (database: Database) => ({
  /** Adds messages that are due now. A recipient of `maxCount` messages since `since` gets no more. */
  async add(
    sql: Sql,
    mails: readonly (NewMail & { readonly id: string })[],
    { now, since, maxCount }: { readonly now: Date; readonly since: Date; readonly maxCount: number },
  ): Promise<void> {
    await sql.query('add-mails', ADD_SQL, [
      mails.map(({ id }) => id),
      mails.map(({ template }) => template),
      mails.map(({ recipient }) => recipient.kind),
      mails.map(({ recipient }) => recipient.id),
      mails.map(({ subjectId }) => subjectId),
      now,
      since,
      maxCount,
    ])
  },

  /** Claims up to `limit` due messages that were queued after `since` and that no other process has claimed. */
  async claim(now: Date, since: Date, limit: number, leaseMs: number): Promise<ClaimedMail[]> {
    const rows = await database.query<ClaimedRow>('claim-mails', CLAIM_SQL, [now, since, limit, leaseMs])
    return rows.map(({ recipientKind, recipientId, ...row }) => ({
      ...row,
      recipient: { kind: recipientKind, id: recipientId },
    }))
  },

  /** Ends a claimed message. */
  async end({ id, claimedUntil }: Claim, status: MailStatus): Promise<void> {
    await database.query('end-mail', END_SQL, [id, claimedUntil, status])
  },

  /** Counts a failed attempt and schedules the next one. */
  async reschedule({ id, claimedUntil }: Claim, nextAttemptAt: Date): Promise<void> {
    await database.query('reschedule-mail', RESCHEDULE_SQL, [id, claimedUntil, nextAttemptAt])
  },

  /** Deletes messages that were queued before this time. Returns their number. */
  deleteQueuedBefore: (before: Date): Promise<number> =>
    deleteInBatches(database, {
      table: 'mail_message',
      where: 'created_at < $1',
      orderBy: 'created_at',
      values: [before],
    }),
})
