import { describe, expect, test } from 'vitest'
import { STANDARDS } from '../../src/connectors/index.ts'
import type { OutboundRequest, OutboundResponse } from '../../src/kernel/outbound-http.ts'
import { ACCESS, ok, scriptedBank } from '../support/scripted-bank.ts'
import { EXAMPLES } from '../support/standards.ts'

describe('Berlin Group', () => {
  const withCards = { ...EXAMPLES.BERLIN_GROUP.registration, cardAccounts: true }
  const bankOf = (answer: (request: OutboundRequest) => OutboundResponse) => {
    const { tools, sent } = scriptedBank(answer)
    return { bank: STANDARDS.BERLIN_GROUP.connect(STANDARDS.BERLIN_GROUP.registration.parse(withCards), tools), sent }
  }
  const card = (debitAccounting: boolean | undefined, amount: string) =>
    bankOf(() =>
      ok({ debitAccounting, balances: [{ balanceType: 'interimBooked', balanceAmount: { amount, currency: 'EUR' } }] }),
    ).bank.balances(ACCESS, 'card:c1')

  test('card accounts have their own path, and their sign is turned where the bank counts debits as positive', async () => {
    const { bank, sent } = bankOf(({ url }) =>
      ok(
        url.endsWith('/card-accounts')
          ? { cardAccounts: [{ resourceId: 'c1', maskedPan: '525412xxxxxx9876', currency: 'EUR' }] }
          : { accounts: [] },
      ),
    )
    expect(await bank.accounts(ACCESS)).toMatchObject([{ ref: 'card:c1', type: 'CARD', numberEnd: '9876' }])
    await bank.balances(ACCESS, 'card:c1').catch(() => undefined)
    expect(sent.at(-1)!.url).toMatch(/\/v1\/card-accounts\/c1\/balances$/)
    expect(await card(true, '100.00')).toMatchObject([{ amount: '-100.00' }])
    expect(await card(false, '-100.00')).toMatchObject([{ amount: '-100.00' }])
  })

  test('a card balance whose sign the bank leaves open is absent, unless it is zero', async () => {
    expect(await card(undefined, '100.00')).toEqual([])
    expect(await card(undefined, '0.00')).toMatchObject([{ amount: '0.00' }])
  })

  test.each([
    ['interimAvailable', 'INTERIM_AVAILABLE'],
    ['interimBooked', 'INTERIM_BOOKED'],
    ['expected', 'EXPECTED'],
    ['closingBooked', 'CLOSING_BOOKED'],
    ['openingBooked', 'OPENING_BOOKED'],
    ['CLBD', 'CLOSING_BOOKED'],
    ['nonInvoiced', undefined],
    ['forwardAvailable', undefined],
    ['authorised', undefined],
  ])('balance kind %s is %s', async (balanceType, type) => {
    const { bank } = bankOf(() =>
      ok({ balances: [{ balanceType, balanceAmount: { amount: '-1.5', currency: 'EUR' } }] }),
    )
    expect((await bank.balances(ACCESS, 'a1'))[0]?.type).toBe(type)
  })

  test('XXX is no currency: the account has none of its own, and a balance in it is left out', async () => {
    const { bank } = bankOf(({ url }) =>
      url.endsWith('/accounts')
        ? ok({ accounts: [{ resourceId: 'a1', iban: 'DE1234', currency: 'XXX' }] })
        : ok({
            cardAccounts: [],
            balances: [{ balanceType: 'expected', balanceAmount: { amount: '1', currency: 'XXX' } }],
          }),
    )
    expect((await bank.accounts(ACCESS))[0]!.currency).toBeNull()
    expect(await bank.balances(ACCESS, 'a1')).toEqual([])
  })
})
