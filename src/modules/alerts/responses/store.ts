import { ALERT_ANSWER_VALUES, type AlertAnswer } from '../../../kernel/alert-vocabulary.ts'
import type { Transaction } from '../../../kernel/transaction.ts'
import { deleteInBatches } from '../../../storage/batch-delete.ts'
import { tablesIn, type Database, type Sql } from '../../../storage/database.ts'
import type { CustomerResponse, AlertResponseStatus } from './model.ts'

/** A question to add. */
export interface NewQuestion extends AlertOfEvent {
  readonly connectorId: string
  readonly options: readonly AlertAnswer[]
  readonly respondBy: Date
  readonly eventDigest: string
  readonly sealedEventId: string
}

/** An answer to add. */
export interface NewResponse {
  readonly id: string
  readonly alertId: string
  readonly clientId: string
  readonly consentId: string
  readonly answer: AlertAnswer
  readonly sealedMessage: string
  readonly createdAt: Date
}

/** A question that a transaction has locked. */
export interface LockedQuestion {
  readonly connectorId: string
  readonly options: readonly AlertAnswer[]
  readonly respondBy: Date
  readonly detailViewedAt: Date | null
  readonly sealedEventId: string
}

/** An answer that the bank has not accepted yet. */
export interface PendingResponse {
  readonly id: string
  readonly alertId: string
  readonly customerId: string
  readonly connectorId: string
  readonly sealedMessage: string
  readonly createdAt: Date
}

/** An alert with a question, as a report of its bank is matched with it. */
export interface AlertOfEvent {
  readonly alertId: string
  readonly customerId: string
  readonly accountId: string | null
}

// The lists have no commas, and an array of arrays cannot be unnested by rows.
const ADD_QUESTIONS_SQL = `
  insert into alert_question (alert_id, connector_id, options, respond_by, event_digest, sealed_event_id, detail_viewed_at)
  select alert_id, connector_id, string_to_array(options, ','), respond_by, event_digest, sealed_event_id,
    (select min(received_at) from alert_detail_view as viewed
     where viewed.event_digest = question.event_digest and viewer_id in (customer_id, account_id))
  from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::text[], $8::text[])
    as question (alert_id, connector_id, options, respond_by, event_digest, sealed_event_id, customer_id, account_id)`
const ADD_DETAIL_VIEWS_SQL = `
  insert into alert_detail_view (event_digest, viewer_id, received_at)
  select $1, viewer_id, $3 from unnest($2::text[]) as viewer (viewer_id) order by viewer_id on conflict do nothing`
const RESPONSES_SQL = `
  select id, alert_id as "alertId", client_id as "clientId", answer, status, created_at as "createdAt" from alert_response
  where alert_id = any($1) order by array_position('{${ALERT_ANSWER_VALUES.join()}}'::text[], answer)`

/** Questions of banks and the answers of customers. */
export const responseStore = (database: Database) => ({
  /** Adds questions in one statement, each with what its bank reported before about the detail. */
  async addQuestions(sql: Sql, questions: readonly NewQuestion[]): Promise<void> {
    await sql.query('add-alert-questions', ADD_QUESTIONS_SQL, [
      questions.map(({ alertId }) => alertId),
      questions.map(({ connectorId }) => connectorId),
      questions.map(({ options }) => options.join()),
      questions.map(({ respondBy }) => respondBy),
      questions.map(({ eventDigest }) => eventDigest),
      questions.map(({ sealedEventId }) => sealedEventId),
      questions.map(({ customerId }) => customerId),
      questions.map(({ accountId }) => accountId),
    ])
  },

  /** The answers to these alerts, of all clients: of each alert, the most protective last, which a client can only have given last. */
  responsesTo: (alertIds: readonly string[]): Promise<CustomerResponse[]> =>
    alertIds.length === 0
      ? Promise.resolve([])
      : database.query<CustomerResponse>('alert-responses', RESPONSES_SQL, [alertIds]),

  /** Locks the question of an alert, so that its answers are given one after the other. */
  async lockQuestion(tx: Transaction, alertId: string): Promise<LockedQuestion | undefined> {
    const [question] = await tablesIn(tx).$queryRaw<LockedQuestion[]>`
      select connector_id as "connectorId", options, respond_by as "respondBy", detail_viewed_at as "detailViewedAt",
        sealed_event_id as "sealedEventId" from alert_question where alert_id = ${alertId} for update`
    return question
  },

  /** The answers to an alert, of all clients. */
  async givenResponses(tx: Transaction, alertId: string): Promise<{ clientId: string; answer: AlertAnswer }[]> {
    const select = { clientId: true, answer: true }
    return (await tablesIn(tx).alertResponse.findMany({ where: { alertId }, select })) as {
      clientId: string
      answer: AlertAnswer
    }[]
  },

  /** Adds an answer that is to be sent. */
  async add(tx: Transaction, response: NewResponse): Promise<void> {
    await tablesIn(tx).alertResponse.create({ data: { ...response, status: 'PENDING' } })
  },

  /** Ends the answers of this value that the bank has not accepted yet as FAILED, and deletes their messages. */
  async abandonPending(tx: Transaction, alertId: string, answer: AlertAnswer, now: Date): Promise<void> {
    const data = { status: 'FAILED', sealedMessage: null, settledAt: now }
    await tablesIn(tx).alertResponse.updateMany({ where: { alertId, answer, status: 'PENDING' }, data })
  },

  /** The answer, if it is still to be sent. */
  async findPending(id: string): Promise<PendingResponse | undefined> {
    const [response] = await database.tables.$queryRaw<PendingResponse[]>`
      select alert_response.id, alert_response.alert_id as "alertId", customer_id as "customerId", connector_id as "connectorId",
        sealed_message as "sealedMessage", alert_response.created_at as "createdAt"
      from alert_response join alert on alert.id = alert_response.alert_id
      join alert_question on alert_question.alert_id = alert_response.alert_id
      where alert_response.id = ${id} and status = 'PENDING' and sealed_message is not null`
    return response
  },

  /** Ends the sending of an answer and deletes its message. Returns false if it has ended before. */
  async endSending(tx: Transaction, id: string, status: 'SENT' | 'FAILED' | 'EXPIRED', now: Date): Promise<boolean> {
    const data = { status, sealedMessage: null, ...(status === 'SENT' ? { sentAt: now } : { settledAt: now }) }
    const { count } = await tablesIn(tx).alertResponse.updateMany({ where: { id, status: 'PENDING' }, data })
    return count > 0
  },

  /**
   * Stores what the bank reports about an answer that it got through one of its connectors. An expired answer can have reached the
   * bank too, if only the bank's acknowledgement was lost. Returns the customer; undefined if there is no such answer, or if the
   * bank reported about it before.
   */
  async settle(
    tx: Transaction,
    id: string,
    bankId: string,
    status: Extract<AlertResponseStatus, 'CONFIRMED' | 'FAILED'>,
    now: Date,
  ): Promise<string | undefined> {
    const [settled] = await tablesIn(tx).$queryRaw<{ customerId: string }[]>`
      update alert_response set status = ${status}, settled_at = ${now}, sealed_message = null
      from alert where alert.id = alert_id and bank_id = ${bankId} and alert_response.id = ${id}
        and status in ('PENDING', 'SENT', 'EXPIRED')
      returning customer_id as "customerId"`
    return settled?.customerId
  },

  /** The alerts that came with an event and have a question. */
  async alertsOf(eventDigest: string, bankId: string): Promise<AlertOfEvent[]> {
    return database.tables.$queryRaw<AlertOfEvent[]>`
      select alert_id as "alertId", customer_id as "customerId", account_id as "accountId" from alert_question join alert on alert.id = alert_id
      where event_digest = ${eventDigest} and bank_id = ${bankId}`
  },

  /** Stores a report for alerts that are not stored yet. The viewers are IDs of customers or accounts. */
  async addDetailViews(sql: Sql, eventDigest: string, viewerIds: readonly string[], now: Date): Promise<void> {
    await sql.query('add-alert-detail-views', ADD_DETAIL_VIEWS_SQL, [eventDigest, viewerIds, now])
  },

  /** The alerts of an event that a stored report is about. */
  async findViewed(eventDigest: string): Promise<AlertOfEvent[]> {
    return database.tables.$queryRaw<AlertOfEvent[]>`
      select alert_id as "alertId", customer_id as "customerId", account_id as "accountId"
      from alert_question join alert on alert.id = alert_id where alert_question.event_digest = ${eventDigest} and exists (
        select from alert_detail_view as viewed
        where viewed.event_digest = ${eventDigest} and viewer_id in (customer_id, account_id))`
  },

  /** Deletes reports that were received before this time. Returns their number. */
  deleteDetailViewsBefore: (before: Date): Promise<number> =>
    deleteInBatches(database, {
      table: 'alert_detail_view',
      where: 'received_at < $1',
      orderBy: 'received_at',
      values: [before],
    }),

  /** Records that the customer has seen the detail of these alerts. Returns false if that was recorded before for all of them. */
  async markDetailViewed(tx: Transaction, alertIds: readonly string[], now: Date): Promise<boolean> {
    // In the order of the keys, so that two reports about the same alerts wait for each other and do not deadlock.
    const count = await tablesIn(tx).$executeRaw`
      with viewed as (
        select alert_id from alert_question where alert_id = any(${[...alertIds]}::text[]) and detail_viewed_at is null
        order by alert_id for update)
      update alert_question set detail_viewed_at = ${now} from viewed where alert_question.alert_id = viewed.alert_id`
    return count > 0
  },
})

/** The store of questions and answers. */
export type ResponseStore = ReturnType<typeof responseStore>
