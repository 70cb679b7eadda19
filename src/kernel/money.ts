import { findCurrency } from './currencies.ts'

/** An amount as a decimal string with at most 5 decimals; negative if the customer owes it. Never a float, never "-0". */
export type Decimal = string & { readonly decimal: unique symbol }

/** An ISO 4217 code that `currencies.ts` supports. */
export type CurrencyCode = string & { readonly currency: unique symbol }

/** An amount in a currency. */
export interface Money {
  readonly amount: Decimal
  readonly currency: CurrencyCode
}

const SCALE = 5
const DECIMAL = /^([+-]?)(\d{1,18})(?:\.(\d{1,5}))?$/

/** Parses a bank's decimal string; `undefined` if it is not one. Keeps the written decimals. */
export function parseDecimal(text: string): Decimal | undefined {
  const match = DECIMAL.exec(text)
  if (!match) return undefined
  const whole = match[2]!.replace(/^0+(?=\d)/, '')
  const written = match[3] === undefined ? whole : `${whole}.${match[3]}`
  const negative = match[1] === '-' && /[1-9]/.test(written)
  return (negative ? `-${written}` : written) as Decimal
}

/**
 * Parses the text of a JSON number exactly, with its exponent: `1.5e2` is 150. `undefined` if it is not a number, or has more
 * digits or decimals than any currency.
 */
export function parseJsonNumber(text: string): Decimal | undefined {
  const match = /^(-?)(\d{1,24})(?:\.(\d{1,24}))?[eE]([+-]?\d{1,2})$/.exec(text)
  if (!match) return parseDecimal(text)
  const [, sign = '', whole = '', fraction = '', exponent = ''] = match
  const digits = whole + fraction
  const point = whole.length + Number(exponent)
  if (point < -24 || point > 24) return undefined
  const padded = '0'.repeat(Math.max(0, 1 - point)) + digits.padEnd(point, '0')
  const at = Math.max(point, 1)
  const decimals = padded.slice(at).replace(/0+$/, '')
  return parseDecimal(`${sign}${padded.slice(0, at)}${decimals && `.${decimals}`}`)
}

/** The same amount with the other sign; zero stays zero. */
export function negate(amount: Decimal): Decimal {
  if (!/[1-9]/.test(amount)) return amount
  return (amount.startsWith('-') ? amount.slice(1) : `-${amount}`) as Decimal
}

/** The amount in hundred-thousandths, exact. */
export function toScaledUnits(amount: Decimal): bigint {
  const match = DECIMAL.exec(amount)!
  const units = BigInt(match[2]! + (match[3] ?? '').padEnd(SCALE, '0'))
  return match[1] === '-' ? -units : units
}

/** The decimal string for an amount in hundred-thousandths, without trailing zeros. */
export function fromScaledUnits(units: bigint): Decimal {
  const digits = (units < 0n ? -units : units).toString().padStart(SCALE + 1, '0')
  const fraction = digits.slice(-SCALE).replace(/0+$/, '')
  const whole = digits.slice(0, -SCALE)
  return ((units < 0n ? '-' : '') + whole + (fraction && `.${fraction}`)) as Decimal
}

/** Banks state accrued interest in thousandths of the minor unit at most. */
const MAX_EXTRA_DECIMALS = 3

/**
 * The amount with at least the decimals of its currency; further decimals are kept if they are not zero. `undefined` if the
 * amount is too precise: any fraction if the currency has no minor units, otherwise less than a thousandth of a minor unit.
 */
export function withCurrencyDecimals(amount: Decimal, currency: CurrencyCode): Decimal | undefined {
  const minorUnits = findCurrency(currency)?.minorUnits
  if (minorUnits === undefined) return undefined
  const [whole = '', written = ''] = amount.split('.')
  const decimals = written.replace(/0+$/, '').padEnd(minorUnits, '0')
  if (decimals.length > (minorUnits === 0 ? 0 : minorUnits + MAX_EXTRA_DECIMALS)) return undefined
  return (decimals ? `${whole}.${decimals}` : whole) as Decimal
}

/** Parses a currency code; `undefined` if it is not supported, such as XXX, metals and test codes. */
export const parseCurrency = (text: string): CurrencyCode | undefined =>
  findCurrency(text) ? (text as CurrencyCode) : undefined
