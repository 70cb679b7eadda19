import { createRandom } from '../random-documents.ts'

/** Seeded choices. */
export interface Dice {
  /** A number from 0 up to, and without, `limit`. */
  below(limit: number): number
  pick<T>(items: readonly T[]): T
  isLikely(share: number): boolean
}

export function createDice(seed: number): Dice {
  const random = createRandom(seed)
  const below = (limit: number): number => Math.floor(random() * limit)
  return { below, pick: (items) => items[below(items.length)]!, isLikely: (share) => random() < share }
}

/** Some currencies of ISO 4217 with their minor units. */
const CURRENCIES: Readonly<Record<string, number>> = {
  GBP: 2,
  EUR: 2,
  USD: 2,
  AUD: 2,
  CHF: 2,
  SEK: 2,
  JPY: 0,
  ISK: 0,
  KWD: 3,
}
/** A code that has the form of a currency and is none. */
const NO_CURRENCY = 'QQQ'
/** Text that no result and no log line may contain. */
export const CANARY = 'CANARY-77'

/** A currency of ISO 4217; rarely a code that is none. */
export const currencyCode = (dice: Dice): string =>
  dice.isLikely(0.03) ? NO_CURRENCY : dice.pick(Object.keys(CURRENCIES))

/** The minor units of a currency; undefined if it is none. */
export const minorUnitsOf = (currency: string): number | undefined => CURRENCIES[currency]

/** An amount in the format of a standard, mostly with as many decimals as its currency has. */
export function amountText(
  dice: Dice,
  currency: string,
  format: { wholeDigits: number; minDecimals: number; maxDecimals: number; signed: boolean },
): string {
  const whole = Array.from({ length: 1 + dice.below(dice.isLikely(0.8) ? 6 : format.wholeDigits) }, () =>
    dice.below(10),
  )
  const usual = dice.isLikely(0.3) ? 0 : (minorUnitsOf(currency) ?? 2)
  const wanted = dice.isLikely(0.05) ? dice.below(format.maxDecimals + 1) : usual
  const decimals = Math.min(Math.max(wanted, format.minDecimals), format.maxDecimals)
  const fraction = Array.from({ length: decimals }, (_, index) => (index < usual ? dice.below(10) : 0))
  return (
    (format.signed && dice.isLikely(0.3) ? '-' : '') + whole.join('') + (decimals > 0 ? `.${fraction.join('')}` : '')
  )
}

/** An opaque id: what banks use, and any printable characters. */
export function opaqueId(dice: Dice, maxLength: number, alphabet: string = PRINTABLE): string {
  const usual = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.'
  const letters = dice.isLikely(0.6) ? usual : alphabet
  const length = 8 + dice.below(Math.max(1, maxLength - 8))
  const id = Array.from({ length }, () => dice.pick(Array.from(letters))).join('')
  // Dot segments, which no encoding protects from every server, and white space that a form loses.
  return /(?:^|[/\\])\.{1,2}(?:$|[/\\])/.test(id) || id.trim() !== id ? 'a'.repeat(length) : id
}
const PRINTABLE =
  Array.from({ length: 0x7f - 0x20 }, (_, index) => String.fromCharCode(0x20 + index)).join('') + 'äß€漢'

/** A date and time with a zone, from a few days, so that equal ones occur. */
export const dateTime = (dice: Dice): string =>
  `2026-0${1 + dice.below(3)}-1${dice.below(3)}T0${dice.below(2)}:00:00${dice.pick(['Z', '+00:00', '+01:00', '-03:30'])}`

/** An IBAN with right check digits. */
export function iban(dice: Dice): string {
  const bban = Array.from({ length: 18 }, () => dice.below(10)).join('')
  // D is 13, E is 14.
  const check = 98n - (BigInt(`${bban}131400`) % 97n)
  return `DE${String(check).padStart(2, '0')}${bban}`
}

/** Replaces the text of every member with one of these names, at any depth, by a canary that fits. */
export function plantCanaries(value: unknown, names: ReadonlySet<string>): void {
  if (typeof value !== 'object' || value === null) return
  for (const [name, member] of Object.entries(value))
    if (names.has(name) && typeof member === 'string') Object.assign(value, { [name]: CANARY })
    else plantCanaries(member, names)
}
