import type { OfficialApi } from './official-api.ts'
import { canonicalAmount, negated, type StatedBalance } from './oracle.ts'
import { amountText, currencyCode, dateTime, iban, opaqueId, plantCanaries, type Dice } from './seeded-values.ts'

interface Amount {
  currency: string
  amount: string
}
/** The members of an account or card account that the tests read or set. */
export interface BerlinGroupAccount {
  resourceId?: string
  iban?: string
  bban?: string
  maskedPan?: string
  currency: string
  cashAccountType?: string
  status?: string
  usage?: string
  balances?: BerlinGroupBalance[]
  _links?: Record<string, { href: string }>
}
/** The members of a balance that the tests read or set. */
export interface BerlinGroupBalance {
  balanceAmount: Amount
  balanceType: string
  creditLimitIncluded?: boolean
  lastChangeDateTime?: string
  referenceDate?: string
}

const FREE_TEXT = new Set([
  'name',
  'displayName',
  'product',
  'details',
  'ownerName',
  'linkedAccounts',
  'lastCommittedTransaction',
])

/** A random response to GET /v1/accounts or GET /v1/card-accounts, with resource ids as a bank with balances gives them. */
export function createBerlinGroupAccounts(
  api: OfficialApi,
  { operation, seed, dice }: { operation: 'getAccountList' | 'getCardAccountList'; seed: number; dice: Dice },
): { body: unknown; accounts: BerlinGroupAccount[] } {
  const isCard = operation === 'getCardAccountList'
  const body = api.createResponse(operation, seed) as Record<string, BerlinGroupAccount[]>
  const accounts = body[isCard ? 'cardAccounts' : 'accounts'] ?? []
  for (const account of accounts) {
    account.resourceId = opaqueId(dice, 120)
    account.currency = dice.isLikely(0.1) ? 'XXX' : currencyCode(dice)
    if (account.iban !== undefined) account.iban = iban(dice)
    if (account.cashAccountType !== undefined) account.cashAccountType = dice.pick(Object.keys(ACCOUNT_TYPES))
    if (account._links) account._links = createLinks(account.resourceId, isCard, dice)
    for (const balance of account.balances ?? []) setBalance(balance, dice)
  }
  plantCanaries(body, FREE_TEXT)
  return { body, accounts }
}

function createLinks(resourceId: string, isCard: boolean, dice: Dice): Record<string, { href: string }> {
  const path = `/v1/${isCard ? 'card-accounts' : 'accounts'}/${encodeURIComponent(resourceId)}`
  return {
    ...(dice.isLikely(0.7) && { balances: { href: `${path}/balances` } }),
    ...(dice.isLikely(0.5) && { transactions: { href: `${path}/transactions` } }),
  }
}

/** A random response to GET /v1/accounts/{id}/balances, or the same of a card account. */
export function createBerlinGroupBalances(
  api: OfficialApi,
  { operation, seed, dice }: { operation: 'getBalances' | 'getCardAccountBalances'; seed: number; dice: Dice },
): { body: unknown; balances: BerlinGroupBalance[]; debitAccounting: boolean | undefined } {
  const body = api.createResponse(operation, seed) as { balances: BerlinGroupBalance[]; debitAccounting?: boolean }
  for (const balance of body.balances) setBalance(balance, dice)
  plantCanaries(body, FREE_TEXT)
  return { body, balances: body.balances, debitAccounting: body.debitAccounting }
}

function setBalance(balance: BerlinGroupBalance, dice: Dice): void {
  const currency = currencyCode(dice)
  const amount = amountText(dice, currency, { wholeDigits: 14, minDecimals: 0, maxDecimals: 3, signed: true })
  balance.balanceAmount = { currency, amount }
  if (balance.lastChangeDateTime !== undefined) balance.lastChangeDateTime = dateTime(dice)
  if (balance.referenceDate !== undefined) balance.referenceDate = dateTime(dice).slice(0, 10)
}

/** The balance types that the gateway passes on. forwardAvailable and nonInvoiced are left out on purpose. */
const TYPES: Readonly<Record<string, string>> = {
  closingBooked: 'CLOSING_BOOKED',
  expected: 'EXPECTED',
  openingBooked: 'OPENING_BOOKED',
  interimAvailable: 'INTERIM_AVAILABLE',
  interimBooked: 'INTERIM_BOOKED',
}

/**
 * What the bank stated of one account. The amounts of a card account with `debitAccounting` have the other sign (1.3.11, 14.5);
 * without that member their sign is open.
 */
export function readBerlinGroupBalances(
  balances: readonly BerlinGroupBalance[],
  card?: { readonly debitAccounting: boolean | undefined },
): StatedBalance[] {
  return balances.flatMap(({ balanceType, balanceAmount, creditLimitIncluded, lastChangeDateTime, referenceDate }) => {
    const type = TYPES[balanceType]
    if (type === undefined) return []
    const amount = canonicalAmount(balanceAmount.amount)
    return [
      {
        type,
        currency: balanceAmount.currency,
        amount: card?.debitAccounting ? negated(amount) : amount,
        creditLineIncluded: creditLimitIncluded ?? null,
        // `referenceDate` is the date of the balance (1.3.11, 14.5).
        dates: [referenceDate, lastChangeDateTime],
        isAmbiguous: card !== undefined && card.debitAccounting === undefined,
      },
    ]
  })
}

/** ISO 20022 ExternalCashAccountType1Code: the codes that have a type in the gateway, and some that have none. */
const ACCOUNT_TYPES: Readonly<Record<string, string>> = {
  ...Object.fromEntries(['CACC', 'TRAN', 'SLRY', 'NFCA'].map((code) => [code, 'CURRENT'])),
  ...Object.fromEntries(['SVGS', 'LLSV', 'MOMA', 'ONDP'].map((code) => [code, 'SAVINGS'])),
  ...Object.fromEntries(['LOAN', 'ODFT', 'MGLD'].map((code) => [code, 'LOAN'])),
  CARD: 'CARD',
  MORT: 'MORTGAGE',
  ...Object.fromEntries(
    ['CASH', 'CHAR', 'CISH', 'COMM', 'CPAC', 'NREX', 'OTHR', 'SACC', 'TAXE', 'TRAS'].map((code) => [code, 'OTHER']),
  ),
}
const STATUSES: Readonly<Record<string, string>> = { enabled: 'OPEN', blocked: 'RESTRICTED', deleted: 'CLOSED' }

/** An account as the bank stated it. */
export const readBerlinGroupAccount = (account: BerlinGroupAccount, isCard: boolean) => ({
  type: isCard ? 'CARD' : (ACCOUNT_TYPES[account.cashAccountType ?? ''] ?? 'OTHER'),
  usage: { PRIV: 'PERSONAL', ORGA: 'BUSINESS' }[account.usage ?? ''] ?? 'UNKNOWN',
  status: STATUSES[account.status ?? 'enabled'] ?? 'UNKNOWN',
  currency: ['QQQ', 'XXX'].includes(account.currency) ? null : account.currency,
})
