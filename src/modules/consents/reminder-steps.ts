import { DAY_MS, subtractMs } from '../../kernel/clock.ts'

/** How long before the end of a consent its client is reminded of it. */
interface ReminderStep {
  readonly daysBefore: number
  /** Why then. */
  readonly why: string
}

/** When clients are reminded of the end of a consent, the earliest first. Changing a step changes the reminders of later consents. */
export const REMINDER_STEPS: readonly ReminderStep[] = [
  { daysBefore: 30, why: 'A customer who is seldom in the chat has time to renew.' },
  { daysBefore: 7, why: 'Most customers are in the chat within a week.' },
  { daysBefore: 1, why: 'The last day on which nothing stops.' },
]

/** When the first step after `since` is due: null if none is, because the consent ends too soon after it. */
export function firstReminderAfter(since: Date, expiresAt: Date): Date | null {
  const times = REMINDER_STEPS.map(({ daysBefore }) => subtractMs(expiresAt, daysBefore * DAY_MS))
  return times.find((time) => time > since) ?? null
}
