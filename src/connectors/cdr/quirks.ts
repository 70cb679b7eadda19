/** The standard's default currency, for balances that name none. */
export const DEFAULT_CURRENCY = 'AUD'

/**
 * The versions of each endpoint that can be read, newest first. The members that Guichet reads have the same names and
 * meaning in all of them.
 */
export const VERSIONS: Readonly<Record<VersionedOperation, readonly [newest: number, ...older: number[]]>> = {
  accounts: [3, 2],
  balances: [2, 1],
  balance: [1],
}
/** An endpoint with versions. */
export type VersionedOperation = 'accounts' | 'balances' | 'balance'

/** `x-cds-client-headers`: the customer's User-Agent in base64, mandatory while the customer is present. */
export const clientHeaders = (userAgent: string): string =>
  Buffer.from(`User-Agent: ${userAgent}`, 'utf8').toString('base64')
