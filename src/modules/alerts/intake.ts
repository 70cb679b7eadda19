import type { AlertAction, AlertAnswer, AlertSeverity, BankAlertType } from '../../kernel/alert-vocabulary.ts'
import { createBatchQueue, TRANSACTION_SPACING } from '../../kernel/batch-queue.ts'
import { toGatewayError } from '../../kernel/errors.ts'
import type { AlertSubject as ReportedSubject, StatedQuestion } from '../../connectors/index.ts'
import { newId } from '../../kernel/ids.ts'
import type { World } from '../../kernel/world.ts'
import type { Database, SqlTransaction } from '../../storage/database.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Signals } from '../../storage/signals.ts'
import type { AlertSubject, Consents } from '../consents/index.ts'
import type { Ledger } from '../ledger/index.ts'
import type { NewMessage, Outbox } from '../outbox/index.ts'
import type { EventKey, EventStore } from './event-store.ts'
import type { Alert } from './model.ts'
import { eventIdContext } from './responses/message.ts'
import { questionOf } from './responses/question.ts'
import { eventDigestOf } from './responses/reports.ts'
import type { NewQuestion, ResponseStore } from './responses/store.ts'
import type { AlertStore } from './store.ts'
import { storeAlerts } from './storing.ts'
import { shownAtOf } from './window.ts'

/** An alert of a verified event: what the bank reports, and what it may be about. */
export interface ReportedAlert {
  readonly subject: ReportedSubject
  readonly type: BankAlertType
  readonly severity: AlertSeverity
  readonly requestedAction: AlertAction
  readonly occurredAt: Date
  readonly question?: StatedQuestion | undefined
}

/** A verified event, reduced to what is stored of it. */
export interface VerifiedEvent {
  readonly bankId: string
  readonly connectorId: string
  readonly key: EventKey
  /** The bank's ID of the event. */
  readonly eventId: string
  /** The answers that the bank takes. */
  readonly offeredResponses: readonly AlertAnswer[]
  readonly alerts: readonly ReportedAlert[]
  /** Further messages that follow from the event. */
  readonly messages: readonly NewMessage[]
}

/** What became of an event. */
export interface IntakeResult {
  /** Whether the event was received before. Then nothing was stored. */
  readonly isDuplicate: boolean
  /** The alerts that were stored: one for each customer who shares one of the accounts. */
  readonly alertCount: number
  /** The reported alerts about an account or a person that nobody shares anything of. */
  readonly unknownSubjectCount: number
}

/** The dependencies of the intake. */
export interface IntakeDependencies {
  readonly database: Database
  readonly world: World
  readonly seal: Seal
  readonly consents: Consents
  readonly ledger: Ledger
  readonly outbox: Outbox
  readonly signals: Signals
}

/** What the intake writes. */
export interface IntakeStores {
  readonly store: AlertStore
  readonly events: EventStore
  readonly responses: ResponseStore
}

/** Stores verified events. */
export interface Intake {
  /**
   * Stores one event, with its alerts, in a transaction that it shares with others that arrive at the same time. Resolves once
   * the transaction has committed.
   */
  store(event: VerifiedEvent): Promise<IntakeResult>
}

/** Events of one transaction, and transactions at once. */
const BATCH = { maxSize: 100, concurrency: 3 }

/** With the database away, every event of the batch would fail by itself too. */
const isDatabaseUnavailable = (error: unknown): boolean => toGatewayError(error).code === 'DATABASE_UNAVAILABLE'

/** A reported alert with the place of its event in the batch. */
interface Report {
  readonly eventIndex: number
  readonly bankId: string
  readonly connectorId: string
  readonly alert: ReportedAlert
}

/** Creates the intake. */
export function createIntake(dependencies: IntakeDependencies, stores: IntakeStores): Intake {
  const { database } = dependencies
  const queue = createBatchQueue<VerifiedEvent, IntakeResult>({
    ...BATCH,
    spacing: { ...TRANSACTION_SPACING, timers: dependencies.world.timers },
    groupOf: ({ bankId }) => bankId,
    run: (batch) => database.intake.transaction((tx) => storeBatch(dependencies, stores, tx, batch)),
    isolates: (error) => !isDatabaseUnavailable(error),
  })
  return { store: (event) => queue.add(event) }
}

/** Stores a batch: events, alerts, messages and ledger entries, in this order. Returns the result of each event. */
async function storeBatch(
  { world, seal, consents, ledger, outbox, signals }: IntakeDependencies,
  { store, events, responses }: IntakeStores,
  tx: SqlTransaction,
  batch: readonly VerifiedEvent[],
): Promise<IntakeResult[]> {
  const now = world.clock.now()
  const newIndexes = await insertNewEvents(events, tx, batch, now)
  const reports = batch.flatMap(({ bankId, connectorId, alerts }, eventIndex): Report[] =>
    newIndexes.has(eventIndex) ? alerts.map((alert) => ({ eventIndex, bankId, connectorId, alert })) : [],
  )
  const subjectsByReport = await findSubjects(consents, tx, reports)
  const stored = reports.flatMap(({ eventIndex, alert }, reportIndex) =>
    subjectsByReport[reportIndex]!.map((subject) => ({
      eventIndex,
      alert: toAlert(alert, subject, now, { world, seal }),
      stated: alert.question,
    })),
  )
  const alerts = stored.map(({ alert }) => alert)
  await storeAlerts({ outbox, ledger, signals }, store, tx, alerts, now)
  const questions = (
    await Promise.all(
      stored.map(({ eventIndex, alert, stated }) => toQuestion(batch[eventIndex]!, alert, stated, seal)),
    )
  ).flat()
  if (questions.length > 0) await responses.addQuestions(tx, questions)
  await outbox.enqueueAll(
    tx,
    batch.flatMap(({ messages }, index) => (newIndexes.has(index) ? messages : [])),
  )
  return batch.map((_event, index) => ({
    isDuplicate: !newIndexes.has(index),
    alertCount: stored.filter(({ eventIndex }) => eventIndex === index).length,
    unknownSubjectCount: reports.filter(
      ({ eventIndex }, reportIndex) => eventIndex === index && subjectsByReport[reportIndex]!.length === 0,
    ).length,
  }))
}

/** Remembers the events. Returns the indexes of those that are new; of equal ones in the batch, the first. */
async function insertNewEvents(
  events: EventStore,
  tx: SqlTransaction,
  batch: readonly VerifiedEvent[],
  now: Date,
): Promise<ReadonlySet<number>> {
  const textOf = ({ issuer, jtiDigest }: EventKey): string => `${jtiDigest} ${issuer}`
  const firstIndexes = new Map<string, number>()
  batch.forEach(({ key }, index) => {
    if (!firstIndexes.has(textOf(key))) firstIndexes.set(textOf(key), index)
  })
  const unique = [...firstIndexes.values()].map((index) => batch[index]!.key)
  return new Set((await events.insertNew(tx, unique, now)).map((key) => firstIndexes.get(textOf(key))!))
}

/** For each report, what it is about of what somebody may see alerts of: accounts, or customers of the bank. */
async function findSubjects(
  consents: Consents,
  tx: SqlTransaction,
  reports: readonly Report[],
): Promise<readonly (readonly AlertSubject[])[]> {
  const accountRefs = reports.flatMap(({ bankId, alert: { subject } }, reportIndex) =>
    subject.kind === 'ACCOUNT' ? subject.refs.map((ref) => ({ bankId, ref, reportIndex })) : [],
  )
  const customerRefs = reports.flatMap(({ bankId, connectorId, alert: { subject } }, reportIndex) =>
    subject.kind === 'CUSTOMER' ? subject.customerRefs.map((ref) => ({ bankId, connectorId, ref, reportIndex })) : [],
  )
  const candidates = [
    ...(await consents.matchAccounts(tx, accountRefs)).map(({ index, accountId, customerId }) => {
      const { bankId, reportIndex } = accountRefs[index]!
      return { bankId, customerId, accountId, clientId: null, reportIndex }
    }),
    ...(await consents.matchCustomers(tx, customerRefs)).map(({ index, customerId }) => {
      const { bankId, reportIndex } = customerRefs[index]!
      return { bankId, customerId, accountId: null, clientId: null, reportIndex }
    }),
  ]
  const grants = await consents.findGrantsForAlerts(tx, candidates)
  const subjects: AlertSubject[][] = reports.map(() => [])
  candidates.forEach(({ reportIndex, ...subject }, index) => {
    const ofReport = subjects[reportIndex]!
    // Two references can name one account or customer.
    const isKnown = ofReport.some(
      (other) => other.customerId === subject.customerId && other.accountId === subject.accountId,
    )
    if (grants[index]!.length > 0 && !isKnown) ofReport.push(subject)
  })
  return subjects
}

function toAlert(
  { type, severity, requestedAction, occurredAt }: ReportedAlert,
  subject: AlertSubject,
  now: Date,
  { world, seal }: Pick<IntakeDependencies, 'world' | 'seal'>,
): Alert {
  const shownAt = shownAtOf({ severity, customerId: subject.customerId }, now, seal)
  const id = newId('alrt', world.randomness)
  const times = { occurredAt, createdAt: now, shownAt }
  return { id, ...subject, type, severity, requestedAction, ...times, balanceLine: null, question: null }
}

/** The question of an alert, or none if nothing can be answered. */
async function toQuestion(
  { bankId, connectorId, eventId, offeredResponses }: VerifiedEvent,
  alert: Alert,
  stated: StatedQuestion | undefined,
  seal: Seal,
): Promise<NewQuestion[]> {
  const question = questionOf(alert, offeredResponses, stated)
  if (!question) return []
  const sealedEventId = await seal.seal(eventIdContext(alert.id), eventId)
  // The bank reports by this ID, which of a published alert is not what its repetition is recognized by.
  const eventDigest = eventDigestOf(bankId, eventId)
  const { id: alertId, customerId, accountId } = alert
  return [{ alertId, customerId, accountId, connectorId, eventDigest, sealedEventId, ...question }]
}
