import type { OfficialApi } from './official-api.ts'
import { canonicalAmount, type StatedBalance } from './oracle.ts'
import { amountText, currencyCode, minorUnitsOf, opaqueId, plantCanaries, type Dice } from './seeded-values.ts'

/** The members of an account that the tests read or set. */
export interface CdrAccount {
  accountId: string
  maskedNumber: string
  productCategory: string
  openStatus?: string
  creationDate?: string
}
/** The members of an account's balances that the tests read or set. */
export interface CdrBalance {
  accountId: string
  currentBalance: string
  availableBalance: string
  creditLimit?: string
  amortisedLimit?: string
  currency?: string
  purses?: { amount: string; currency?: string }[]
}
interface CdrBody {
  data: { accounts?: CdrAccount[]; balances?: CdrBalance[] }
  links: Record<string, string>
  meta?: Record<string, number>
}

const FREE_TEXT = new Set(['displayName', 'nickname', 'productName'])
/** ASCIIString (1.36, "Common field types"), of which an id in a path has the printable characters. */
const ASCII = Array.from({ length: 0x7f - 0x21 }, (_, index) => String.fromCharCode(0x21 + index)).join('')

const cdrId = (dice: Dice): string => opaqueId(dice, 64, ASCII)

/** A random response to GET /banking/accounts. */
export function createCdrAccounts(
  api: OfficialApi,
  seed: number,
  dice: Dice,
): { body: unknown; accounts: CdrAccount[] } {
  const body = api.createResponse('listBankingAccounts', seed) as CdrBody
  const accounts = body.data.accounts ?? []
  for (const account of accounts) {
    account.accountId = cdrId(dice)
    account.maskedNumber = dice.pick(['xxxx xxxx 4242', 'XXXX5678', 'x1'])
    if (account.creationDate !== undefined) account.creationDate = '2020-02-29'
  }
  setLinks(body)
  plantCanaries(body, FREE_TEXT)
  return { body, accounts }
}

/** A random response to GET /banking/accounts/balances, of these accounts: each at most once. */
export function createCdrBulkBalances(
  api: OfficialApi,
  { seed, dice }: { seed: number; dice: Dice },
): { body: unknown; balances: CdrBalance[] } {
  const body = api.createResponse('listBankingBalancesBulk', seed) as CdrBody
  const balances = body.data.balances ?? []
  for (const balance of balances) setBalance(balance, cdrId(dice), dice)
  setLinks(body)
  return { body, balances }
}

/** A random response to GET /banking/accounts/{accountId}/balance. */
export function createCdrBalance(
  api: OfficialApi,
  { seed, dice }: { seed: number; dice: Dice },
): { body: unknown; balance: CdrBalance } {
  const body = api.createResponse('getBankingBalance', seed) as { data: CdrBalance; links: Record<string, string> }
  setBalance(body.data, cdrId(dice), dice)
  body.links = { self: 'https://bank.example/self' }
  return { body, balance: body.data }
}

function setBalance(balance: CdrBalance, accountId: string, dice: Dice): void {
  balance.accountId = accountId
  if (balance.currency !== undefined) balance.currency = currencyCode(dice)
  const currency = balance.currency ?? 'AUD'
  balance.currentBalance = cdrAmount(dice, currency, true)
  balance.availableBalance = cdrAmount(dice, currency, true)
  if (balance.creditLimit !== undefined) balance.creditLimit = cdrAmount(dice, currency, false)
  if (balance.amortisedLimit !== undefined) balance.amortisedLimit = cdrAmount(dice, currency, false)
  for (const subBalance of balance.purses ?? []) {
    if (subBalance.currency !== undefined) subBalance.currency = currencyCode(dice)
    subBalance.amount = cdrAmount(dice, subBalance.currency ?? 'AUD', true)
  }
}

/** AmountString: at least two decimals, also for a currency without minor units. */
const cdrAmount = (dice: Dice, currency: string, signed: boolean): string =>
  amountText(dice, currency, {
    wholeDigits: 16,
    minDecimals: 2,
    maxDecimals: Math.max(2, minorUnitsOf(currency) ?? 2),
    signed,
  })

function setLinks(body: CdrBody): void {
  body.links = { self: 'https://bank.example/self' }
  body.meta = { totalRecords: 4, totalPages: 1 }
}

/** Splits a list over two pages. */
export function splitCdrPages(body: unknown, list: 'accounts' | 'balances'): unknown[] {
  const { data, ...rest } = body as CdrBody
  const entries = data[list] ?? []
  if (entries.length < 2) return [body]
  const half = Math.ceil(entries.length / 2)
  return [entries.slice(0, half), entries.slice(half)].map((part) => ({ ...rest, data: { [list]: part } }))
}

/** links.next of one page (1.36, "Pagination"). */
export const linkCdrNext = (body: unknown, next: string): unknown => ({
  ...(body as object),
  links: { self: 'https://bank.example/self', next },
})

/**
 * What the bank stated: amounts from the customer's side, and a purse for each currency that is not the account's own. The standard
 * has no currency for a purse that names none.
 */
export function readCdrBalance(balance: CdrBalance): StatedBalance[] {
  const currency = balance.currency ?? 'AUD'
  const hasLimit = /[1-9]/.test(balance.creditLimit ?? '') && minorUnitsOf(currency) !== undefined
  return [
    { type: 'INTERIM_BOOKED', currency, amount: canonicalAmount(balance.currentBalance), creditLineIncluded: null },
    {
      type: 'INTERIM_AVAILABLE',
      currency,
      amount: canonicalAmount(balance.availableBalance),
      creditLineIncluded: hasLimit ? true : null,
    },
    ...(balance.purses ?? []).flatMap(({ amount, currency: other }) =>
      other === undefined || other === currency
        ? []
        : [{ type: 'INTERIM_AVAILABLE', currency: other, amount: canonicalAmount(amount), creditLineIncluded: null }],
    ),
  ]
}

/** The product categories of 1.36. */
const ACCOUNT_TYPES: Readonly<Record<string, string>> = {
  TRANS_AND_SAVINGS_ACCOUNTS: 'CURRENT',
  TERM_DEPOSITS: 'TERM_DEPOSIT',
  CRED_AND_CHRG_CARDS: 'CARD',
  TRAVEL_CARDS: 'PREPAID_OR_WALLET',
  RESIDENTIAL_MORTGAGES: 'MORTGAGE',
  REGULATED_TRUST_ACCOUNTS: 'OTHER',
}

/** An account as the bank stated it. The remaining categories are kinds of loans. */
export const readCdrAccount = (account: CdrAccount) => ({
  ref: account.accountId,
  type: ACCOUNT_TYPES[account.productCategory] ?? 'LOAN',
  status: account.openStatus ?? 'OPEN',
  currency: 'AUD',
})
