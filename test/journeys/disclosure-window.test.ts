import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { amountOf, BALANCE_SCOPES } from '../support/amounts.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

const DAY_MS = 86_400_000
const [BOOKED, AVAILABLE] = ['INTERIM_BOOKED', 'INTERIM_AVAILABLE']

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

/** Moves the clock to a minute before the next midnight (UTC) that lies more than two days ahead. */
const toMidnight = (): void => gateway.forward(3 * DAY_MS - (Date.now() % DAY_MS) - 60_000)
const share = (name: string, clientId = 'chatterbox', browser = createBrowser()): Promise<Token> =>
  gateway.customer(name, ['northbank'], { scopes: BALANCE_SCOPES, clientId, browser })
/** Moves the clock two minutes on, which is past midnight, and gives a token that is valid there. */
async function overMidnight(token: Token, clientId = 'chatterbox'): Promise<Token> {
  gateway.forward(120_000)
  return gateway.renew(token, clientId)
}

describe('limits of disclosure count over a rolling 24 hours', () => {
  test.each([
    [BOOKED, AVAILABLE],
    [AVAILABLE, BOOKED],
  ])('an amount of %s before midnight withholds that of %s until 24 hours later', async (first, second) => {
    toMidnight()
    let token = await share('dan')
    const asked = await amountOf(gateway, token, first)
    expect(asked.__typename).toBe('ExactBalance')
    const free = new Date(asked.budget!.nextAvailableAt!)
    token = await overMidnight(token)
    expect(new Date().getUTCHours()).toBe(0)
    const other = await amountOf(gateway, token, second)
    expect(other).toMatchObject({
      __typename: 'BalanceBand',
      fallbackReason: { code: 'OTHER_BALANCE_TYPE_DISCLOSED', retryAt: free.toISOString() },
    })
    gateway.forward(free.getTime() - Date.now() - 30_000)
    token = await gateway.renew(token)
    expect(await amountOf(gateway, token, second)).toMatchObject({ __typename: 'BalanceBand' })
    gateway.forward(60_000)
    expect(await amountOf(gateway, await gateway.renew(token), second)).toMatchObject({ __typename: 'ExactBalance' })
  })

  test('requests on both sides of midnight never disclose both amounts of a night, in three nights', async () => {
    let token = await share('finn')
    let nightsWithBoth = 0
    for (let night = 0; night < 3; night++) {
      toMidnight()
      token = await gateway.renew(token)
      const booked = await amountOf(gateway, token, BOOKED)
      token = await overMidnight(token)
      const available = await amountOf(gateway, token, AVAILABLE)
      if (booked.amount !== undefined && available.amount !== undefined) nightsWithBoth++
    }
    expect(nightsWithBoth).toBe(0)
  })

  test('a second client after midnight gets neither a second balance type nor a second budget', async () => {
    toMidnight()
    const browser = createBrowser()
    const one = await share('bo', 'chatterbox', browser)
    const other = await share('bo', 'chatterbox-bearer', browser)
    expect(await amountOf(gateway, one, BOOKED)).toMatchObject({ budget: { remaining: 3 } })
    const later = await overMidnight(other, 'chatterbox-bearer')
    expect(await amountOf(gateway, later, AVAILABLE)).toMatchObject({
      fallbackReason: { code: 'OTHER_BALANCE_TYPE_DISCLOSED' },
    })
    expect(await amountOf(gateway, later, BOOKED)).toMatchObject({ budget: { remaining: 2 } })
  })

  test('no period of 24 hours has more than four exact disclosures or six threshold comparisons', async () => {
    toMidnight()
    let token = await share('ada')
    const question =
      '{ customer { accounts(first: 1) { nodes { balanceAtLeast(threshold: { amount: "0", currency: "GBP" }) { __typename } } } } }'
    const times: { kind: string; at: number }[] = []
    for (let round = 0; round < 40; round++) {
      gateway.forward(61 * 60_000)
      token = await gateway.renew(token)
      for (let more = 0; more < (round % 12 === 0 ? 3 : 1); more++) {
        if (more > 0) gateway.forward(61_000)
        if ((await amountOf(gateway, token)).budget) times.push({ kind: 'AMOUNT', at: Date.now() })
        if (JSON.stringify(await gateway.ask(token, question)).includes('"BalanceAtLeast"'))
          times.push({ kind: 'QUESTION', at: Date.now() })
      }
    }
    for (const [kind, limit] of [
      ['AMOUNT', 4],
      ['QUESTION', 6],
    ] as const) {
      const own = times.filter((one) => one.kind === kind).map(({ at }) => at)
      expect(own.length).toBeGreaterThan(limit)
      for (const at of own)
        expect(own.filter((other) => other <= at && other > at - DAY_MS + 2_000).length).toBeLessThanOrEqual(limit)
    }
  })

  test('the end of a consent and a new consent reset no limit', async () => {
    toMidnight()
    const token = await share('dan')
    expect(await amountOf(gateway, token, BOOKED)).toMatchObject({ budget: { remaining: 3 } })
    const [consent] = await gateway.database.query<{ id: string }>('select id from consent where oauth_grant_id = $1', [
      token.grantId,
    ])
    await gateway.app.services.consents.revoke(consent!.id, 'CUSTOMER_AT_GATEWAY')
    const again = await overMidnight(await share('dan'))
    expect(await amountOf(gateway, again, AVAILABLE)).toMatchObject({
      fallbackReason: { code: 'OTHER_BALANCE_TYPE_DISCLOSED' },
    })
    expect(await amountOf(gateway, again, BOOKED)).toMatchObject({ budget: { remaining: 2 } })
  })
})
