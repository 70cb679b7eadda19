import { DAY_MS, HOUR_MS, MINUTE_MS, subtractMs } from './clock.ts'

/** How long the rows of a table stay. */
export interface TableRetention {
  /** How long after `from` a row is deleted, in milliseconds. Absent if time alone deletes no row. */
  readonly afterMs?: number
  /** What `afterMs` counts from; without it, how long rows stay and why the table is bounded. */
  readonly from: string
  /** Measured: what an alert with one delivery leaves in the table and its indexes, in bytes. Absent if nothing. */
  readonly bytesPerAlert?: number
}

/** Rows that one call of a purge deletes at most. If it deleted as many, the next call may delete more. */
export const MAX_DELETED_ROWS = 200_000

/** Also how long clients can read alerts. */
const ALERT_RETENTION_MS = 90 * DAY_MS
const WITH_CLIENT = 'as long as the client'
const WITH_CONNECTOR = 'as long as the connector'
const WITH_CUSTOMER = 'as long as the customer'
const PROOF = 'for ever: what a customer agreed to, and until when'

/**
 * Every table of the database. docs/OPERATE.md has a table that is generated from this one. The scheduled job `retention` deletes
 * from the tables with a time, in this order: rows before those that they refer to.
 */
export const RETENTION = {
  delivery_attempt: { afterMs: 30 * DAY_MS, from: 'the attempt', bytesPerAlert: 231 },
  delivery: { afterMs: ALERT_RETENTION_MS, from: 'its creation, once it has ended', bytesPerAlert: 986 },
  alert: { afterMs: ALERT_RETENTION_MS, from: 'its receipt', bytesPerAlert: 323 },
  alert_read: { from: 'as long as the alert' },
  alert_question: { from: 'as long as the alert, if its bank takes answers', bytesPerAlert: 572 },
  alert_response: { from: 'as long as the alert, if the customer answered' },
  // As long as the event of the alert can be received.
  alert_detail_view: { afterMs: 8 * DAY_MS, from: 'the report, which came before its alert' },
  alert_phrase: { from: 'until the last consent of the client for the customer ends' },
  // Longer than an event is accepted after it was issued.
  bank_event: { afterMs: 8 * DAY_MS, from: 'its receipt', bytesPerAlert: 221 },
  // Decision 33.
  ledger_entry: { afterMs: 730 * DAY_MS, from: 'the entry', bytesPerAlert: 834 },
  outbox_message: { afterMs: 7 * DAY_MS, from: 'its processing; a planned event at once' },
  delivery_sequence: { from: 'as long as client and customer: one row of 69 bytes for both' },
  mail_message: { afterMs: 30 * DAY_MS, from: 'its queuing; at most ten a day for a recipient' },
  client_notice: { afterMs: 90 * DAY_MS, from: 'the notice' },
  client_usage: { afterMs: 400 * DAY_MS, from: 'its hour' },
  quota_window: { afterMs: 5 * MINUTE_MS, from: 'its minute' },
  idempotency_record: { afterMs: DAY_MS, from: 'the request' },
  oauth_artifact: { afterMs: 0, from: 'its expiry' },
  used_proof: { afterMs: 0, from: 'its expiry' },
  bank_sign_in: { afterMs: DAY_MS, from: 'its expiry, if nothing is left to end at the bank' },
  snapshot: { afterMs: HOUR_MS, from: 'a claim without a balance; a balance with the last consent for its account' },
  disclosure: { afterMs: DAY_MS, from: 'the last disclosure' },
  balance_line: { from: 'until the customer deletes it, or the last consent for it ends; at most two of an account' },
  webhook_secret: { afterMs: 0, from: 'the end of its overlap' },
  bank_call_count: { afterMs: 30 * MINUTE_MS, from: 'its minute' },
  bank_failure_count: { afterMs: 30 * MINUTE_MS, from: 'its minute' },
  response_issue: { afterMs: 30 * DAY_MS, from: 'its day' },
  bank_event_count: { afterMs: 30 * DAY_MS, from: 'its day' },
  customer: { from: 'for ever: without a name, and no row of it grows' },
  pairwise_subject: { from: WITH_CUSTOMER },
  connection: { from: 'as long as its consents; without tokens once it has ended' },
  account: { from: WITH_CUSTOMER },
  consent: { from: PROOF },
  consent_account: { from: PROOF },
  receipt: { from: PROOF },
  webhook_endpoint: { from: WITH_CLIENT },
  registered_operation: { from: WITH_CLIENT },
  client: { from: 'for ever: the ledger names it' },
  organization: { from: 'for ever: receipts name it' },
  admin_enrollment: { from: 'for ever: one row for each enrollment of an admin' },
  bank: { from: 'for ever: consents name it' },
  connector: { from: 'for ever: connections name it' },
  connector_credential: { from: WITH_CONNECTOR },
  event_stream: { from: `${WITH_CONNECTOR}: one row` },
  connector_notice: { from: `${WITH_CONNECTOR}: a few rows for each outage` },
  outage: { from: `${WITH_CONNECTOR}: one row for each announced outage` },
  certification_run: { from: `${WITH_CONNECTOR}: about one row a day` },
  certification_sign_in: { from: 'until the end of the run' },
  certification_access: { from: 'until its consent at the bank has ended' },
  scheduled_job: { from: 'one row for each scheduled job' },
  reseal_progress: { from: 'one row for each sealed column' },
  shared_secret: { from: 'one row for each secret' },
} as const satisfies Readonly<Record<string, TableRetention>>

/** A table whose rows are deleted after a time. */
export type ExpiringTable = {
  [Table in keyof typeof RETENTION]: (typeof RETENTION)[Table] extends { afterMs: number } ? Table : never
}[keyof typeof RETENTION]

/** The tables whose rows are deleted after a time, in the order of their deletion. */
export const EXPIRING_TABLES = Object.entries<TableRetention>(RETENTION).flatMap(([table, { afterMs }]) =>
  afterMs === undefined ? [] : [table as ExpiringTable],
)

/** Deletes the expired rows of each table; each function returns the number of rows. */
export type Purges = Readonly<Record<ExpiringTable, () => Promise<number>>>

/** The time before which the rows of a table have expired. */
export const expiredBefore = (table: ExpiringTable, now: Date): Date => subtractMs(now, RETENTION[table].afterMs)
