import { addMs, DAY_MS, subtractMs } from '../../kernel/clock.ts'
import { newId } from '../../kernel/ids.ts'
import type { Metrics } from '../../kernel/metrics.ts'
import { expiredBefore } from '../../kernel/retention.ts'
import { GIVE_UP_MS, RETRIES, retryAt } from '../../kernel/retry.ts'
import type { World } from '../../kernel/world.ts'
import type { Database, Sql } from '../../storage/database.ts'
import type { ClaimedMail, MailRecipient, MailTransport, NewMail } from './model.ts'
import { mailStore } from './store.ts'
import { renderMail } from './texts.ts'

/** Looks up the present address of each kind of recipient; null if there is none. */
export type MailAddresses = Readonly<Record<MailRecipient['kind'], (id: string) => Promise<string | null>>>

/** Email to the contacts of clients: queued with the change that it is about, and sent by a worker. */
export interface Mail {
  /** Queues messages in the transaction of `sql`. Beyond ten messages a day, a recipient gets none. */
  queue(sql: Sql, mails: readonly NewMail[]): Promise<void>
  /** Sends up to five due messages. Returns whether more may be due. Does nothing without a mail server. */
  sendDue(addresses: MailAddresses): Promise<boolean>
  /** Deletes messages that were queued more than 30 days ago. Returns their number. */
  deleteOld(): Promise<number>
}

/** The dependencies of mail. */
export interface MailDependencies {
  readonly database: Database
  readonly world: Pick<World, 'clock' | 'randomness' | 'log'>
  readonly metrics: Pick<Metrics, 'mails'>
  /** The origin of the gateway. */
  readonly issuer: string
  /** Absent if no mail server is set: then messages are queued, and deleted unsent. */
  readonly mailTransport: MailTransport | undefined
}

const BATCH_SIZE = 5
/** Longer than the time limits of one attempt. After it, messages of a process that was killed are due again. */
const LEASE_MS = 90_000
/** Bounds what somebody can cause who sets another person's address as the contact. */
const MAX_PER_DAY = 10

/** Creates mail. Sends nothing until `sendDue`. */
export function createMail({ database, world, metrics, issuer, mailTransport }: MailDependencies): Mail {
  const store = mailStore(database)

  async function send(transport: MailTransport, mail: ClaimedMail, addresses: MailAddresses): Promise<void> {
    const { id, template, recipient, subjectId, createdAt, attemptCount } = mail
    const to = await addresses[recipient.kind](recipient.id)
    if (to === null) return store.end(mail, 'DROPPED')
    const content = renderMail(template, { gateway: issuer, recipientId: recipient.id, subjectId })
    const outcome = await transport.send({ id, to, ...content, date: world.clock.now() })
    metrics.mails.inc({ outcome: outcome.toLowerCase() })
    if (outcome !== 'FAILED') return store.end(mail, outcome === 'SENT' ? 'SENT' : 'FAILED')
    const nextAttemptAt = retryAt(RETRIES.mail, attemptCount + 1, world.randomness, world.clock.now())
    if (nextAttemptAt <= addMs(createdAt, GIVE_UP_MS.mail)) return store.reschedule(mail, nextAttemptAt)
    world.log.warn('mail.given_up', { messageId: id })
    return store.end(mail, 'FAILED')
  }

  return {
    async queue(sql, mails) {
      const now = world.clock.now()
      const added = mails.map((mail) => ({ ...mail, id: newId('mail', world.randomness) }))
      if (added.length > 0) await store.add(sql, added, { now, since: subtractMs(now, DAY_MS), maxCount: MAX_PER_DAY })
    },

    async sendDue(addresses) {
      if (!mailTransport) return false
      const now = world.clock.now()
      const mails = await store.claim(now, subtractMs(now, GIVE_UP_MS.mail), BATCH_SIZE, LEASE_MS)
      await Promise.all(mails.map((mail) => send(mailTransport, mail, addresses)))
      return mails.length === BATCH_SIZE
    },

    deleteOld: () => store.deleteQueuedBefore(expiredBefore('mail_message', world.clock.now())),
  }
}
