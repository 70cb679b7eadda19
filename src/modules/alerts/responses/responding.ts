import type { AlertAnswer } from '../../../kernel/alert-vocabulary.ts'
import { GatewayError } from '../../../kernel/errors.ts'
import { newId } from '../../../kernel/ids.ts'
import { faultAt, invalidInputError } from '../../../kernel/input-faults.ts'
import type { CustomerCaller, RequestContext } from '../../../kernel/request-context.ts'
import type { World } from '../../../kernel/world.ts'
import type { Database } from '../../../storage/database.ts'
import type { Idempotency } from '../../../storage/idempotency.ts'
import type { Seal } from '../../../storage/seal.ts'
import type { Signals } from '../../../storage/signals.ts'
import type { AccountAccess, BankIdentity, Consents } from '../../consents/index.ts'
import type { Ledger } from '../../ledger/index.ts'
import type { Outbox } from '../../outbox/index.ts'
import type { AlertView } from '../model.ts'
import { eventIdContext, messageContext, type AnswerMessage } from './message.ts'
import { unavailabilityOf, type Unavailability } from './question.ts'
import type { LockedQuestion, ResponseStore } from './store.ts'

/** The dependencies of responding. */
export interface RespondingDependencies {
  readonly database: Database
  readonly world: Pick<World, 'clock' | 'randomness'>
  readonly seal: Seal
  readonly consents: Consents
  readonly ledger: Ledger
  readonly outbox: Outbox
  readonly signals: Signals
  readonly idempotency: Idempotency
}

/** An answer of a customer. */
export interface AnswerInput {
  /** The client's ID for the alert. */
  readonly alertId: string
  readonly answer: AlertAnswer
  readonly idempotencyKey?: string | null | undefined
}

const RULES: Readonly<Record<Unavailability, string>> = {
  NOT_OFFERED: 'must be one of `responseOptions` of the alert',
  TIME_OVER: 'cannot be given any more, because `respondBy` of the alert is over: refer the customer to the bank',
  DETAIL_NOT_VIEWED: 'can be given once the customer has seen the detail in the bank’s own app: open `bankAppUrl`',
  NOT_MORE_PROTECTIVE: 'must be more protective than the answer that the customer has given already',
}

/**
 * Creates the function that stores a customer's answer and its message to the bank in one transaction. Returns once both are
 * committed; the bank has it then or soon after. Repeating an answer of the same client changes nothing. Throws `NOT_FOUND` for an
 * alert that the caller cannot see, `NOT_CONSENTED` without `alerts:respond` for its account, `CUSTOMER_PRESENCE_REQUIRED` or
 * `INVALID_PRESENCE_STATEMENT`, and `STATE_CONFLICT` for an answer that is not available.
 */
export function createResponding(
  dependencies: RespondingDependencies,
  store: ResponseStore,
  findAlert: (caller: CustomerCaller, context: RequestContext, publicId: string) => Promise<AlertView | null>,
) {
  const { database, world, seal, consents, ledger, outbox, signals, idempotency } = dependencies

  /** Access to answer the alert: to its account, or to any of its bank if it is about none. */
  async function findAccess(caller: CustomerCaller, { alert }: AlertView): Promise<AccountAccess> {
    const { grants } = await consents.findShared(caller)
    const now = world.clock.now()
    const access = grants
      .filter(({ bankId, grantedAt }) => bankId === alert.bankId && grantedAt <= alert.createdAt)
      .flatMap((grant) => grant.openAll('alerts:respond', now))
      .find(({ accountId }) => alert.accountId === null || accountId === alert.accountId)
    if (!access) throw new GatewayError('NOT_CONSENTED', { path: ['alertId'] })
    return access
  }

  async function messageOf(
    { sealedEventId, connectorId }: LockedQuestion,
    { alert }: AlertView,
    { accountRef, consentRef, customerRef, ...identity }: BankIdentity,
    answer: AlertAnswer,
  ): Promise<AnswerMessage> {
    const eventId = String(await seal.unseal(eventIdContext(alert.id), sealedEventId))
    return {
      eventId,
      answer,
      respondedAt: world.clock.now().toISOString(),
      ...(alert.accountId !== null && { accountRef }),
      // What one connector calls a person or a consent means nothing to another, and is not for it.
      ...(identity.connectorId === connectorId && { consentRef, customerRef }),
    }
  }

  return async function respond(caller: CustomerCaller, context: RequestContext, input: AnswerInput): Promise<void> {
    const { alertId: publicId, answer, idempotencyKey } = input
    const view = await findAlert(caller, context, publicId)
    if (!view) throw new GatewayError('NOT_FOUND', { path: ['alertId'] })
    const access = await findAccess(caller, view)
    // Only the customer may answer: a client that could do it alone could freeze an account or clear a fraud.
    if (context.presence !== 'PRESENT') throw new GatewayError(context.presence)
    const { clientId, customerId, consentId, purposes } = access.grant
    const { id: alertId, accountId } = view.alert
    // Before the transaction: a transaction that waits for another connection can exhaust the pool together with its like.
    const identity = await consents.identifyAtBank(access)
    const request = { clientId, mutation: 'respondToAlert', key: idempotencyKey, input: { publicId, answer } }
    await database.transaction((tx) =>
      idempotency.runOnce(tx, request, async () => {
        const question = await store.lockQuestion(tx, alertId)
        const given = await store.givenResponses(tx, alertId)
        if (given.some((earlier) => earlier.clientId === clientId && earlier.answer === answer)) return alertId
        const now = world.clock.now()
        const earlierValues = given.map((response) => response.answer)
        const unavailability = unavailabilityOf(question ?? null, answer, earlierValues, now)
        if (unavailability || !question)
          throw invalidInputError([faultAt(['answer'], RULES[unavailability ?? 'NOT_OFFERED'], 'STATE_CONFLICT')])
        const id = newId('answ', world.randomness)
        const message = await messageOf(question, view, identity, answer)
        const sealedMessage = await seal.seal(messageContext(id), message)
        // Every other answer contradicts it and must not reach the bank first.
        await store.abandonPending(tx, alertId, 'IT_WAS_ME', now)
        await store.add(tx, { id, alertId, clientId, consentId, answer, sealedMessage, createdAt: now })
        await outbox.enqueue(tx, 'alert-response.given', id, question.connectorId)
        await ledger.record(tx, {
          action: 'ALERT_ANSWERED',
          requestId: context.requestId,
          clientId,
          customerId,
          consentId,
          accountIds: accountId === null ? [] : [accountId],
          subjectId: alertId,
          detail: answer,
          purposes,
        })
        await signals.publish(tx, { kind: 'ALERTS_CHANGED', customerIds: [customerId] })
        return alertId
      }),
    )
  }
}
