/** The shortest and the longest number that names an account. */
const ACCOUNT_NUMBER = /^[A-Z0-9]{6,30}$/
const IBAN = /^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$/

/**
 * An IBAN in its canonical form: the national number within it, so that the same account given by its national number is
 * the same. `null` where the check digits are wrong (ISO 7064, MOD 97-10): a masked or made-up one names no account.
 */
export function parseIban(text: string): string | null {
  const compact = text.replaceAll(/\s/g, '').toUpperCase()
  if (!IBAN.test(compact)) return null
  const digits = (compact.slice(4) + compact.slice(0, 4)).replaceAll(/[A-Z]/g, (letter) => String(parseInt(letter, 36)))
  return BigInt(digits) % 97n === 1n ? parseAccountNumber(compact.slice(4)) : null
}

/**
 * A national number (BBAN, or sort code and account number) in its canonical form. `null` where it may be masked: then it
 * could be that of several accounts. The letters of the bank that begin some national numbers are left out, for only one
 * bank's numbers are ever compared.
 */
export function parseAccountNumber(text: string): string | null {
  const compact = text.replaceAll(/[\s-]/g, '').toUpperCase()
  if (!ACCOUNT_NUMBER.test(compact) || compact.includes('XX')) return null
  const digits = compact.replace(/^[A-Z]{4}(?=[0-9])/, '')
  return /[0-9]{6}/.test(digits) ? digits : null
}
