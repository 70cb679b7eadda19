import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { amountOf, amountsOf, BALANCE_SCOPES, rangeOf } from '../support/amounts.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

interface Listed {
  resourceId: string
  iban: string
  currency: string
}

/** The British account below, as its sort code and account number. */
const SORT_CODE_NUMBER = '60161331926819'
const IBANS = [
  'DE89370400440532013000',
  'DE02120300000000202051',
  'GB29NWBK60161331926819',
  'FR1420041010050500013M02606',
]

let gateway: TestGateway
/** What Rheinbank lists: the accounts of whoever signs in there. */
let listed: Listed[] = []
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())
beforeEach(() => {
  gateway.intercept = ({ url }) => {
    const { pathname } = new URL(url)
    if (!url.startsWith(gateway.sandbox.banks.rheinbank)) return undefined
    const answer = (body: unknown) => Promise.resolve({ status: 200, headers: {}, text: JSON.stringify(body) })
    if (pathname.endsWith('/card-accounts')) return answer({ cardAccounts: [] })
    if (pathname.endsWith('/accounts')) return answer({ accounts: listed })
    const account = listed.find(({ resourceId }) => pathname.endsWith(`/accounts/${resourceId}/balances`))
    if (!account) return undefined
    const balanceAmount = { amount: '430.10', currency: account.currency }
    return answer({
      balances: ['interimAvailable', 'interimBooked'].map((balanceType) => ({ balanceType, balanceAmount })),
    })
  }
})

const share = (name = 'ada', bank = 'rheinbank'): Promise<Token> =>
  gateway.customer(name, [bank], { scopes: BALANCE_SCOPES })
async function withdraw({ grantId }: Token): Promise<void> {
  const [row] = await gateway.database.query<{ id: string }>('select id from consent where oauth_grant_id = $1', [
    grantId,
  ])
  await gateway.app.services.consents.revoke(row!.id, 'CUSTOMER_AT_GATEWAY')
}
async function spend(token: Token): Promise<void> {
  for (const remaining of [3, 2, 1, 0]) {
    expect(await amountOf(gateway, token)).toMatchObject({ budget: { remaining } })
    gateway.forward(61_000)
  }
}

describe("an account is identified by its number and not by the bank's ID", () => {
  test('a new consent under another ID resets no limit and moves no band', async () => {
    listed = [{ resourceId: 'first-id', iban: IBANS[0]!, currency: 'EUR' }]
    const first = await share()
    const { lowerBound, upperBound } = await rangeOf(gateway, first)
    await spend(first)
    await withdraw(first)
    for (const resourceId of ['second-id', 'third-id', 'fourth-id']) {
      listed = [{ resourceId, iban: IBANS[0]!.replaceAll(/(.{4})/g, '$1 ').toLowerCase(), currency: 'EUR' }]
      const again = await share()
      expect(await amountOf(gateway, again)).toMatchObject({
        fallbackReason: { code: 'DISCLOSURE_BUDGET_EXHAUSTED' },
        lowerBound,
        upperBound,
      })
      expect(await rangeOf(gateway, again)).toMatchObject({ lowerBound, upperBound })
      await withdraw(again)
    }
  })

  test('two customers who share one account under two IDs have one limit and one balance type', async () => {
    listed = [{ resourceId: 'of-cleo', iban: IBANS[1]!, currency: 'EUR' }]
    const one = await share('cleo')
    expect(await amountOf(gateway, one, 'INTERIM_BOOKED')).toMatchObject({ budget: { remaining: 3 } })
    listed = [{ resourceId: 'of-dan', iban: IBANS[1]!, currency: 'EUR' }]
    const other = await share('dan')
    expect(await amountOf(gateway, other)).toMatchObject({ fallbackReason: { code: 'OTHER_BALANCE_TYPE_DISCLOSED' } })
    expect(await amountOf(gateway, other, 'INTERIM_BOOKED')).toMatchObject({ budget: { remaining: 2 } })
    expect((await rangeOf(gateway, other)).lowerBound).toBe((await rangeOf(gateway, one)).lowerBound)
  })

  test('each currency of one account number has its own limit', async () => {
    listed = ['EUR', 'USD'].map((currency) => ({ resourceId: `in-${currency}`, iban: IBANS[3]!, currency }))
    const token = await share('cleo')
    const rows = (await amountsOf(gateway, token)).filter(({ balance }) => balance.__typename === 'ExactBalance')
    expect(rows.map(({ currency, balance }) => [currency, balance.budget?.remaining])).toEqual([
      ['EUR', 3],
      ['USD', 3],
    ])
  })

  test('a masked number or one with wrong check digits identifies no account, so no limit is shared by it', async () => {
    for (const iban of ['DE89************3000', 'DE88370400440532013000', 'DEXXXXXXXXXXXXXX3000']) {
      listed = ['a', 'b'].map((resourceId) => ({ resourceId: `${resourceId}-${iban.length}`, iban, currency: 'EUR' }))
      const rows = await amountsOf(gateway, await share('finn'))
      expect(rows.slice(-2).map(({ balance }) => balance.budget?.remaining)).toEqual([3, 3])
      gateway.forward(25 * 3_600_000)
    }
  })

  test('an account is recognized through another connector of its bank with another standard', async () => {
    listed = [{ resourceId: 'by-iban', iban: IBANS[2]!, currency: 'GBP' }]
    const first = await share()
    const { lowerBound, upperBound } = await rangeOf(gateway, first)
    await spend(first)
    await withdraw(first)
    // Northbank's interface, which speaks another standard, becomes the newest one of Rheinbank.
    const { database } = gateway
    await database.query("update connector set bank_id = 'rheinbank', created_at = now() where bank_id = 'northbank'")
    await database.query("update connector set status = 'RETIRED' where standard = 'BERLIN_GROUP'")
    const berlin = gateway.intercept!
    gateway.intercept = (request) => {
      const { pathname } = new URL(request.url)
      const answer = (body: unknown) => Promise.resolve({ status: 200, headers: {}, text: JSON.stringify(body) })
      if (pathname.endsWith('/aisp/accounts'))
        return answer({
          Data: {
            Account: [
              {
                AccountId: 'by-sort-code',
                Currency: 'GBP',
                Account: [{ SchemeName: 'UK.OBIE.SortCodeAccountNumber', Identification: SORT_CODE_NUMBER }],
              },
            ],
          },
        })
      if (!pathname.endsWith('/by-sort-code/balances')) return berlin(request)
      const Amount = { Amount: '430.10', Currency: 'GBP' }
      return answer({
        Data: { Balance: [{ AccountId: 'by-sort-code', Type: 'ITAV', CreditDebitIndicator: 'Credit', Amount }] },
      })
    }
    const again = await share('ada')
    expect(await amountOf(gateway, again)).toMatchObject({
      fallbackReason: { code: 'DISCLOSURE_BUDGET_EXHAUSTED' },
      lowerBound,
      upperBound,
    })
    expect(await rangeOf(gateway, again)).toMatchObject({ lowerBound, upperBound })
  })

  test('the account number is in no table and no log line, in any notation', async () => {
    const { database } = gateway
    const tables = await database.query<{ name: string }>(
      "select quote_ident(table_name) as name from information_schema.tables where table_schema = 'public'",
    )
    let text = gateway.log.join('\n')
    for (const { name } of tables)
      text += (await database.query<{ row: string }>(`select t::text as row from ${name} t`))
        .map(({ row }) => row)
        .join('\n')
    const [{ n }] = (await database.query<{ n: number }>(
      'select count(*)::int as n from account where number_digest is not null',
    )) as [{ n: number }]
    expect(n).toBeGreaterThan(4)
    for (const number of [...IBANS, SORT_CODE_NUMBER])
      for (const form of [number, number.slice(4), number.slice(-10), Buffer.from(number).toString('hex')])
        expect(text).not.toContain(form)
  })
})
