import { describe, expect, test } from 'vitest'
import { readCode, createCodeMap } from '../../src/connectors/code-map.ts'
import type { StandardId } from '../../src/connectors/index.ts'
import { ACCESS, ok } from '../support/scripted-bank.ts'
import { accountsOf, balancesOf, connect, EXAMPLES } from '../support/standards.ts'

const account = async (id: StandardId, extra: Record<string, unknown>) => {
  const { bank, problems } = connect(id, () => ok(EXAMPLES[id].accounts(extra)))
  return { ...(await accountsOf(bank))[0]!, problems }
}
const balances = async (id: StandardId, body: unknown) => {
  const { bank, problems } = connect(id, () => ok(body))
  return { ...(await bank.balances(ACCESS, 'a1', null)), problems }
}

describe('a code', () => {
  test('a code is read without regard to case only if one meaning is possible', () => {
    const codes = createCodeMap({ Open: 1, open: 2, CLOSED: 3, Closed: 3 })
    expect(readCode(codes, 'Open')).toEqual({ value: 1, issues: [] })
    expect(readCode(codes, 'OPEN')).toBeUndefined()
    expect(readCode(codes, ' closed ')).toEqual({ value: 3, issues: ['NONSTANDARD_CODE'] })
    for (const word of ['toString', 'constructor', '__proto__', '']) expect(readCode(codes, word)).toBeUndefined()
  })

  test.each<[StandardId, Record<string, unknown>, object]>([
    ['BERLIN_GROUP', { cashAccountType: 'CurrentAccount' }, { type: 'CURRENT', problems: [] }],
    ['BERLIN_GROUP', { cashAccountType: 'SavingsAccount' }, { type: 'SAVINGS', problems: [] }],
    ['BERLIN_GROUP', { cashAccountType: 'cacc' }, { type: 'CURRENT', problems: ['NONSTANDARD_CODE'] }],
    [
      'BERLIN_GROUP',
      { status: 'ENABLED', usage: 'priv' },
      { status: 'OPEN', usage: 'PERSONAL', problems: ['NONSTANDARD_CODE', 'NONSTANDARD_CODE'] },
    ],
    ['BERLIN_GROUP', { currency: 'eur' }, { currency: 'EUR', problems: ['NONSTANDARD_CODE'] }],
    ['BERLIN_GROUP', { currency: 'GPB' }, { currency: null, problems: ['UNKNOWN_CURRENCY'] }],
    ['OBIE', { AccountTypeCode: 'currentaccount' }, { type: 'CURRENT', problems: ['NONSTANDARD_CODE'] }],
    ['OBIE', { Status: 'enabled' }, { status: 'OPEN', problems: ['NONSTANDARD_CODE'] }],
    [
      'FDX',
      { accountType: 'checking', status: 'active' },
      { type: 'CURRENT', status: 'UNKNOWN', problems: ['NONSTANDARD_CODE', 'UNKNOWN_ACCOUNT_STATUS'] },
    ],
    [
      'FDX',
      { accountCategory: 'Loc_Account', accountType: 'creditCard' },
      { type: 'CARD', problems: ['NONSTANDARD_CODE', 'NONSTANDARD_CODE'] },
    ],
    [
      'CDR',
      { productCategory: 'leases', openStatus: 'closed' },
      { type: 'LOAN', status: 'CLOSED', problems: ['NONSTANDARD_CODE', 'NONSTANDARD_CODE'] },
    ],
  ])('%s: an account with %j is read as the table says', async (id, extra, expected) => {
    expect(await account(id, extra)).toMatchObject(expected)
  })

  test.each<[StandardId, Record<string, unknown>, string, readonly string[]]>([
    ['BERLIN_GROUP', { balanceType: 'closingAvailable' }, 'CLOSING_AVAILABLE', []],
    ['BERLIN_GROUP', { balanceType: 'InterimAvailable' }, 'INTERIM_AVAILABLE', ['NONSTANDARD_CODE']],
    ['BERLIN_GROUP', { balanceType: 'clbd' }, 'CLOSING_BOOKED', ['NONSTANDARD_CODE']],
    ['OBIE', { Type: 'INTERIMBOOKED' }, 'INTERIM_BOOKED', ['NONSTANDARD_CODE']],
    ['OBIE', { Type: 'ITAV', CreditDebitIndicator: 'CREDIT' }, 'INTERIM_AVAILABLE', ['NONSTANDARD_CODE']],
  ])('%s: a balance with %j is read as the table says', async (id, extra, type, problems) => {
    expect(await balances(id, EXAMPLES[id].balances(extra))).toMatchObject({
      balances: [{ type, amount: '12.30' }],
      problems,
    })
  })

  test('a balance type that is left out stays so in any case', async () => {
    for (const balanceType of ['forwardavailable', 'NonInvoiced', 'fwav', 'AUTHORISED'])
      expect(await balances('BERLIN_GROUP', EXAMPLES.BERLIN_GROUP.balances({ balanceType }))).toMatchObject({
        balances: [],
        problems: [],
      })
  })

  test.each<[StandardId, Record<string, unknown>]>([
    ['OBIE', { Amount: { Amount: '12.30', Currency: 'gbp' } }],
    ['BERLIN_GROUP', { balanceAmount: { amount: '12.30', currency: 'Gbp' } }],
    ['FDX', { currency: { currencyCode: 'gbp' } }],
    ['CDR', { currency: 'gbp' }],
  ])('%s: the currency of %j is read and reported', async (id, extra) => {
    const { bank, problems } = connect(id, () => ok(EXAMPLES[id].balances(extra)))
    expect(await balancesOf(bank)).toMatchObject([{ amount: '12.30', currency: 'GBP' }])
    expect(problems).toEqual(['NONSTANDARD_CODE'])
  })
})

describe('the purses of an Australian account', () => {
  const purses = (...list: unknown[]) =>
    EXAMPLES.CDR.balances({ availableBalance: '5.00', currency: 'AUD', purses: list })
  const read = async (...list: unknown[]) => {
    const { balances: found, problems } = await balances('CDR', purses(...list))
    return { found: found.map(({ amount, currency }) => `${amount} ${currency}`), problems }
  }

  test('each purse is a balance of its own, and one without a currency is left out and reported', async () => {
    expect(
      await read({ amount: '40.00' }, { amount: '7.00', currency: 'NZD' }, { amount: '-2.50', currency: 'EUR' }),
    ).toEqual({
      found: ['5.00 AUD', '7.00 NZD', '-2.50 EUR'],
      problems: ['MISSING_CURRENCY'],
    })
    expect(await read({ amount: '40.00', currency: null })).toEqual({
      found: ['5.00 AUD'],
      problems: ['MISSING_CURRENCY'],
    })
    expect(await read({ amount: '40.00', currency: 'aud' })).toEqual({ found: ['5.00 AUD'], problems: [] })
    expect(await read('x', { amount: '7.00', currency: 'NZD' })).toEqual({
      found: ['5.00 AUD', '7.00 NZD'],
      problems: ['INVALID_MEMBER'],
    })
    expect(await read({ amount: '1.00', currency: 'NZD' }, { amount: '2.00', currency: 'NZD' })).toEqual({
      found: ['5.00 AUD'],
      problems: ['CONFLICTING_BALANCES'],
    })
  })
})

describe('the sign of an American card', () => {
  const card = async (extra: Record<string, unknown>) => {
    const { balances: found, problems } = await balances('FDX', {
      accountId: 'a1',
      accountCategory: 'LOC_ACCOUNT',
      accountType: 'CREDITCARD',
      currency: { currencyCode: 'USD' },
      ...extra,
    })
    return [found.find(({ type }) => type === 'INTERIM_BOOKED')?.amount, problems]
  }
  const line = { creditLine: 10000, availableCredit: 9900 }

  test.each<[Record<string, unknown>, string | undefined]>([
    [{ currentBalance: 100 }, '-100'],
    [{ currentBalance: 100, balanceType: 'LIABILITY', debitAccounting: true }, '-100'],
    [{ currentBalance: -100 }, '100'],
    [{ currentBalance: '100.00', ...line }, '-100.00'],
    // The bank states what is owed as negative.
    [{ currentBalance: '-100.00', ...line }, '-100.00'],
    [{ currentBalance: -100, balanceType: 'ASSET', ...line }, '-100'],
    [{ currentBalance: 100, balanceType: 'ASSET', ...line }, '-100'],
    [{ currentBalance: 100, debitAccounting: false, ...line }, '-100'],
    // Overpaid: more is available than the line.
    [{ currentBalance: -50, creditLine: 1000, availableCredit: 1050 }, '50'],
    [{ currentBalance: 50, balanceType: 'ASSET', creditLine: 1000, availableCredit: 1050 }, '50'],
    // Purchases that are pending make what is drawn another amount, which decides nothing.
    [{ currentBalance: 90, ...line }, '-90'],
    [{ currentBalance: -50, ...line }, '50'],
    [{ currentBalance: 90, balanceType: 'ASSET', ...line }, undefined],
    [{ currentBalance: 100, balanceType: 'ASSET' }, undefined],
    [{ currentBalance: 100, debitAccounting: false }, undefined],
    [{ currentBalance: 0, balanceType: 'ASSET' }, '0'],
  ])('a card with %j has the balance %s', async (extra, amount) => {
    expect(await card(extra)).toEqual([amount, amount === undefined ? ['AMBIGUOUS_SIGN'] : []])
  })
})
