import { GatewayError } from '../../kernel/errors.ts'
import type { LedgerAction } from '../ledger/index.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import type { Stores } from './stores.ts'
import type { SuspensionRow } from './suspension-store.ts'

/** Consents of one transaction. */
const BATCH_SIZE = 100

/**
 * Tells customers and clients that consents were suspended or resumed, because their bank changed which platforms it serves. This
 * authorizes and denies nothing: every read checks the bank's setting itself, from its commit on (decision 29).
 */
export function createSuspension(
  { database, world, banks, ledger, outbox, signals }: ConsentsDependencies,
  { consents }: Stores,
) {
  return {
    /**
     * The handler of `bank.platform_access_changed`: records each consent of the bank that the present setting suspends or
     * resumes, with a ledger entry, and publishes its signal. Up to 100 of each at a time: if more are left, the message is
     * enqueued again. It waits for no consent, because the bank waits for it to change its setting: throws `INTERNAL` if
     * all that are left are locked by other transactions, so that the message is handled again later.
     */
    async recordSuspensions(bankId: string): Promise<void> {
      const now = world.clock.now()
      await database.transaction(async (tx) => {
        const clientIds = await consents.findActiveClients(tx, bankId)
        const notServedIds = await banks.lockNotServedClients(tx, bankId, clientIds)
        const servedIds = clientIds.filter((id) => !notServedIds.includes(id))
        const suspended = await consents.recordSuspended(tx, bankId, notServedIds, now, BATCH_SIZE)
        const resumed = await consents.recordResumed(tx, bankId, servedIds, now, BATCH_SIZE)
        await ledger.recordAll(tx, [
          ...suspended.map((row) => ({ ...toEntry(row, 'CONSENT_SUSPENDED'), detail: 'PLATFORM_NOT_ALLOWED' })),
          ...resumed.map((row) => toEntry(row, 'CONSENT_RESUMED')),
        ])
        // Subscriptions send the change.
        for (const { id, customerId } of [...suspended, ...resumed])
          await signals.publish(tx, { kind: 'CONSENT', id, customerId })
        if (!(await consents.isUnrecorded(tx, bankId, { notServedIds, servedIds }))) return
        if (suspended.length + resumed.length === 0)
          throw new GatewayError('INTERNAL', { internalMessage: 'the consents left to record are locked' })
        await outbox.enqueue(tx, 'bank.platform_access_changed', bankId, bankId)
      })
    },
  }
}

const toEntry = ({ id, clientId, customerId }: SuspensionRow, action: LedgerAction) => ({
  action,
  clientId,
  ...(customerId !== null && { customerId }),
  consentId: id,
})
