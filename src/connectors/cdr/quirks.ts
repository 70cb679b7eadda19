/** The standard's default currency, for balances that name none. */
export const DEFAULT_CURRENCY = 'AUD'

/** The preferred (`x-v`) and the oldest accepted (`x-min-v`) version of each endpoint. */
export const VERSIONS = {
  accounts: { 'x-v': '3', 'x-min-v': '2' },
  balances: { 'x-v': '2', 'x-min-v': '1' },
  balance: { 'x-v': '1', 'x-min-v': '1' },
} as const satisfies Record<string, Record<string, string>>

/** `x-cds-client-headers`: the customer's User-Agent in base64, mandatory while the customer is present. */
export const clientHeaders = (userAgent: string): string =>
  Buffer.from(`User-Agent: ${userAgent}`, 'utf8').toString('base64')
