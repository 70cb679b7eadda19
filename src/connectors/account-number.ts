/** 6 to 30 characters: a shorter number does not identify an account. */
const ACCOUNT_NUMBER = /^[A-Z0-9]{6,30}$/
const IBAN = /^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$/

/**
 * Reduces an IBAN to the national account number in it, so that it equals the result of `parseAccountNumber` for the same
 * account. Returns `null` if the check digits are wrong (ISO 7064, MOD 97-10), as in a masked IBAN.
 */
export function parseIban(text: string): string | null {
  const compact = text.replaceAll(/\s/g, '').toUpperCase()
  if (!IBAN.test(compact)) return null
  const digits = (compact.slice(4) + compact.slice(0, 4)).replaceAll(/[A-Z]/g, (letter) => String(parseInt(letter, 36)))
  return BigInt(digits) % 97n === 1n ? parseAccountNumber(compact.slice(4)) : null
}

/**
 * Normalises a national account number (BBAN, or sort code and account number). Returns `null` if it may be masked and
 * could therefore match several accounts. Drops a leading four-letter bank code: only numbers of the same bank are
 * compared.
 */
export function parseAccountNumber(text: string): string | null {
  const compact = text.replaceAll(/[\s-]/g, '').toUpperCase()
  if (!ACCOUNT_NUMBER.test(compact) || compact.includes('XX')) return null
  const digits = compact.replace(/^[A-Z]{4}(?=[0-9])/, '')
  return /[0-9]{6}/.test(digits) ? digits : null
}
