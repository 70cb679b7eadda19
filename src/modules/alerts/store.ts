import type {
  AlertAction,
  AlertAnswer,
  AlertSeverity,
  AlertType,
  BalanceLineDirection,
} from '../../kernel/alert-vocabulary.ts'
import type { CustomerOfClient } from '../../kernel/request-context.ts'
import { deleteInBatches } from '../../storage/batch-delete.ts'
import type { Database, Sql } from '../../storage/database.ts'
import type { Alert } from './model.ts'

interface AlertRow extends Omit<Alert, 'type' | 'severity' | 'requestedAction' | 'balanceLine' | 'question'> {
  type: string
  severity: string
  requestedAction: string
  lineId: string | null
  lineDirection: string | null
  options: string[] | null
  respondBy: Date | null
  detailViewedAt: Date | null
}

const ALERT_COLUMNS = `alert.id, bank_id as "bankId", customer_id as "customerId", account_id as "accountId", type, severity,
  requested_action as "requestedAction", occurred_at as "occurredAt", created_at as "createdAt", shown_at as "shownAt",
  client_id as "clientId", balance_line_id as "lineId", balance_line_direction as "lineDirection",
  options, respond_by as "respondBy", detail_viewed_at as "detailViewedAt"`
const WITH_QUESTION = 'alert left join alert_question on alert_question.alert_id = alert.id'
const ADD_SQL = `
  insert into alert (id, bank_id, customer_id, account_id, type, severity, requested_action, occurred_at, created_at, shown_at,
    client_id, balance_line_id, balance_line_direction)
  select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[],
    $9::timestamptz[], $10::timestamptz[], $11::text[], $12::text[], $13::text[])`
const FIND_SQL = `select ${ALERT_COLUMNS} from ${WITH_QUESTION} where alert.id = any($1)`
// Of each bank by itself: a bank that sends many alerts must not hide those of another one.
const NEWEST_SQL = `
  select ${ALERT_COLUMNS} from (select distinct listed.id from unnest($3::text[]) as listed (id)) as bank
  cross join lateral (
    select * from alert
    where customer_id = $1 and bank_id = bank.id and shown_at <= $2 and coalesce(client_id = $7, true) and exists (
      select from unnest($3::text[], $4::text[], $5::timestamptz[]) as listed (bank_id, account_id, since)
      where listed.bank_id = alert.bank_id and coalesce(alert.account_id = listed.account_id, true) and alert.created_at >= since)
    order by shown_at desc, created_at desc, id desc limit $6) as alert
  left join alert_question on alert_question.alert_id = alert.id
  order by shown_at desc, created_at desc, alert.id desc`

const toAlert = ({ lineId, lineDirection, options, respondBy, detailViewedAt, ...row }: AlertRow): Alert => ({
  ...row,
  balanceLine: lineId === null ? null : { id: lineId, direction: lineDirection as BalanceLineDirection },
  type: row.type as AlertType,
  severity: row.severity as AlertSeverity,
  requestedAction: row.requestedAction as AlertAction,
  question: options && respondBy && { options: options as AlertAnswer[], respondBy, detailViewedAt },
})

/** An account whose alerts are listed, with those of its bank that are about no single account, from `since` on. */
export interface ListedAccount {
  readonly bankId: string
  readonly accountId: string
  readonly since: Date
}

/** Alerts. */
export const alertStore = (database: Database) => ({
  /** Adds alerts in one statement. */
  async add(sql: Sql, alerts: readonly Alert[]): Promise<void> {
    await sql.query('add-alerts', ADD_SQL, [
      alerts.map(({ id }) => id),
      alerts.map(({ bankId }) => bankId),
      alerts.map(({ customerId }) => customerId),
      alerts.map(({ accountId }) => accountId),
      alerts.map(({ type }) => type),
      alerts.map(({ severity }) => severity),
      alerts.map(({ requestedAction }) => requestedAction),
      alerts.map(({ occurredAt }) => occurredAt),
      alerts.map(({ createdAt }) => createdAt),
      alerts.map(({ shownAt }) => shownAt),
      alerts.map(({ clientId }) => clientId),
      alerts.map(({ balanceLine }) => balanceLine?.id ?? null),
      alerts.map(({ balanceLine }) => balanceLine?.direction ?? null),
    ])
  },

  /** Deletes alerts that were created before this time and have no deliveries. Returns their number. */
  deleteCreatedBefore: (before: Date): Promise<number> =>
    deleteInBatches(database, {
      table: 'alert',
      // A scalar, which the planner looks up for each row instead of joining the tables.
      where: 'created_at < $1 and coalesce((select false from delivery where alert_id = alert.id limit 1), true)',
      orderBy: 'created_at',
      values: [before],
    }),

  /** The alerts among these IDs, in no order. */
  async find(sql: Sql, ids: readonly string[]): Promise<Alert[]> {
    return (await sql.query<AlertRow>('alerts', FIND_SQL, [ids])).map(toAlert)
  },

  /** The newest alerts of a customer that are shown to the client at `now`, newest first: about these accounts, `limit` per bank. */
  async findNewest(
    { customerId, clientId }: CustomerOfClient,
    accounts: readonly ListedAccount[],
    now: Date,
    limit: number,
  ): Promise<Alert[]> {
    if (accounts.length === 0) return []
    const values = [
      customerId,
      now,
      accounts.map(({ bankId }) => bankId),
      accounts.map(({ accountId }) => accountId),
      accounts.map(({ since }) => since),
      limit,
      clientId,
    ]
    return (await database.query<AlertRow>('newest-alerts', NEWEST_SQL, values)).map(toAlert)
  },
})

/** The store of alerts. */
export type AlertStore = ReturnType<typeof alertStore>
