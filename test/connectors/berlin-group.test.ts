import { describe, expect, test } from 'vitest'
import { STANDARDS } from '../../src/connectors/index.ts'
import type { OutboundRequest, OutboundResponse } from '../../src/kernel/outbound-http.ts'
import { ok, scriptedBank } from '../support/scripted-bank.ts'
import { accountsOf, balancesOf, EXAMPLES } from '../support/standards.ts'

describe('Berlin Group', () => {
  const withCards = { ...EXAMPLES.BERLIN_GROUP.registration, cardAccounts: true }
  const bankOf = (answer: (request: OutboundRequest) => OutboundResponse) => {
    const { tools, sent } = scriptedBank(answer)
    return { bank: STANDARDS.BERLIN_GROUP.connect(STANDARDS.BERLIN_GROUP.registration.parse(withCards), tools), sent }
  }
  const card = (debitAccounting: boolean | undefined, amount: string) =>
    balancesOf(
      bankOf(() =>
        ok({
          debitAccounting,
          balances: [{ balanceType: 'interimBooked', balanceAmount: { amount, currency: 'EUR' } }],
        }),
      ).bank,
      'card:c1',
    )

  test('card accounts have their own path, and their sign is turned where the bank counts debits as positive', async () => {
    const { bank, sent } = bankOf(({ url }) =>
      ok(
        url.endsWith('/card-accounts')
          ? { cardAccounts: [{ resourceId: 'c1', maskedPan: '525412xxxxxx9876', currency: 'EUR' }] }
          : { accounts: [] },
      ),
    )
    expect(await accountsOf(bank)).toMatchObject([{ ref: 'card:c1', type: 'CARD', numberEnd: '9876' }])
    await balancesOf(bank, 'card:c1').catch(() => undefined)
    expect(sent.at(-1)!.url).toMatch(/\/v1\/card-accounts\/c1\/balances$/)
    expect(await card(true, '100.00')).toMatchObject([{ amount: '-100.00' }])
    expect(await card(false, '-100.00')).toMatchObject([{ amount: '-100.00' }])
  })

  test('a card balance whose sign the bank leaves open is absent, unless it is zero', async () => {
    expect(await card(undefined, '100.00')).toEqual([])
    expect(await card(undefined, '0.00')).toMatchObject([{ amount: '0.00' }])
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
    expect((await accountsOf(bank))[0]!.currency).toBeNull()
    expect(await balancesOf(bank, 'a1')).toEqual([])
  })
})
