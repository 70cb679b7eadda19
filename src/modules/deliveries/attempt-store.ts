import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import type { DeliveryAttempt } from './model.ts'

const ATTEMPTS_SQL = `
  select attempt.* from unnest($1::text[]) as delivery (id) cross join lateral (
    select delivery_id as "deliveryId", number, attempted_at as "attemptedAt", http_status as "httpStatus", outcome,
      failure_cause as "failureCause"
    from delivery_attempt where delivery_id = delivery.id order by number desc limit $2::int) as attempt
  order by attempt.number`
const MAX_SHOWN_ATTEMPTS = 50

/** Attempts of deliveries. */
export const attemptStore = (database: Database) => ({
  /** Adds an attempt and returns its number. The caller has locked the delivery, as `countAttempt` does. */
  async add(tx: Transaction, deliveryId: string, attempt: Omit<DeliveryAttempt, 'number'> & { id: string }) {
    const { _max } = await tablesIn(tx).deliveryAttempt.aggregate({ where: { deliveryId }, _max: { number: true } })
    const number = (_max.number ?? 0) + 1
    await tablesIn(tx).deliveryAttempt.create({ data: { ...attempt, deliveryId, number } })
    return number
  },

  /** The newest 50 attempts of each delivery, by number. */
  async list(deliveryIds: readonly string[]): Promise<(DeliveryAttempt & { deliveryId: string })[]> {
    return database.query('delivery-attempts', ATTEMPTS_SQL, [deliveryIds, MAX_SHOWN_ATTEMPTS])
  },
})

/** The store of attempts. */
export type AttemptStore = ReturnType<typeof attemptStore>
