import type { ConsentsDependencies } from './dependencies.ts'
import { REMINDER_STEPS } from './reminder-steps.ts'
import { reminderStore } from './reminder-store.ts'

/** Consents of one transaction. */
const BATCH_SIZE = 500
const DAYS_BEFORE = REMINDER_STEPS.map(({ daysBefore }) => daysBefore)

/**
 * Creates the job that reminds clients of the end of consents, by `REMINDER_STEPS`. It takes each step of a consent once, in the
 * transaction that enqueues the message `consent.expiring`; deliveries make webhooks of it. Returns how many it enqueued. Stops early
 * when `shouldContinue` returns false.
 *
 * - A consent that is not longer than a step has no reminder of that step: `firstReminderAfter` its activation leaves it out.
 * - If several steps have passed since the last run, there is one reminder, with the days that are left.
 * - A suspended consent gets none, because the client can do nothing for it: the customer cannot renew what the bank does not serve.
 *   Its steps pass. If it is resumed, the next one is due at its time.
 * - A consent that has expired, although its row does not say so yet, gets none.
 */
export function createReminders({ database, world, outbox }: ConsentsDependencies) {
  const enqueueBatch = (): Promise<{ readonly takenCount: number; readonly enqueuedCount: number }> =>
    database.delivery.transaction(async (tx) => {
      const taken = await reminderStore.takeDueReminders(tx, world.clock.now(), BATCH_SIZE, DAYS_BEFORE)
      const live = taken.filter(({ isLive }) => isLive)
      await outbox.enqueueAll(
        tx,
        live.map(({ id }) => ({ topic: 'consent.expiring', subjectId: id })),
      )
      return { takenCount: taken.length, enqueuedCount: live.length }
    })

  return async function enqueueReminders(shouldContinue: () => boolean = () => true): Promise<number> {
    let count = 0
    while (shouldContinue()) {
      const { takenCount, enqueuedCount } = await enqueueBatch()
      count += enqueuedCount
      if (takenCount < BATCH_SIZE) break
    }
    return count
  }
}
