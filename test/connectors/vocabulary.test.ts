import { describe, expect, test } from 'vitest'
import { STANDARDS, type StandardId } from '../../src/connectors/index.ts'
import { ok, scriptedBank } from '../support/scripted-bank.ts'
import { accountsOf, balancesOf, connect, EXAMPLES } from '../support/standards.ts'

/** What every word of a standard means to us. `null`: left out on purpose, and no problem. */
type Words = Readonly<Record<string, string | null>>

const ISO_TYPES: Words = {
  CACC: 'CURRENT',
  TRAN: 'CURRENT',
  SLRY: 'CURRENT',
  NFCA: 'CURRENT',
  SVGS: 'SAVINGS',
  LLSV: 'SAVINGS',
  MOMA: 'SAVINGS',
  ONDP: 'SAVINGS',
  CARD: 'CARD',
  WALT: 'PREPAID_OR_WALLET',
  LOAN: 'LOAN',
  ODFT: 'LOAN',
  MGLD: 'LOAN',
  MORT: 'MORTGAGE',
  OTHR: 'OTHER',
  SACC: 'OTHER',
  COMM: 'OTHER',
  TAXE: 'OTHER',
  VACC: 'OTHER',
}
const ISO_BALANCES: Words = {
  ITAV: 'INTERIM_AVAILABLE',
  ITBD: 'INTERIM_BOOKED',
  XPCD: 'EXPECTED',
  CLBD: 'CLOSING_BOOKED',
  CLAV: 'CLOSING_AVAILABLE',
  OPBD: 'OPENING_BOOKED',
  OPAV: 'OPENING_AVAILABLE',
  PRCD: 'PREVIOUSLY_CLOSED_BOOKED',
  FWAV: null,
  INFO: null,
}
const OBIE_3_BALANCES: Words = {
  InterimAvailable: 'INTERIM_AVAILABLE',
  InterimBooked: 'INTERIM_BOOKED',
  InterimCleared: 'INTERIM_BOOKED',
  Expected: 'EXPECTED',
  ClosingBooked: 'CLOSING_BOOKED',
  ClosingCleared: 'CLOSING_BOOKED',
  ClosingAvailable: 'CLOSING_AVAILABLE',
  OpeningBooked: 'OPENING_BOOKED',
  OpeningCleared: 'OPENING_BOOKED',
  OpeningAvailable: 'OPENING_AVAILABLE',
  PreviouslyClosedBooked: 'PREVIOUSLY_CLOSED_BOOKED',
  ForwardAvailable: null,
  Information: null,
}
const BERLIN_BALANCES: Words = {
  interimAvailable: 'INTERIM_AVAILABLE',
  interimBooked: 'INTERIM_BOOKED',
  expected: 'EXPECTED',
  closingBooked: 'CLOSING_BOOKED',
  openingBooked: 'OPENING_BOOKED',
  forwardAvailable: null,
  nonInvoiced: null,
  authorised: null,
  information: null,
}
const CDR_TYPES: Words = {
  TRANS_AND_SAVINGS_ACCOUNTS: 'CURRENT',
  TERM_DEPOSITS: 'TERM_DEPOSIT',
  CRED_AND_CHRG_CARDS: 'CARD',
  TRAVEL_CARDS: 'PREPAID_OR_WALLET',
  PERS_LOANS: 'LOAN',
  OVERDRAFTS: 'LOAN',
  BUSINESS_LOANS: 'LOAN',
  MARGIN_LOANS: 'LOAN',
  LEASES: 'LOAN',
  TRADE_FINANCE: 'LOAN',
  BUY_NOW_PAY_LATER: 'LOAN',
  RESIDENTIAL_MORTGAGES: 'MORTGAGE',
  REGULATED_TRUST_ACCOUNTS: 'OTHER',
}
const FDX_TYPES: Readonly<Record<string, Words>> = {
  DEPOSIT_ACCOUNT: {
    CHECKING: 'CURRENT',
    SAVINGS: 'SAVINGS',
    MONEYMARKET: 'SAVINGS',
    HIGHINTERESTSAVINGSACCOUNT: 'SAVINGS',
    FIRSTHOMESAVINGSACCOUNT: 'SAVINGS',
    CD: 'TERM_DEPOSIT',
    ESCROW: 'OTHER',
  },
  LOC_ACCOUNT: { CREDITCARD: 'CARD', CHARGE: 'CARD', LINEOFCREDIT: 'LOAN', HOMELINEOFCREDIT: 'LOAN' },
  LOAN_ACCOUNT: { MORTGAGE: 'MORTGAGE', AUTOLOAN: 'LOAN', STUDENTLOAN: 'LOAN' },
  DIGITAL_WALLET: { ANYTHING: 'PREPAID_OR_WALLET' },
  INVESTMENT_ACCOUNT: { BROKERAGEACCOUNT: 'OTHER' },
  ANNUITY_ACCOUNT: { FIXEDANNUITY: 'OTHER' },
  INSURANCE_ACCOUNT: { LIFE: 'OTHER' },
  COMMERCIAL_ACCOUNT: { COMMERCIALDEPOSIT: 'OTHER' },
}

async function accountWith(id: StandardId, fields: Record<string, unknown>) {
  const { bank, problems } = connect(id, () => ok(EXAMPLES[id].accounts(fields)))
  return { account: (await accountsOf(bank))[0]!, problems }
}
async function typeOfBalance(id: StandardId, fields: Record<string, unknown>) {
  const { bank, problems } = connect(id, () => ok(EXAMPLES[id].balances(fields)))
  return { type: (await balancesOf(bank))[0]?.type ?? null, problems }
}
const cells = (words: Words) => Object.entries(words)

describe('account types, every cell', () => {
  test.each(cells(ISO_TYPES))('UK Open Banking 4.0 %s is %s', async (code, type) => {
    const { account, problems } = await accountWith('OBIE', { AccountTypeCode: code })
    expect([account.type, problems]).toEqual([type, []])
  })
  test.each(
    cells({
      CurrentAccount: 'CURRENT',
      Savings: 'SAVINGS',
      CreditCard: 'CARD',
      ChargeCard: 'CARD',
      EMoney: 'PREPAID_OR_WALLET',
      PrePaidCard: 'PREPAID_OR_WALLET',
      Wallet: 'PREPAID_OR_WALLET',
      Loan: 'LOAN',
      Mortgage: 'MORTGAGE',
    }),
  )('UK Open Banking 3.1.11 %s is %s', async (name, type) => {
    const { account, problems } = await accountWith('OBIE', { AccountTypeCode: undefined, AccountSubType: name })
    expect([account.type, problems]).toEqual([type, []])
  })
  test.each(cells(ISO_TYPES))('Berlin Group %s is %s', async (code, type) => {
    const { account, problems } = await accountWith('BERLIN_GROUP', { cashAccountType: code })
    expect([account.type, problems]).toEqual([type, []])
  })
  test.each(Object.entries(FDX_TYPES).flatMap(([category, words]) => cells(words).map((cell) => [category, ...cell])))(
    'FDX %s %s is %s',
    async (accountCategory, accountType, type) => {
      const { account, problems } = await accountWith('FDX', { accountCategory, accountType })
      expect([account.type, problems]).toEqual([type, []])
    },
  )
  test.each(cells(CDR_TYPES))('CDR %s is %s', async (productCategory, type) => {
    const { account, problems } = await accountWith('CDR', { productCategory })
    expect([account.type, problems]).toEqual([type, []])
  })
  test.each([
    ['OBIE', { AccountTypeCode: 'HOVR' }],
    ['BERLIN_GROUP', { cashAccountType: 'HOVR' }],
    ['FDX', { accountCategory: 'HOVERCRAFT' }],
    ['CDR', { productCategory: 'HOVERCRAFTS' }],
  ] as const)('an account type that %s does not define becomes OTHER and is reported', async (id, fields) => {
    const { account, problems } = await accountWith(id, fields)
    expect([account.type, problems]).toEqual(['OTHER', ['UNKNOWN_ACCOUNT_TYPE']])
  })
})

describe('account status and usage, every cell', () => {
  test.each([
    [
      'OBIE',
      'Status',
      { Enabled: 'OPEN', Pending: 'PENDING', ProForma: 'PENDING', Disabled: 'RESTRICTED', Deleted: 'CLOSED' },
    ],
    ['BERLIN_GROUP', 'status', { enabled: 'OPEN', blocked: 'RESTRICTED', deleted: 'CLOSED' }],
    [
      'FDX',
      'status',
      {
        OPEN: 'OPEN',
        DELINQUENT: 'OPEN',
        NEGATIVECURRENTBALANCE: 'OPEN',
        PAID: 'OPEN',
        PENDINGOPEN: 'PENDING',
        PENDINGCLOSE: 'PENDING',
        RESTRICTED: 'RESTRICTED',
        CLOSED: 'CLOSED',
      },
    ],
    ['CDR', 'openStatus', { OPEN: 'OPEN', CLOSED: 'CLOSED' }],
  ] as const)('%s', async (id, field, words) => {
    for (const [word, status] of Object.entries(words))
      expect((await accountWith(id, { [field]: word })).account.status).toBe(status)
    const absent = (await accountWith(id, { [field]: undefined })).account.status
    expect(absent).toBe({ OBIE: 'UNKNOWN', BERLIN_GROUP: 'OPEN', FDX: 'UNKNOWN', CDR: 'OPEN' }[id])
    const strange = await accountWith(id, { [field]: 'Sleeping' })
    expect([strange.account.status, strange.problems]).toEqual(['UNKNOWN', ['UNKNOWN_ACCOUNT_STATUS']])
  })
  test.each([
    ['OBIE', 'AccountCategory', { Personal: 'PERSONAL', Business: 'BUSINESS' }],
    ['BERLIN_GROUP', 'usage', { PRIV: 'PERSONAL', ORGA: 'BUSINESS' }],
    ['FDX', 'lineOfBusiness', { CONSUMER: 'PERSONAL', 'SMALL BUSINESS': 'BUSINESS' }],
  ] as const)('the account usage of %s is mapped as in the table', async (id, field, words) => {
    for (const [word, usage] of Object.entries(words))
      expect((await accountWith(id, { [field]: word })).account.usage).toBe(usage)
    expect((await accountWith(id, { [field]: undefined })).account.usage).toBe('UNKNOWN')
  })
})

describe('balance types, every cell', () => {
  test.each(cells({ ...ISO_BALANCES, ...OBIE_3_BALANCES }))('UK Open Banking %s is %s', async (Type, type) => {
    expect(await typeOfBalance('OBIE', { Type })).toEqual({ type, problems: [] })
  })
  test.each(cells({ ...BERLIN_BALANCES, ...ISO_BALANCES }))('Berlin Group %s is %s', async (balanceType, type) => {
    expect(await typeOfBalance('BERLIN_GROUP', { balanceType })).toEqual({ type, problems: [] })
  })
  test.each([
    ['OBIE', { Type: 'NEWX' }],
    ['BERLIN_GROUP', { balanceType: 'newest' }],
    ['BERLIN_GROUP', { balanceType: 'constructor' }],
  ] as const)('a balance type that %s does not define is dropped and reported', async (id, fields) => {
    expect(await typeOfBalance(id, fields)).toEqual({ type: null, problems: ['UNKNOWN_BALANCE_TYPE'] })
  })
  test.each([
    ['DEPOSIT_ACCOUNT', 'currentBalance', 'INTERIM_BOOKED', '5'],
    ['DEPOSIT_ACCOUNT', 'availableBalance', 'INTERIM_AVAILABLE', '5'],
    ['DEPOSIT_ACCOUNT', 'openingDayBalance', 'OPENING_BOOKED', '5'],
    ['LOC_ACCOUNT', 'currentBalance', 'INTERIM_BOOKED', '-5'],
    ['LOC_ACCOUNT', 'availableCredit', 'INTERIM_AVAILABLE', '5'],
    ['LOAN_ACCOUNT', 'principalBalance', 'INTERIM_BOOKED', '-5'],
    ['DIGITAL_WALLET', 'currentBalance', 'INTERIM_BOOKED', '5'],
    ...[
      'ppilBalance',
      'cashAdvanceBalance',
      'transferBalance',
      'lastPaymentAmount',
      'lastStmtBalance',
      'nextPaymentAmount',
    ].map((field) => ['LOC_ACCOUNT', field, null, null] as const),
    ['INVESTMENT_ACCOUNT', 'currentValue', null, null],
    ['INVESTMENT_ACCOUNT', 'availableCashBalance', null, null],
  ] as const)('FDX %s.%s is %s', async (accountCategory, field, type, amount) => {
    const { bank, problems } = connect('FDX', () =>
      ok(`{"accountCategory":"${accountCategory}","accountId":"a1","currency":{"currencyCode":"USD"},"${field}":5}`),
    )
    expect((await balancesOf(bank)).map((one) => [one.type, one.amount])).toEqual(type ? [[type, amount]] : [])
    expect(problems).toEqual([])
  })
  test('a balance of CDR gives two balance types', async () => {
    const { bank } = connect('CDR', () =>
      ok(EXAMPLES.CDR.balances({ currentBalance: '-1250.55', availableBalance: '8749.45', creditLimit: '10000.00' })),
    )
    expect(await balancesOf(bank)).toMatchObject([
      { type: 'INTERIM_BOOKED', amount: '-1250.55', creditLineIncluded: null, creditLimit: '10000.00' },
      { type: 'INTERIM_AVAILABLE', amount: '8749.45', creditLineIncluded: true, creditLimit: '10000.00' },
    ])
  })
})

test('every standard has examples, and every example has a standard', () => {
  expect(Object.keys(EXAMPLES).sort()).toEqual(Object.keys(STANDARDS).sort())
  expect(scriptedBank(() => ok('')).problems).toEqual([])
})
