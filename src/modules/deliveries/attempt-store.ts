import { deleteInBatches } from '../../storage/batch-delete.ts'
import type { Database } from '../../storage/database.ts'
import type { DeliveryAttempt } from './model.ts'

const ATTEMPTS_SQL = `
  select attempt.* from unnest($1::text[]) as delivery (id) cross join lateral (
    select delivery_id as "deliveryId", number, attempted_at as "attemptedAt", http_status as "httpStatus", outcome,
      failure_cause as "failureCause", set_error as "setError"
    from delivery_attempt where delivery_id = delivery.id order by number desc limit $2::int) as attempt
  order by attempt.number`
const MAX_SHOWN_ATTEMPTS = 50

/** Attempts of deliveries. */
export const attemptStore = (database: Database) => ({
  /** Deletes attempts from before this time. Returns their number. */
  deleteBefore: (before: Date): Promise<number> =>
    deleteInBatches(database, {
      table: 'delivery_attempt',
      where: 'attempted_at < $1',
      orderBy: 'attempted_at',
      values: [before],
    }),

  /** The newest 50 attempts of each delivery, by number. */
  async list(deliveryIds: readonly string[]): Promise<(DeliveryAttempt & { deliveryId: string })[]> {
    return database.query('delivery-attempts', ATTEMPTS_SQL, [deliveryIds, MAX_SHOWN_ATTEMPTS])
  },
})
