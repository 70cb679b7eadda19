import type { AlertSeverity } from '../../kernel/alert-vocabulary.ts'
import { addMs, HOUR_MS, MINUTE_MS, startOfHour } from '../../kernel/clock.ts'
import type { Seal } from '../../storage/seal.ts'

/** How long after its hour a window closes at the latest. */
const MAX_DELAY_MS = 15 * MINUTE_MS

/**
 * When clients see an alert that was received at `now`. An URGENT alert is shown at once. Any other is shown when the window of
 * its customer closes: up to 15 minutes after the end of the hour, at a moment that is the same for all alerts of the customer in
 * that hour and that nobody else can compute. So the time at which a client learns of an alert says no more than its hour, as
 * `occurredAt` does, and draws no picture of purchases.
 */
export function shownAtOf(
  { severity, customerId }: { readonly severity: AlertSeverity; readonly customerId: string },
  now: Date,
  seal: Pick<Seal, 'digest'>,
): Date {
  if (severity === 'URGENT') return now
  const hour = startOfHour(now)
  const random = Buffer.from(seal.digest('alert-window', customerId, hour.toISOString()), 'base64url').readUInt32BE()
  return addMs(hour, HOUR_MS + Math.floor((random / 2 ** 32) * MAX_DELAY_MS))
}
