import { describe, expect, test } from 'vitest'
import { STANDARDS, type StandardId } from '../../src/connectors/index.ts'
import { ACCESS, ok } from '../support/scripted-bank.ts'
import { accountsOf, balancesOf, connect, EXAMPLES } from '../support/standards.ts'

const IDS = Object.keys(STANDARDS) as StandardId[]

/** The optional members of an account and of a balance that are read, and a value of the right type for each. */
const OPTIONAL: Readonly<
  Record<
    StandardId,
    {
      readonly account: Record<string, unknown>
      readonly balance: Record<string, unknown>
    }
  >
> = {
  OBIE: {
    account: {
      Status: 'Enabled',
      Currency: 'GBP',
      AccountCategory: 'Personal',
      AccountTypeCode: 'CACC',
      AccountType: 'Personal',
      AccountSubType: 'CurrentAccount',
      Account: [],
    },
    balance: { CreditLine: [], DateTime: '2026-01-01T00:00:00Z' },
  },
  BERLIN_GROUP: {
    account: {
      iban: 'x',
      bban: 'x',
      maskedPan: 'x',
      currency: 'EUR',
      cashAccountType: 'CACC',
      status: 'enabled',
      usage: 'PRIV',
      _links: { balances: { href: '/v1/accounts/a1/balances' } },
    },
    balance: { creditLimitIncluded: false, referenceDate: '2026-01-01', lastChangeDateTime: '2026-01-01T00:00:00Z' },
  },
  FDX: {
    account: {
      accountCategory: 'DEPOSIT_ACCOUNT',
      accountType: 'CHECKING',
      accountNumberDisplay: '1234',
      status: 'OPEN',
      lineOfBusiness: 'CONSUMER',
      currency: { currencyCode: 'USD' },
      error: { code: '701' },
    },
    balance: { creditLine: 1, openingDayBalance: 1 },
  },
  CDR: {
    account: { productCategory: 'LEASES', openStatus: 'OPEN', maskedNumber: 'x 1234' },
    balance: { creditLimit: '0.00', purses: [] },
  },
}
const isLike = (one: unknown, other: unknown): boolean =>
  typeof one === typeof other && typeof one !== 'string' && Array.isArray(one) === Array.isArray(other)
const WRONG: readonly unknown[] = [true, { deep: { er: [] } }, [[]], 'x'.repeat(100_000)]

describe.each(IDS)('an optional member that is null or wrong: %s', (id) => {
  const { account, balance } = OPTIONAL[id]
  const readAccounts = async (extra: object) => {
    const { bank, problems } = connect(id, () => ok(EXAMPLES[id].accounts(extra as Record<string, unknown>)))
    return { refs: (await accountsOf(bank)).map(({ ref }) => ref), problems }
  }
  const readBalances = async (extra: object) => {
    const { bank, problems } = connect(id, () => ok(EXAMPLES[id].balances(extra as Record<string, unknown>)))
    return { amounts: (await balancesOf(bank)).map(({ amount }) => amount), problems }
  }

  test.each(Object.keys(account))('null is absent in the member %s of an account', async (name) => {
    const absent = await readAccounts({ [name]: undefined })
    expect(absent.refs).toEqual(['a1'])
    expect(await readAccounts({ [name]: null })).toEqual(absent)
  })

  test.each(Object.keys(balance))('null is absent in the member %s of a balance', async (name) => {
    expect(await readBalances({ [name]: null })).toEqual({ amounts: ['12.30'], problems: [] })
  })

  test.each(Object.keys(account))('a wrong member %s costs an account that member, and is reported', async (name) => {
    for (const wrong of WRONG.filter((value) => !isLike(value, account[name]))) {
      const { refs, problems } = await readAccounts({ [name]: wrong })
      expect(refs, JSON.stringify(wrong).slice(0, 40)).toEqual(['a1'])
      expect(problems).toContain('INVALID_MEMBER')
    }
  })

  test.each(Object.keys(balance))('a wrong member %s costs a balance that member, and is reported', async (name) => {
    for (const wrong of WRONG.filter((value) => !isLike(value, balance[name]))) {
      const { amounts, problems } = await readBalances({ [name]: wrong })
      expect(amounts, JSON.stringify(wrong).slice(0, 40)).toEqual(['12.30'])
      expect(problems).toEqual([expect.stringMatching(/^INVALID_(MEMBER|AMOUNT)$/)])
    }
  })
})

describe('an empty list', () => {
  test.each<[StandardId, string]>([
    ['OBIE', '{"Data":{}}'],
    ['OBIE', '{"Data":null}'],
    ['OBIE', '{"Data":[]}'],
    ['OBIE', '{"Data":{"Account":null,"Balance":null},"Links":null,"Meta":null}'],
    ['BERLIN_GROUP', '{"accounts":null,"balances":null}'],
    ['BERLIN_GROUP', '{"accounts":[],"balances":[]}'],
    ['CDR', '{"data":{},"links":[]}'],
    ['CDR', '{"data":null}'],
    ['CDR', '{"data":{"accounts":null,"balances":null}}'],
    ['FDX', '{"accounts":null,"page":null}'],
  ])('%s: %s is a list without entries', async (id, text) => {
    const { bank, problems } = connect(id, () => ok(text))
    expect(await accountsOf(bank)).toEqual([])
    if (id !== 'FDX' && id !== 'CDR') expect(await balancesOf(bank)).toEqual([])
    if (bank.bulkBalances) expect([...(await bank.bulkBalances(ACCESS, ['a1'], null))]).toEqual([])
    expect(problems).toEqual([])
  })

  test.each<[StandardId, object]>([
    ['OBIE', { Data: { Account: { AccountId: 'one' } } }],
    ['BERLIN_GROUP', { accounts: { resourceId: 'one' } }],
    ['CDR', { data: { accounts: { accountId: 'one', productCategory: 'LEASES' } } }],
    ['FDX', { accounts: { accountId: 'one', accountCategory: 'LOAN_ACCOUNT' } }],
  ])('%s: a single object in place of a list is a list of one', async (id, body) => {
    const { bank, problems } = connect(id, () => ok(body))
    expect(await accountsOf(bank)).toMatchObject([{ ref: 'one' }])
    expect(problems).toEqual([])
  })
})

describe('a flag', () => {
  test.each<[unknown, boolean | null]>([
    [true, true],
    ['true', true],
    ['false', false],
    ['yes', null],
    [1, null],
  ])('a Berlin Group credit line flag of %j is read as %j', async (creditLimitIncluded, creditLineIncluded) => {
    const { bank } = connect('BERLIN_GROUP', () => ok(EXAMPLES.BERLIN_GROUP.balances({ creditLimitIncluded })))
    expect(await balancesOf(bank)).toMatchObject([{ amount: '12.30', creditLineIncluded }])
  })
})
