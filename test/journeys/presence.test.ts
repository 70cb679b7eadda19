import { importJWK, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { subjectOf } from '../../src/entrypoints/cli/oauth-client.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway({ crowd: 8 })
})
afterAll(() => gateway.close())

const QUERY =
  '{ customer { accounts { nodes { balances { ... on ExactBalance { value { amount } } ... on BalanceBand { lowerBound { amount } } } } } } }'
let next = 0

/** What the bank was told of the customer, where the platform states this of them. */
async function toldOf(claims: Record<string, unknown> | undefined): Promise<(string | undefined)[]> {
  const token = await gateway.customer(`crowd${next++}`, ['northbank'])
  const client = gateway.client('chatterbox')
  const statement =
    claims &&
    (await new SignJWT(claims)
      .setProtectedHeader({ alg: 'ES256', typ: 'customer-present+jwt', kid: client.key.kid! })
      .setIssuer(client.clientId)
      .setSubject(subjectOf(token)!)
      .setAudience(gateway.issuer)
      .setIssuedAt()
      .sign(await importJWK(client.key, 'ES256')))
  gateway.sent.length = 0
  await gateway.askUnattended(token, QUERY, {}, statement)
  const look = gateway.sent.find(({ url }) => url.endsWith('/balances'))!
  return [look.headers!['x-fapi-customer-ip-address'], look.headers!['x-customer-user-agent']]
}

describe('the presence of a customer', () => {
  test("a bank gets the customer's address and browser only as the platform signed them", async () => {
    expect(await toldOf({ customer_ip: '203.0.113.9', customer_user_agent: 'Chat/1.0' })).toEqual([
      '203.0.113.9',
      'Chat/1.0',
    ])
    expect(await toldOf({ customer_ip: '2001:db8::1' })).toEqual(['2001:db8::1', undefined])
    expect(await toldOf({})).toEqual([undefined, undefined])
    expect(await toldOf(undefined)).toEqual([undefined, undefined])
  })

  test.each([
    ['an address that is none', { customer_ip: 'localhost' }],
    ['an address with a line break', { customer_ip: '203.0.113.9\r\nx-evil: 1' }],
    ['an address that is a list', { customer_ip: ['203.0.113.9'] }],
    ['a browser without an address', { customer_user_agent: 'Chat/1.0' }],
  ])('a bank gets no customer headers for a statement with %s', async (_what, claims) => {
    expect(await toldOf(claims)).toEqual([undefined, undefined])
  })

  test("a bank gets the customer's address at sign-in from the gateway's pages", async () => {
    gateway.sent.length = 0
    await gateway.customer('ada', ['northbank'])
    const accounts = gateway.sent.find(({ url }) => url.endsWith('/aisp/accounts'))!
    expect(accounts.headers!['x-fapi-customer-ip-address']).toBe('127.0.0.1')
  })
})
