import type { StatedQuestion } from '../../../connectors/index.ts'
import {
  ALERT_ANSWER_VALUES,
  ANSWER_VALUES_BY_TYPE,
  type AlertAction,
  type AlertAnswer,
  type AlertType,
} from '../../../kernel/alert-vocabulary.ts'
import { addMs, DAY_MS, HOUR_MS, startOfHour } from '../../../kernel/clock.ts'

/** What a customer can answer to an alert, and until when. */
export interface AlertQuestion {
  readonly options: readonly AlertAnswer[]
  /** A full hour. */
  readonly respondBy: Date
  /** When the customer saw the detail in the bank's own app. Null if the bank has not reported it. */
  readonly detailViewedAt: Date | null
}

/** The parts of an alert that decide what can be answered. */
export interface QuestionedAlert {
  readonly type: AlertType
  readonly requestedAction: AlertAction
  readonly accountId: string | null
  readonly shownAt: Date
}

/** How long a customer can answer if the bank does not say. */
const DEFAULT_TIME_MS = DAY_MS
/** How long a customer can answer at most. */
const MAX_TIME_MS = 7 * DAY_MS

/**
 * The question of an alert: the answers that its type, the bank's registration (`offered`) and the event (`stated`) all have. An
 * event that states none asks nothing if it requests no action. A freeze needs an account. Undefined if nothing can be answered, or
 * if the bank's time is over before clients see the alert.
 */
export function questionOf(
  { type, requestedAction, accountId, shownAt }: QuestionedAlert,
  offered: readonly AlertAnswer[],
  { options: statedOptions, respondBy }: Partial<StatedQuestion> = {},
): Pick<AlertQuestion, 'options' | 'respondBy'> | undefined {
  const stated = statedOptions ?? (requestedAction === 'NONE' ? [] : ALERT_ANSWER_VALUES)
  const options = ANSWER_VALUES_BY_TYPE[type].filter(
    (answer) =>
      offered.includes(answer) && stated.includes(answer) && (answer !== 'FREEZE_REQUESTED' || accountId !== null),
  )
  if (options.length === 0 || (respondBy && respondBy <= shownAt)) return undefined
  return { options, respondBy: roundedEnd(respondBy, shownAt) }
}

/**
 * The end of the time to answer: rounded down to the hour, because a bank that counts from a purchase would state its minute, but
 * not before the next hour begins.
 */
function roundedEnd(statedAt: Date | undefined, shownAt: Date): Date {
  const latest = addMs(shownAt, MAX_TIME_MS)
  const wanted = statedAt ?? addMs(shownAt, DEFAULT_TIME_MS)
  const end = startOfHour(wanted < latest ? wanted : latest)
  const earliest = addMs(startOfHour(shownAt), HOUR_MS)
  return end > earliest ? end : earliest
}

/** Why an answer is not available. */
export type Unavailability = 'NOT_OFFERED' | 'TIME_OVER' | 'DETAIL_NOT_VIEWED' | 'NOT_MORE_PROTECTIVE'

/** Why a customer who gave the answers `given` before cannot give this one at `now`. Undefined if the answer is available. */
export function unavailabilityOf(
  question: AlertQuestion | null,
  answer: AlertAnswer,
  given: readonly AlertAnswer[],
  now: Date,
): Unavailability | undefined {
  if (!question?.options.includes(answer)) return 'NOT_OFFERED'
  if (question.respondBy <= now) return 'TIME_OVER'
  const rankOf = (one: AlertAnswer): number => ALERT_ANSWER_VALUES.indexOf(one)
  if (given.some((one) => rankOf(one) >= rankOf(answer))) return 'NOT_MORE_PROTECTIVE'
  // Whoever holds the phone could say "it was me": the bank must have shown the detail to a customer whom it knows.
  return answer === 'IT_WAS_ME' && question.detailViewedAt === null ? 'DETAIL_NOT_VIEWED' : undefined
}
