/** A balance that names no currency is in Australian dollars: the standard's own default. */
export const DEFAULT_CURRENCY = 'AUD'

/** The versions of the endpoints that Guichet reads (`x-v`), and the oldest that it can make do with (`x-min-v`). */
export const VERSIONS = {
  accounts: { 'x-v': '3', 'x-min-v': '2' },
  balances: { 'x-v': '2', 'x-min-v': '1' },
  balance: { 'x-v': '1', 'x-min-v': '1' },
} as const satisfies Record<string, Record<string, string>>

/** `x-cds-client-headers`: what the customer's own browser said of itself, mandatory while the customer is present. */
export const clientHeaders = (userAgent: string): string =>
  Buffer.from(`User-Agent: ${userAgent}`, 'utf8').toString('base64')
