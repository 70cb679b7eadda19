import type { AlertAction, AlertAnswer, AlertType } from '../../../kernel/alert-vocabulary.ts'
import { DE } from './de.ts'
import { EN } from './en.ts'
import { ES } from './es.ts'
import { FR } from './fr.ts'
import type { AlertCatalogue } from './model.ts'

/** The languages of the texts (ISO 639-1). */
export const ALERT_LANGUAGES = ['EN', 'DE', 'FR', 'ES'] as const
/** A language of the texts. */
export type AlertLanguage = (typeof ALERT_LANGUAGES)[number]

/** Every text. docs/ALERT-TEXTS.md is generated from this table. */
export const ALERT_CATALOGUES: Readonly<Record<AlertLanguage, AlertCatalogue>> = { EN, DE, FR, ES }

/** The texts of one alert, as a platform shows them. */
export interface AlertTexts {
  /** Identifies the text in the catalogue, in every language. */
  readonly key: string
  readonly language: AlertLanguage
  readonly preview: string
  readonly body: string
  readonly notice: string
  readonly labels: readonly { readonly answer: AlertAnswer; readonly label: string }[]
}

/** The texts of an alert in a language, with labels for these responses. */
export function textsOf(
  { type, requestedAction }: { readonly type: AlertType; readonly requestedAction: AlertAction },
  options: readonly AlertAnswer[],
  bank: string,
  language: AlertLanguage,
): AlertTexts {
  const catalogue = ALERT_CATALOGUES[language]
  // Messengers make a link of a name such as "bank.example".
  const name = bank.replaceAll(/\.(?=\S)/g, '. ')
  const fill = (text: string): string => text.replaceAll('{bank}', () => name)
  const sentences = [catalogue.types[type], catalogue.actions[requestedAction], catalogue.handOff]
  return {
    key: `${type}.${requestedAction}`,
    language,
    preview: fill(catalogue.preview),
    body: fill(sentences.filter((sentence) => sentence !== '').join(' ')),
    notice: fill(catalogue.notice),
    labels: options.map((answer) => ({ answer, label: catalogue.labels[answer] })),
  }
}
