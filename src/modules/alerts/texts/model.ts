import type { AlertAction, AlertAnswer, AlertType } from '../../../kernel/alert-vocabulary.ts'

/** The reviewed texts of one language. `{bank}` stands for the name of the bank; nothing else is ever inserted. */
export interface AlertCatalogue {
  /** For a lock screen, which anybody can read: the bank, and not what happened. */
  readonly preview: string
  /** What happened. */
  readonly types: Readonly<Record<AlertType, string>>
  /** What the customer should do. */
  readonly actions: Readonly<Record<AlertAction, string>>
  /** How the customer reaches the bank without a link. */
  readonly handOff: string
  /** What the bank never asks in a chat, and that a response is no waiver. */
  readonly notice: string
  /** The labels of the responses. */
  readonly labels: Readonly<Record<AlertAnswer, string>>
}
