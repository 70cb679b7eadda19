import { findCurrency } from './currencies.ts'

/** An amount as a decimal string, at most 5 decimals, negative when the customer owes it. Never a float, never "-0". */
export type Decimal = string & { readonly decimal: unique symbol }

/** An ISO 4217 code of the table in `currencies.ts`. */
export type CurrencyCode = string & { readonly currency: unique symbol }

/** An amount in a currency. */
export interface Money {
  readonly amount: Decimal
  readonly currency: CurrencyCode
}

const SCALE = 5
const DECIMAL = /^([+-]?)(\d{1,18})(?:\.(\d{1,5}))?$/

/** Reads a decimal string as banks write them; `undefined` where it is not one. Keeps the written decimals. */
export function parseDecimal(text: string): Decimal | undefined {
  const match = DECIMAL.exec(text)
  if (!match) return undefined
  const whole = match[2]!.replace(/^0+(?=\d)/, '')
  const written = match[3] === undefined ? whole : `${whole}.${match[3]}`
  const negative = match[1] === '-' && /[1-9]/.test(written)
  return (negative ? `-${written}` : written) as Decimal
}

/**
 * Reads a JSON number as it was written, exponent and all: `1.5e2` is 150, exactly. `undefined` where it is none, or has
 * more decimals or digits than any currency.
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

/** The decimal string of a number of hundred-thousandths, without needless zeros. */
export function fromScaledUnits(units: bigint): Decimal {
  const digits = (units < 0n ? -units : units).toString().padStart(SCALE + 1, '0')
  const fraction = digits.slice(-SCALE).replace(/0+$/, '')
  const whole = digits.slice(0, -SCALE)
  return ((units < 0n ? '-' : '') + whole + (fraction && `.${fraction}`)) as Decimal
}

/** Accrued interest is stated in thousandths of the minor unit at most. */
const MAX_EXTRA_DECIMALS = 3

/**
 * The amount with the decimals of its currency: as many as it has minor units, and more only where they are not zero.
 * `undefined` where it has more than the currency can: a fraction of a currency without minor units, or less than a
 * thousandth of a minor unit.
 */
export function withCurrencyDecimals(amount: Decimal, currency: CurrencyCode): Decimal | undefined {
  const minorUnits = findCurrency(currency)?.minorUnits
  if (minorUnits === undefined) return undefined
  const [whole = '', written = ''] = amount.split('.')
  const decimals = written.replace(/0+$/, '').padEnd(minorUnits, '0')
  if (decimals.length > (minorUnits === 0 ? 0 : minorUnits + MAX_EXTRA_DECIMALS)) return undefined
  return (decimals ? `${whole}.${decimals}` : whole) as Decimal
}

/** Reads a currency code; `undefined` for whatever is not in the table, such as XXX, metals and codes of test data. */
export const parseCurrency = (text: string): CurrencyCode | undefined =>
  findCurrency(text) ? (text as CurrencyCode) : undefined
