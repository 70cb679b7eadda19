import { addMs } from '../../../kernel/clock.ts'
import { GIVE_UP_MS } from '../../../kernel/retry.ts'
import type { World } from '../../../kernel/world.ts'
import type { Database } from '../../../storage/database.ts'
import type { Seal } from '../../../storage/seal.ts'
import type { Signals } from '../../../storage/signals.ts'
import type { Banks } from '../../banks/index.ts'
import { messageContext, type AnswerMessage } from './message.ts'
import type { PendingResponse, ResponseStore } from './store.ts'

/** The dependencies of sending. */
export interface SendingDependencies {
  readonly database: Database
  readonly world: Pick<World, 'clock'>
  readonly seal: Seal
  readonly banks: Banks
  readonly signals: Signals
}

/**
 * Creates the handler of the outbox that sends an answer to its bank. The bank can get an answer twice, if this process ends before
 * it has stored the outcome: both have the same ID. Throws if the answer is to be sent again. Also sends answers whose consent has
 * ended since: the customer gave them before, and to their bank.
 */
export function createSending(
  { database, world, seal, banks, signals }: SendingDependencies,
  store: ResponseStore,
): (responseId: string) => Promise<void> {
  async function send({ id, connectorId, sealedMessage }: PendingResponse): Promise<'SENT' | 'FAILED'> {
    const message = (await seal.unseal(messageContext(id), sealedMessage)) as AnswerMessage
    const { status } = await banks.requireCached(connectorId)
    // It never becomes active again.
    if (status === 'RETIRED') return 'FAILED'
    const bank = await banks.getActiveBank(connectorId)
    // The bank has taken its endpoint out of the registration.
    if (!bank.sendAlertResponse) return 'FAILED'
    return (await bank.sendAlertResponse({ id, ...message })) === 'ACCEPTED' ? 'SENT' : 'FAILED'
  }

  return async (responseId) => {
    const response = await store.findPending(responseId)
    if (!response) return
    const isOver = addMs(response.createdAt, GIVE_UP_MS.alertResponse) <= world.clock.now()
    const status = isOver ? 'EXPIRED' : await send(response)
    await database.transaction(async (tx) => {
      if (await store.endSending(tx, responseId, status, world.clock.now()))
        await signals.publish(tx, { kind: 'ALERTS_CHANGED', customerIds: [response.customerId] })
    })
  }
}
