import type { OfficialApi } from './official-api.ts'
import { canonicalAmount, negated, type StatedBalance } from './oracle.ts'
import { amountText, currencyCode, dateTime, iban, opaqueId, plantCanaries, type Dice } from './seeded-values.ts'

interface ObieAmount {
  Amount: string
  Currency: string
}
/** The members of an account that the tests read or set. */
export interface ObieAccount {
  AccountId: string
  Status?: string
  Currency?: string
  AccountType?: string
  AccountSubType?: string
  AccountCategory?: string
  AccountTypeCode?: string
  Account?: { SchemeName: string; Identification: string }[]
}
/** The members of a balance that the tests read or set. */
export interface ObieBalance {
  AccountId: string
  CreditDebitIndicator: string
  Type: string
  DateTime: string
  Amount: ObieAmount
  CreditLine?: { Included: boolean; Amount?: ObieAmount }[]
  LocalAmount?: ObieAmount
}

const FREE_TEXT = new Set(['Nickname', 'Description', 'Name', 'StreetName', 'TownName', 'Department', 'BuildingName'])
const SCHEMES = ['UK.OBIE.IBAN', 'UK.OBIE.SortCodeAccountNumber', 'UK.OBIE.PAN', 'UK.OBIE.BBAN', 'UK.OBIE.Wallet']

/** A random response to GET /accounts, with ids, currencies and account numbers that a bank could have. */
export function createObieAccounts(
  api: OfficialApi,
  seed: number,
  dice: Dice,
): { body: unknown; accounts: ObieAccount[] } {
  const body = api.createResponse('GetAccounts', seed) as { Data: { Account?: ObieAccount[] } }
  for (const account of body.Data.Account ?? []) {
    account.AccountId = opaqueId(dice, 40)
    if (account.Currency !== undefined) account.Currency = currencyCode(dice)
    for (const number of account.Account ?? []) {
      number.SchemeName = dice.pick(SCHEMES)
      number.Identification = number.SchemeName.endsWith('IBAN')
        ? iban(dice)
        : number.SchemeName.endsWith('PAN')
          ? '541333******4242'
          : String(20_000_000_000_000 + dice.below(999_999_999))
    }
  }
  setLinks(body)
  plantCanaries(body, FREE_TEXT)
  return { body, accounts: body.Data.Account ?? [] }
}

/** A random response to a balances operation, of these accounts. */
export function createObieBalances(
  api: OfficialApi,
  { operation, seed, dice }: { operation: string; seed: number; dice: Dice },
  accountIds: readonly string[],
): { body: { Data: { Balance: ObieBalance[] } }; balances: ObieBalance[] } {
  const body = api.createResponse(operation, seed) as { Data: { Balance: ObieBalance[] } }
  for (const balance of body.Data.Balance) {
    balance.AccountId = dice.pick(accountIds)
    balance.DateTime = dateTime(dice)
    setAmount(balance.Amount, dice, currencyCode(dice))
    for (const { Amount } of balance.CreditLine ?? [])
      if (Amount) setAmount(Amount, dice, dice.isLikely(0.9) ? balance.Amount.Currency : currencyCode(dice))
    if (balance.LocalAmount) setAmount(balance.LocalAmount, dice, currencyCode(dice))
  }
  setLinks(body)
  return { body, balances: body.Data.Balance }
}

function setAmount(target: ObieAmount, dice: Dice, currency: string): void {
  target.Currency = currency
  target.Amount = amountText(dice, currency, { wholeDigits: 13, minDecimals: 0, maxDecimals: 5, signed: false })
}

function setLinks(body: object): void {
  if ('Links' in body) body.Links = { Self: 'https://bank.example/self' }
}

/** Splits a list over two pages. */
export function splitObiePages(body: unknown, list: 'Account' | 'Balance'): unknown[] {
  const { Data, ...rest } = body as { Data: Record<string, unknown[] | undefined> }
  const entries = Data[list] ?? []
  if (entries.length < 2) return [body]
  const half = Math.ceil(entries.length / 2)
  return [entries.slice(0, half), entries.slice(half)].map((part) => ({ ...rest, Data: { ...Data, [list]: part } }))
}

/** Links.Next of one page (4.0 and 3.1.11, "Pagination"). */
export const linkObieNext = (body: unknown, Next: string): unknown => ({
  ...(body as object),
  Links: { Self: 'https://bank.example/self', Next },
})

/** The balance types of both versions that the gateway passes on. FWAV and INFO are left out on purpose. */
const TYPES: Readonly<Record<string, string>> = {
  CLAV: 'CLOSING_AVAILABLE',
  CLBD: 'CLOSING_BOOKED',
  ITAV: 'INTERIM_AVAILABLE',
  ITBD: 'INTERIM_BOOKED',
  OPAV: 'OPENING_AVAILABLE',
  OPBD: 'OPENING_BOOKED',
  PRCD: 'PREVIOUSLY_CLOSED_BOOKED',
  XPCD: 'EXPECTED',
  ClosingAvailable: 'CLOSING_AVAILABLE',
  ClosingBooked: 'CLOSING_BOOKED',
  ClosingCleared: 'CLOSING_BOOKED',
  Expected: 'EXPECTED',
  InterimAvailable: 'INTERIM_AVAILABLE',
  InterimBooked: 'INTERIM_BOOKED',
  InterimCleared: 'INTERIM_BOOKED',
  OpeningAvailable: 'OPENING_AVAILABLE',
  OpeningBooked: 'OPENING_BOOKED',
  OpeningCleared: 'OPENING_BOOKED',
  PreviouslyClosedBooked: 'PREVIOUSLY_CLOSED_BOOKED',
}

/** What the bank stated of one account: unsigned amounts, whose sign is the indicator's. */
export function readObieBalances(balances: readonly ObieBalance[]): StatedBalance[] {
  const booked = new Set(balances.flatMap(({ Type }) => (Type.endsWith('Booked') ? [Type.replace('Booked', '')] : [])))
  return balances.flatMap(({ Type, CreditDebitIndicator, Amount, CreditLine, DateTime }) => {
    const type = TYPES[Type]
    // A cleared balance stands in for a booked one that is missing.
    if (type === undefined || (Type.endsWith('Cleared') && booked.has(Type.replace('Cleared', '')))) return []
    const amount = canonicalAmount(Amount.Amount)
    return [
      {
        type,
        currency: Amount.Currency,
        amount: CreditDebitIndicator === 'Debit' ? negated(amount) : amount,
        creditLineIncluded: CreditLine?.length ? CreditLine.some(({ Included }) => Included) : null,
        dates: [DateTime],
      },
    ]
  })
}

/** The account types of both versions; the others are OTHER. */
const ACCOUNT_TYPES: Readonly<Record<string, string>> = {
  ...Object.fromEntries(['CACC', 'TRAN', 'SLRY', 'NFCA', 'CurrentAccount'].map((code) => [code, 'CURRENT'])),
  ...Object.fromEntries(['SVGS', 'LLSV', 'MOMA', 'ONDP', 'Savings'].map((code) => [code, 'SAVINGS'])),
  ...Object.fromEntries(['CARD', 'CreditCard', 'ChargeCard'].map((code) => [code, 'CARD'])),
  ...Object.fromEntries(['WALT', 'EMoney', 'PrePaidCard', 'Wallet'].map((code) => [code, 'PREPAID_OR_WALLET'])),
  ...Object.fromEntries(['LOAN', 'ODFT', 'MGLD', 'Loan'].map((code) => [code, 'LOAN'])),
  ...Object.fromEntries(['MORT', 'Mortgage'].map((code) => [code, 'MORTGAGE'])),
}
const STATUSES: Readonly<Record<string, string>> = {
  Enabled: 'OPEN',
  Disabled: 'RESTRICTED',
  Deleted: 'CLOSED',
  Pending: 'PENDING',
  ProForma: 'PENDING',
}

/** An account as the bank stated it. */
export const readObieAccount = (account: ObieAccount) => ({
  ref: account.AccountId,
  type: ACCOUNT_TYPES[account.AccountTypeCode ?? account.AccountSubType ?? ''] ?? 'OTHER',
  usage: (account.AccountCategory ?? account.AccountType)?.toUpperCase() ?? 'UNKNOWN',
  status: STATUSES[account.Status ?? ''] ?? 'UNKNOWN',
  currency: account.Currency === 'QQQ' ? null : (account.Currency ?? null),
})
