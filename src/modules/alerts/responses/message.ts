import type { CustomerAnswer } from '../../../connectors/index.ts'

/** What the bank receives of an answer. It is stored sealed, because every ID in it is the bank's. */
export type AnswerMessage = Omit<CustomerAnswer, 'id'>

/** The context of a sealed message. */
export const messageContext = (responseId: string) => `alert-response:${responseId}` as const
/** The context of a sealed ID of an event. */
export const eventIdContext = (alertId: string) => `alert-event:${alertId}` as const
