import { describe, expect, test } from 'vitest'
import { STANDARDS } from '../../src/connectors/index.ts'
import { ok } from '../support/scripted-bank.ts'
import { ADDRESS, accountsOf, balancesOf, connect, EXAMPLES } from '../support/standards.ts'

describe('UK Open Banking', () => {
  const balances = (...list: Record<string, unknown>[]) =>
    balancesOf(
      connect('OBIE', () =>
        ok({
          Data: {
            Balance: list.map((one) => ({
              AccountId: 'a1',
              CreditDebitIndicator: 'Credit',
              Type: 'ITBD',
              Amount: { Amount: '1.00', Currency: 'GBP' },
              ...one,
            })),
          },
        }),
      ).bank,
    )

  test('a request with a body names the character set, as the official files require', async () => {
    const { bank, sent } = connect('OBIE', ({ url }) =>
      ok(
        url.includes('/.well-known/')
          ? {
              issuer: EXAMPLES.OBIE.registration['authorizationServer'],
              token_endpoint: 'https://auth.bank.example/token',
            }
          : url.endsWith('/token')
            ? { access_token: 't', token_type: 'Bearer' }
            : { Data: { ConsentId: 'c1', Status: 'AWAU' } },
      ),
    )
    const request = { expiresAt: new Date(0), state: 's', customer: { ip: '198.51.100.7', userAgent: null } }
    await bank.requestConsent(request).catch(() => undefined)
    const consent = sent.find(({ url }) => url.endsWith('/account-access-consents'))
    expect(consent?.headers).toMatchObject({ 'content-type': 'application/json; charset=utf-8' })
  })

  test('the field names of 3.1.11 are parsed as well, for any registered version', async () => {
    for (const version of ['3.1.11', '4.0'])
      expect(STANDARDS.OBIE.registration(ADDRESS).safeParse({ ...EXAMPLES.OBIE.registration, version }).success).toBe(
        true,
      )
    const { bank } = connect('OBIE', () =>
      ok({
        Data: {
          Account: [
            ['CurrentAccount', 'CURRENT'],
            ['Savings', 'SAVINGS'],
            ['CreditCard', 'CARD'],
            ['ChargeCard', 'CARD'],
            ['Loan', 'LOAN'],
            ['Mortgage', 'MORTGAGE'],
            ['EMoney', 'PREPAID_OR_WALLET'],
            ['PrePaidCard', 'PREPAID_OR_WALLET'],
            ['Wallet', 'PREPAID_OR_WALLET'],
            ['Hovercraft', 'OTHER'],
          ].map(([AccountSubType, AccountId]) => ({
            AccountId,
            AccountType: 'Business',
            AccountSubType,
            Currency: 'GBP',
          })),
        },
      }),
    )
    for (const { ref, type, usage } of await accountsOf(bank)) expect([type, usage]).toEqual([ref, 'BUSINESS'])
    for (const [Type, type] of [
      ['InterimBooked', 'INTERIM_BOOKED'],
      ['InterimAvailable', 'INTERIM_AVAILABLE'],
      ['Expected', 'EXPECTED'],
      ['ClosingBooked', 'CLOSING_BOOKED'],
      ['OpeningAvailable', 'OPENING_AVAILABLE'],
    ])
      expect((await balances({ Type }))[0]!.type).toBe(type)
    expect(await balances({ Type: 'ForwardAvailable' })).toEqual([])
  })

  test('the indicator gives an amount its sign, zero has no sign, and a signed amount is invalid', async () => {
    expect((await balances({ CreditDebitIndicator: 'Debit' }))[0]!.amount).toBe('-1.00')
    expect(
      (await balances({ CreditDebitIndicator: 'Debit', Amount: { Amount: '0.00', Currency: 'GBP' } }))[0]!.amount,
    ).toBe('0.00')
    expect(await balances({ CreditDebitIndicator: 'Debit', Amount: { Amount: '-1.00', Currency: 'GBP' } })).toEqual([])
    expect(await balances({ CreditDebitIndicator: 'Sideways' })).toEqual([])
  })

  test('a credit line in an amount is marked, and a single object is parsed as a list of one', async () => {
    expect((await balances({ CreditLine: [{ Included: true }] }))[0]!.creditLineIncluded).toBe(true)
    expect((await balances({ CreditLine: { Included: false } }))[0]!.creditLineIncluded).toBe(false)
    const { bank } = connect('OBIE', () =>
      ok({
        Data: {
          Balance: {
            AccountId: 'a1',
            CreditDebitIndicator: 'Credit',
            Type: 'ITBD',
            Amount: { Amount: '5', Currency: 'GBP' },
          },
        },
      }),
    )
    expect(await balancesOf(bank, 'a1')).toMatchObject([{ amount: '5' }])
  })

  test('a balance of another account in the response is dropped', async () => {
    expect(await balances({ AccountId: 'a2' })).toEqual([])
  })

  test('links to next pages are followed once each, and overlapping items count once', async () => {
    const account = (ref: string) => ({ AccountId: ref, AccountTypeCode: 'SVGS' })
    const { bank, sent } = connect('OBIE', ({ url }) =>
      url.endsWith('?p=2')
        ? ok({ Data: { Account: [account('b'), account('c')] } })
        : ok({
            Data: { Account: [account('a'), account('b')] },
            Links: { Next: 'https://api.bank.example/base/accounts?p=2' },
          }),
    )
    expect((await accountsOf(bank)).map(({ ref }) => ref)).toEqual(['a', 'b', 'c'])
    expect(sent).toHaveLength(2)
    const { bank: endless, sent: many } = connect('OBIE', () =>
      ok({ Data: { Account: [account('a')] }, Links: { Next: 'https://api.bank.example/base/accounts?p=2' } }),
    )
    await accountsOf(endless)
    expect(many).toHaveLength(2)
  })
})
