import { styleText } from 'node:util'

/** Characters that change what a terminal does or shows: controls, bidirectional and invisible formatting, line separators. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu
/** The same without those that `JSON.stringify` has escaped; what is left of them is its indentation. */
const UNSAFE_IN_JSON = /[\u007f-\u009f\p{Cf}\p{Zl}\p{Zp}]/gu

const escapeCodeUnits = (text: string): string =>
  Array.from(
    { length: text.length },
    (_each, index) => `\\u${text.charCodeAt(index).toString(16).padStart(4, '0')}`,
  ).join('')

/**
 * The text on one line, with every character that could control the terminal written as `\uXXXX`. Names and messages come from
 * banks, platforms and gateways, so nothing is printed without it.
 */
export const escapeControlCharacters = (text: string): string => text.replace(UNSAFE, escapeCodeUnits)

/** The same for text of several lines: line feeds stay. */
export const escapeLines = (text: string): string => text.split('\n').map(escapeControlCharacters).join('\n')

/** One JSON document without a line feed at its end, in which no character can control the terminal. */
export const toJson = (value: unknown, indentation = 0): string =>
  JSON.stringify(value, undefined, indentation).replace(UNSAFE_IN_JSON, escapeCodeUnits)

/** In bold if the stream is a terminal with colours; `NO_COLOR` is respected. */
export const bold = (text: string, stream: NodeJS.WriteStream): string => styleText('bold', text, { stream })

const WIDE =
  /\p{Emoji_Presentation}|[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]/u
const SEGMENTER = new Intl.Segmenter()

/** How many columns of a terminal the text takes. */
export const displayWidth = (text: string): number =>
  Array.from(SEGMENTER.segment(text), ({ segment }) => (WIDE.test(segment) ? 2 : 1)).reduce<number>(
    (sum, width) => sum + width,
    0,
  )

/** Pads the text with spaces to this many columns. */
export const padToWidth = (text: string, width: number, align: 'left' | 'right' = 'left'): string => {
  const padding = ' '.repeat(Math.max(0, width - displayWidth(text)))
  return align === 'left' ? text + padding : padding + text
}
