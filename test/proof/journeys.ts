import { randomBytes } from 'node:crypto'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { generateDpopKey, createOauthClient, type Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { ALL_SCOPES, eventually, type TestGateway } from '../support/gateway.ts'
import { listen } from '../support/event-stream.ts'
import type { Sinks } from './sinks.ts'

const EVERYTHING = `{ customer { id consents { nodes { id status scopes purposes grantId expiresAt endedBy bank { id name } customer { id } } } alerts { nodes { id type severity requestedAction occurredAt accountId account { id displayName } bank { name } bankAppUrl } }
  accounts { nodes { id displayName maskedNumber type usage status currencies bank { id name country }
    booked: balances(type: INTERIM_BOOKED) { ... on ExactBalance { type value { amount currency } asOf freshness creditLineIncluded creditLimit { amount currency } } ... on BalanceUnavailable { currency reason { code category message resolvableBy retryAt } } }
    available: balances { ... on ExactBalance { value { amount } } ... on BalanceUnavailable { reason { code } } }
    expected: balances(type: EXPECTED) { ... on ExactBalance { value { amount } } ... on BalanceUnavailable { reason { code } } }
    bands: balances(detail: BAND) { ... on BalanceBand { lowerBound { amount currency } upperBound { amount currency } asOf } ... on BalanceUnavailable { reason { code } } }
    disclosureBudgets { exact { remaining nextAvailableAt } } bankAppUrl } } } }`

/** Every journey, its failures included, at banks that put purchases wherever they can. */
export async function runJourneys(gateway: TestGateway, sinks: Sinks): Promise<void> {
  const browser = createBrowser()
  const ada = await gateway.customer('ada', ['northbank', 'rheinbank'], { browser })
  await gateway.ask(ada, EVERYTHING)
  await gateway.ask(await gateway.customer('bo', ['northbank']), EVERYTHING)
  await gateway.ask(await gateway.customer('cleo', ['rheinbank']), EVERYTHING)
  // A bank that is down answers with a page that names a shop.
  await gateway.ask(await gateway.customer('dan', ['northbank', 'rheinbank']), EVERYTHING)

  // Two more standards, whose accounts carry transactions, bills and notes by themselves.
  const fay = await gateway.customer('fay', ['westbank'])
  const cody = await gateway.customer('cody', ['southbank'])
  for (const token of [fay, cody]) await gateway.ask(token, EVERYTHING)
  for (const [bank, account] of [
    ['westbank', 'wb-40001'],
    ['southbank', 'sb-60001'],
  ] as const) {
    await gateway.alert(bank, { account, type: 'NEW_SIGN_IN' })
    await faults(gateway, bank, account)
  }

  // A stream ends with its token, and hours have gone by.
  const heard = await listen(
    gateway.issuer,
    await gateway.renew(ada),
    'subscription { alertReceived { id type severity requestedAction occurredAt accountId bank { id name } } }',
  )
  const before = (await gateway.received()).length
  await gateway.alert('northbank', { customer: 'ada', type: 'UNUSUAL_ACTIVITY_REVIEW' })
  await gateway.alert('rheinbank', { account: '8f1c2a44-0002-4000-8000-000000000002', type: 'CARD_SECURITY' })
  await gateway.alert('northbank', { customer: 'ada', type: 'NO_SUCH_TYPE', deliveryMode: 'UNVALIDATED' })
  for (const how of ['QUEUED', 'QUEUED_TAMPERED'])
    await gateway.alert('northbank', { customer: 'ada', type: 'NEW_SIGN_IN', deliveryMode: how })
  await eventually('all alerts at the webhook', async () => (await gateway.received()).length >= before + 3)
  await eventually('all alerts live', () => Promise.resolve(heard.text().split('event: next').length >= 4))
  await gateway.ask(ada, EVERYTHING)
  await gateway.ask(
    await gateway.own('chatterbox', 'deliveries:read webhooks:manage'),
    '{ client { name webhookEndpoints { url } deliveries { nodes { id status attempts { httpStatus outcome } } } } }',
  )

  await cancelAtTheBank(gateway)
  await badBankDays(gateway, [ada, fay, cody])
  await badInput(gateway)

  await browser.open(`${gateway.issuer}/sharing`)
  const admin = await gateway.own('admin', 'clients:manage organizations:manage banks:manage')
  await gateway.ask(
    admin,
    '{ organizations { nodes { name } } clients { nodes { name scopes } } connectors { nodes { id jwks bank { name outages { kind } } responseIssues { code description count } notices { nodes { kind } } history { nodes { action } } certificationRuns { nodes { signedReport checks { name code } } } } } }',
  )
  for (const [bank, customer] of [
    ['northbank', 'bo'],
    ['westbank', 'fay'],
    ['southbank', 'cody'],
  ] as const)
    await fetch(`${gateway.sandbox.banks[bank]}/sandbox/revocations`, {
      method: 'POST',
      body: JSON.stringify({ customer }),
    })
  await gateway.ask(
    await gateway.renew(ada),
    'mutation { withdrawConsents(input: { all: true }) { consents { id status } userErrors { code } } }',
  )
  await eventually('the listener to be closed', () => Promise.resolve(heard.ended()))
  sinks.heard(heard.text())
}

async function cancelAtTheBank(gateway: TestGateway): Promise<void> {
  const browser = createBrowser()
  const oauth = createOauthClient(gateway.issuer, gateway.client('chatterbox'))
  const details = { type: 'urn:guichet:account-information', actions: ALL_SCOPES, purposes: ['ANSWER_CUSTOMER'] }
  const { url } = await oauth.pushAuthorizationRequest(
    { scope: ['openid', ...ALL_SCOPES].join(' '), details, state: randomBytes(9).toString('hex') },
    await generateDpopKey(),
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
      ['days', '30'],
      ['decision', 'go'],
    ],
    [['decision', 'go']],
    [['decision', 'cancel']],
  ] as [string, string][][])
    page = await browser.submit(page, fields, atPlatform)
}

/** Whether a request asks for balances, in any standard. */
const isLook = (url: string): boolean => /\/balances?(\?|$)|\/fdx\/v\d\/accounts/.test(url)

/** Everything that a bank can do wrong by itself, with purchases in it where there is a body. */
async function faults(gateway: TestGateway, bank: 'westbank' | 'southbank', account: string): Promise<void> {
  const token = await gateway.customer(bank === 'westbank' ? 'fay' : 'cody', [bank])
  const url = `${gateway.sandbox.banks[bank]}/sandbox/faults`
  for (const kind of ['SERVER_ERROR', 'HTML_ERROR', 'HTML', 'TRUNCATED', 'REDIRECT', 'WRONG_TYPES', 'HUGE', 'EMPTY']) {
    await fetch(url, { method: 'PUT', body: JSON.stringify({ account, kind, times: 3 }) })
    gateway.forward(6 * 3_600_000)
    await gateway.ask(await gateway.renew(token), EVERYTHING)
  }
  await fetch(url, { method: 'DELETE' })
}

/** Answers of banks on their worst day, each with a purchase in it. */
async function badBankDays(gateway: TestGateway, tokens: readonly Token[]): Promise<void> {
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
        accounts: [{ accountId: leak, accountCategory: leak, currency: { currencyCode: leak }, error: { code: leak } }],
        data: { balances: [{ accountId: leak, currentBalance: leak, currency: leak }] },
      }),
    },
    { status: 302, headers: { location: `https://${leak}.example/` }, text: leak },
    {
      status: 400,
      headers: {},
      text: JSON.stringify({
        code: leak,
        message: leak,
        tppMessages: [{ code: leak, text: leak }],
        Errors: [{ ErrorCode: leak, Message: leak }],
        errors: [{ code: leak, detail: leak, meta: { urn: leak } }],
      }),
    },
    { status: 401, headers: { 'www-authenticate': leak }, text: leak },
    { status: 429, headers: { 'retry-after': leak }, text: leak },
    { status: 500, headers: {}, text: leak },
  ]
  for (const answer of answers) {
    gateway.forward(16_000)
    gateway.intercept = (request) => (isLook(request.url) ? Promise.resolve(answer) : undefined)
    for (const token of tokens) await gateway.ask(token, EVERYTHING)
  }
  gateway.forward(16_000)
  gateway.intercept = (request) =>
    isLook(request.url) ? Promise.reject(new Error(leak, { cause: new Error(leak) })) : undefined
  for (const token of tokens) await gateway.ask(token, EVERYTHING)
  gateway.intercept = undefined
}

async function badInput(gateway: TestGateway): Promise<void> {
  await gateway.ask(undefined, '{ transactions { merchant } }')
  await gateway.ask(undefined, '{ customer { id } ')
  await fetch(`${gateway.issuer}/bank/callback?state=x`)
  await fetch(`${gateway.issuer}/nowhere`)
}
