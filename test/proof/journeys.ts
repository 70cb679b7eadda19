import { randomBytes } from 'node:crypto'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { newDpopKey, oauthClient } from '../../src/entrypoints/cli/oauth-client.ts'
import { ALL_SCOPES, eventually, type TestGateway } from '../support/gateway.ts'
import { listen } from '../support/listening.ts'
import type { Sinks } from './sinks.ts'

const EVERYTHING = `{ viewer { id consents { id status scopes purposes expiresAt bank { id name } } alerts { nodes { id type severity ask occurredAt accountId bank { name } } }
  accounts { nodes { id displayName maskedNumber type usage status currency bank { id name country }
    booked: balances(type: INTERIM_BOOKED) { ... on ExactBalance { type amount currency asOf freshness creditLineIncluded } ... on BalanceUnavailable { reason category actor retryAt } }
    available: balances { ... on ExactBalance { amount } ... on BalanceUnavailable { reason } }
    expected: balances(type: EXPECTED) { ... on ExactBalance { amount } ... on BalanceUnavailable { reason } }
    balanceBand { ... on BalanceBand { from to asOf } ... on BalanceUnavailable { reason } } } } } }`

/** Every journey, its failures included, at banks that put purchases wherever they can. */
export async function runJourneys(gateway: TestGateway, sinks: Sinks): Promise<void> {
  const browser = createBrowser()
  const ada = await gateway.customer('ada', ['northbank', 'rheinbank'], { browser })
  const heard = await listen(
    gateway.issuer,
    ada,
    'subscription { alertReceived { id type severity ask occurredAt accountId bank { id name } } }',
  )
  await gateway.ask(ada, EVERYTHING)
  await gateway.ask(await gateway.customer('bo', ['northbank']), EVERYTHING)
  await gateway.ask(await gateway.customer('cleo', ['rheinbank']), EVERYTHING)
  // A bank that is down answers with a page that names a shop.
  await gateway.ask(await gateway.customer('dan', ['northbank', 'rheinbank']), EVERYTHING)

  const before = (await gateway.received()).length
  await gateway.alert('northbank', { customer: 'ada', type: 'UNUSUAL_ACTIVITY_REVIEW' })
  await gateway.alert('rheinbank', { account: '8f1c2a44-0002-4000-8000-000000000002', type: 'CARD_SECURITY' })
  await gateway.alert('northbank', { customer: 'ada', type: 'NO_SUCH_TYPE' })
  await eventually('both alerts at the webhook', async () => (await gateway.received()).length >= before + 2)
  await eventually('both alerts live', () => Promise.resolve(heard.text().split('event: next').length >= 3))
  await gateway.ask(ada, EVERYTHING)
  await gateway.ask(
    await gateway.own('chatterbox', 'deliveries:read webhooks:manage'),
    '{ client { name webhookEndpoints { url } deliveries { nodes { id state attempts { status outcome } } } } }',
  )

  await cancelAtTheBank(gateway)
  await badBankDays(gateway, ada)
  await badInput(gateway)

  await browser.open(`${gateway.issuer}/sharing`)
  const admin = await gateway.own('admin', 'clients:manage platforms:manage banks:manage')
  await gateway.ask(admin, '{ platforms { name } clients { name scopes } connectors { id publicKeys bank { name } } }')
  await fetch(`${gateway.sandbox.banks.northbank}/sandbox/revocations`, {
    method: 'POST',
    body: JSON.stringify({ customer: 'bo' }),
  })
  await gateway.ask(
    await gateway.renew(ada),
    'mutation { withdrawConsent(input: {}) { consent { id status } errors { code } } }',
  )
  await eventually('the listener to be closed', () => Promise.resolve(heard.ended()))
  await fetch(`${gateway.issuer}/metrics`)
  sinks.heard(heard.text())
}

async function cancelAtTheBank(gateway: TestGateway): Promise<void> {
  const browser = createBrowser()
  const oauth = oauthClient(gateway.issuer, gateway.client('chatterbox'))
  const details = { type: 'urn:guichet:account-information', actions: ALL_SCOPES, purposes: ['ANSWER_CUSTOMER'] }
  const { url } = await oauth.push(
    { scope: ['openid', ...ALL_SCOPES].join(' '), details, state: randomBytes(9).toString('hex') },
    await newDpopKey(),
  )
  const atPlatform = (address: URL) => address.origin === gateway.sandbox.platform
  let page = await browser.open(url, atPlatform)
  for (const fields of [
    [
      ['bank', 'rheinbank'],
      ['decision', 'go'],
    ],
    [
      ['share', 'exact'],
      ['decision', 'go'],
    ],
    [['decision', 'go']],
    [['decision', 'cancel']],
  ] as [string, string][][])
    page = await browser.submit(page, fields, atPlatform)
}

/** Answers of banks on their worst day, each with a purchase in it. */
async function badBankDays(gateway: TestGateway, token: Parameters<TestGateway['ask']>[0]): Promise<void> {
  const leak = gateway.sandbox.canary!
  const answers = [
    { status: 200, headers: { 'x-last': leak }, text: `<html>${leak}</html>` },
    { status: 200, headers: {}, text: `{"Data":{"Balance":[{"${leak}":` },
    {
      status: 200,
      headers: {},
      text: JSON.stringify({
        [leak]: leak,
        Data: {
          Balance: [
            { AccountId: leak, Type: leak, CreditDebitIndicator: leak, Amount: { Amount: leak, Currency: leak } },
          ],
        },
        balances: [{ balanceType: leak, balanceAmount: { amount: leak, currency: leak } }],
      }),
    },
    { status: 302, headers: { location: `https://${leak}.example/` }, text: leak },
    { status: 400, headers: {}, text: JSON.stringify({ tppMessages: [{ text: leak }], Errors: [{ Message: leak }] }) },
    { status: 401, headers: { 'www-authenticate': leak }, text: leak },
    { status: 429, headers: { 'retry-after': leak }, text: leak },
    { status: 500, headers: {}, text: leak },
  ]
  for (const answer of answers) {
    gateway.forward(16_000)
    gateway.intercept = (request) => (request.url.endsWith('/balances') ? Promise.resolve(answer) : undefined)
    await gateway.ask(token, EVERYTHING)
  }
  gateway.forward(16_000)
  gateway.intercept = (request) =>
    request.url.endsWith('/balances') ? Promise.reject(new Error(leak, { cause: new Error(leak) })) : undefined
  await gateway.ask(token, EVERYTHING)
  gateway.intercept = undefined
}

async function badInput(gateway: TestGateway): Promise<void> {
  await gateway.ask(undefined, '{ transactions { merchant } }')
  await gateway.ask(undefined, '{ viewer { id } ')
  await fetch(`${gateway.issuer}/bank/callback?state=x`)
  await fetch(`${gateway.issuer}/nowhere`)
}
