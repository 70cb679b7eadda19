import { describe, expect, test } from 'vitest'
import { DAY_MS } from '../../src/kernel/clock.ts'
import type { StandardId } from '../../src/connectors/index.ts'
import { ACCESS, ok } from '../support/scripted-bank.ts'
import { accountsOf, connect } from '../support/standards.ts'

type Entry = readonly [amount: string, time?: Readonly<Record<string, string>>]

const bodies: Readonly<Record<'OBIE' | 'BERLIN_GROUP', (entries: readonly Entry[]) => unknown>> = {
  OBIE: (entries) => ({
    Data: {
      Balance: entries.map(([Amount, time]) => ({
        AccountId: 'a1',
        Type: 'ClosingBooked',
        CreditDebitIndicator: 'Credit',
        Amount: { Amount, Currency: 'GBP' },
        ...time,
      })),
    },
  }),
  BERLIN_GROUP: (entries) => ({
    balances: entries.map(([amount, time]) => ({
      balanceType: 'closingBooked',
      balanceAmount: { amount, currency: 'EUR' },
      ...time,
    })),
  }),
}

/** The day that is so many days from now. */
const inDays = (days: number): string => new Date(Date.now() + days * DAY_MS).toISOString().slice(0, 10)

async function read(id: keyof typeof bodies, entries: readonly Entry[]) {
  const { bank, problems, log } = connect(id, () => ok(bodies[id](entries)))
  const result = await bank.balances(ACCESS, 'a1', null)
  return { amounts: result.balances.map(({ amount }) => amount), problems, text: JSON.stringify(result) + log.join() }
}

describe('balances of one kind', () => {
  const day = (referenceDate: string) => ({ referenceDate })
  const at = (lastChangeDateTime: string) => ({ lastChangeDateTime })

  test.each<[string, string | undefined, readonly Entry[]]>([
    [
      'of three days',
      '85.25',
      [
        ['100.00', day('2026-11-23')],
        ['85.25', day('2026-11-25')],
        ['90.00', day('2026-11-24')],
      ],
    ],
    [
      'of two years',
      '2.00',
      [
        ['1.00', day('2025-12-31')],
        ['2.00', day('2026-01-01')],
      ],
    ],
    [
      'of one day and two instants',
      '2.00',
      [
        ['2.00', { ...day('2026-11-25'), ...at('2026-11-25T10:00:01Z') }],
        ['1.00', { ...day('2026-11-25'), ...at('2026-11-25T10:00:00Z') }],
      ],
    ],
    [
      'of instants in two time zones',
      '2.00',
      [
        ['1.00', at('2026-11-25T10:00:00+02:00')],
        ['2.00', at('2026-11-25T09:00:00Z')],
      ],
    ],
    [
      'of instants without time zones',
      '2.00',
      [
        ['1.00', at('2026-11-25T09:00:00')],
        ['2.00', at('2026-11-25T10:00:00.5')],
      ],
    ],
    ['twice the same, without dates', '1.00', [['1.00'], ['1.00']]],
    ['twice the same amount, written differently', '1.0', [['1.0'], ['1.00']]],
    [
      'the same amount on two days',
      '1.00',
      [
        ['1.00', day('2026-11-24')],
        ['1.00', day('2026-11-25')],
      ],
    ],
    ['contradicting without dates', undefined, [['1.00'], ['2.00']]],
    [
      'contradicting on one day',
      undefined,
      [
        ['1.00', day('2026-11-25')],
        ['2.00', day('2026-11-25')],
      ],
    ],
    ['with a date in one of them only', undefined, [['1.00', day('2026-11-25')], ['2.00']]],
    [
      'with a time zone in one of them only',
      undefined,
      [
        ['1.00', at('2026-11-25T09:00:00')],
        ['2.00', at('2026-11-25T10:00:00Z')],
      ],
    ],
    [
      'with dates that are none',
      undefined,
      [
        ['1.00', day('25.11.2026')],
        ['2.00', day('26.11.2026')],
      ],
    ],
    [
      'with a day that does not exist',
      undefined,
      [
        ['1.00', day('2026-11-25')],
        ['2.00', day('2026-13-45')],
      ],
    ],
    [
      'of a day in the future and of one that is not',
      '1.00',
      [
        ['0.00', day('2026-11-24')],
        ['1.00', day(inDays(0))],
        ['2.00', day(inDays(2))],
      ],
    ],
    [
      'of one day and an instant in the future',
      '1.00',
      [
        ['1.00', { ...day('2026-11-25'), ...at('2026-11-25T10:00:00Z') }],
        ['2.00', { ...day('2026-11-25'), ...at(`${inDays(2)}T10:00:00Z`) }],
      ],
    ],
    [
      'of days in the future alone',
      undefined,
      [
        ['1.00', day(inDays(2))],
        ['2.00', day(inDays(3))],
      ],
    ],
    [
      'newest twice, and contradicting',
      undefined,
      [
        ['0.00', day('2026-11-24')],
        ['1.00', day('2026-11-25')],
        ['2.00', day('2026-11-25')],
      ],
    ],
  ])('balances %s lead to %j', async (_what, expected, entries) => {
    const { amounts, problems } = await read('BERLIN_GROUP', entries)
    expect(amounts).toEqual(expected === undefined ? [] : [expected])
    expect(problems).toEqual(expected === undefined ? ['CONFLICTING_BALANCES'] : [])
  })

  test('the newest of the balances of an Open Banking bank is used, and no date of the bank is given on', async () => {
    const entries: Entry[] = [
      ['1.00', { DateTime: '2023-05-24T00:00:00+00:00' }],
      ['3.00', { DateTime: '2023-05-25T00:00:00+00:00' }],
      ['2.00', { DateTime: '2023-05-24T23:59:59.999Z' }],
    ]
    const { amounts, problems, text } = await read('OBIE', entries)
    expect([amounts, problems]).toEqual([['3.00'], []])
    expect(text).not.toContain('2023-05')
    expect((await read('BERLIN_GROUP', [['1.00', day('2023-05-25')]])).text).not.toContain('2023-05')
  })

  test.each<[StandardId, (amounts: readonly string[]) => unknown]>([
    [
      'CDR',
      (amounts) => ({ data: { balances: amounts.map((currentBalance) => ({ accountId: 'a1', currentBalance })) } }),
    ],
    [
      'FDX',
      (amounts) => ({
        accounts: amounts.map((currentBalance) => ({
          accountId: 'a1',
          accountCategory: 'DEPOSIT_ACCOUNT',
          currency: { currencyCode: 'USD' },
          currentBalance,
        })),
      }),
    ],
  ])('%s: an account with two entries that contradict each other has no balance', async (id, body) => {
    const { bank, problems } = connect(id, () => ok(body(['1.00', '2.00'])))
    expect((await bank.bulkBalances!(ACCESS, ['a1'], null)).get('a1')).toMatchObject({
      balances: [],
      invalidTypes: ['INTERIM_BOOKED'],
    })
    expect(problems).toEqual(['CONFLICTING_BALANCES'])
    const same = connect(id, () => ok(body(['1.00', '1.00'])))
    expect((await same.bank.bulkBalances!(ACCESS, ['a1'], null)).get('a1')).toMatchObject({
      balances: [{ amount: '1.00' }],
    })
  })
})

describe('an account that a bank lists twice', () => {
  const listed = async (...accounts: object[]) => {
    const { bank, problems } = connect('BERLIN_GROUP', () => ok({ accounts }))
    return { accounts: (await accountsOf(bank)).map(({ ref, currency }) => [ref, currency]), problems }
  }
  const linked = (resourceId: string, link: string, more = {}) => ({
    resourceId,
    iban: 'FR7612345987650123456780071',
    currency: 'EUR',
    _links: { balances: { href: `https://bank.example/psd2/v1/accounts/${link}/balances` } },
    ...more,
  })

  test('an account that is listed twice is one account, and another with its number is another', async () => {
    const account = (resourceId: string) => ({ resourceId, iban: 'FR7612345987650123456780071', currency: 'EUR' })
    expect((await listed(account('x1'), account('x1'), account('x2'))).accounts).toEqual([
      ['x1', 'EUR'],
      ['x2', 'EUR'],
    ])
  })

  test('the currencies of one account that share a link to its balances are one account with several currencies', async () => {
    expect(await listed(linked('r1', 'L'), linked('r2', 'L', { currency: 'USD' }))).toEqual({
      accounts: [['L', null]],
      problems: [],
    })
    expect((await listed(linked('r1', 'L'), linked('r2', 'L'))).accounts).toEqual([['L', 'EUR']])
  })

  test('accounts with different numbers that share a link are different accounts, and the link is reported', async () => {
    expect(await listed(linked('r1', 'L'), linked('r2', 'L', { iban: 'DE89370400440532013000' }))).toEqual({
      accounts: [
        ['r1', 'EUR'],
        ['r2', 'EUR'],
      ],
      problems: ['INVALID_MEMBER', 'INVALID_MEMBER'],
    })
  })

  test('an account without an ID of its own is known by the link to its balances, decoded once', async () => {
    expect((await listed(linked('', 'kQ%2B%2Fa%3D%3D', { resourceId: undefined }))).accounts).toEqual([
      ['kQ+/a==', 'EUR'],
    ])
    expect((await listed(linked('r1', '%252e'))).accounts).toEqual([['r1', 'EUR']])
    expect(await listed({ iban: 'FR7612345987650123456780071' })).toEqual({
      accounts: [],
      problems: ['INVALID_ACCOUNT'],
    })
  })

  test('a cash account whose ID begins like the reference of a card account is read as a cash account', async () => {
    const { bank, sent } = connect('BERLIN_GROUP', () => ok({ accounts: [{ resourceId: 'card:1' }], balances: [] }))
    const [account] = await accountsOf(bank)
    await bank.balances(ACCESS, account!.ref, null)
    expect(sent.at(-1)!.url).toMatch(/\/v1\/accounts\/card%3A1\/balances$/)
  })
})
