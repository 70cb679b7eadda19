import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import type { LineFault } from '../support/fault-proxy.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { patientTimers } from '../support/patient-time.ts'

/** Four banks, each at the end of a line that can be made bad. */
const BANKS = ['northbank', 'rheinbank', 'westbank', 'southbank'] as const
type Bank = (typeof BANKS)[number]
const DEADLINE_MS = 1_400

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway({ lines: BANKS, crowd: 20 })
  // A hundred questions at once are more than a customer has in a minute.
  const change = 'mutation ($input: UpdateClientInput!) { updateClient(input: $input) { userErrors { code } } }'
  const input = { clientId: 'chatterbox', pointsPerMinute: 2_000_000_000, pointsPerCustomerPerMinute: 2_000_000_000 }
  await gateway.ask(await gateway.own('admin', 'clients:manage'), change, { input })
})
afterEach(() => {
  for (const bank of BANKS) gateway.lines[bank]!.fault = { kind: 'NONE' }
  // Whatever breakers a test left open are closed again.
  gateway.forward(10 * 60_000)
})
afterAll(() => gateway.close())

const QUERY =
  '{ customer { accounts(first: 25) { nodes { bank { id } balances { __typename ... on BalanceUnavailable { reason { code } } ... on BalanceBand { freshness } } } } } }'
interface Row {
  bank: { id: Bank }
  balances: { __typename: string; reason?: { code: string }; freshness?: string }[]
}
let next = 0
/** Somebody whom no bank was asked about yet, at all four banks. */
const somebody = (banks: readonly Bank[] = BANKS): Promise<Token> =>
  gateway.customer(`crowd${next++}`, banks, { scopes: ['accounts:read', 'balances:band'] })

async function ask(token: Token) {
  const began = patientTimers.monotonicMs()
  const answer = await gateway.askUnattended(token, QUERY)
  const tookMs = patientTimers.monotonicMs() - began
  const { nodes } = (answer.data!['customer'] as { accounts: { nodes: Row[] } }).accounts
  const of = (bank: Bank) => nodes.filter((row) => row.bank.id === bank)
  return {
    tookMs,
    whole: (banks: readonly Bank[]) =>
      banks.every(
        (bank) => of(bank).length > 0 && of(bank).every((row) => row.balances[0]!.__typename === 'BalanceBand'),
      ),
    reasons: (bank: Bank) => [...new Set(of(bank).map((row) => row.balances[0]!.reason?.code))],
  }
}

const OTHERS = BANKS.filter((bank) => bank !== 'westbank')

describe('a faulty connection to one of four banks', () => {
  test.each<[string, LineFault, string]>([
    ['goes nowhere', { kind: 'BLACKHOLE' }, 'BANK_TIMEOUT'],
    ['is cut at every question', { kind: 'RESET' }, 'BANK_UNAVAILABLE'],
    ['brings the answer five seconds late', { kind: 'DELAY', ms: 5_000 }, 'BANK_TIMEOUT'],
    ['brings it a byte at a time', { kind: 'TRICKLE', ms: 20 }, 'BANK_TIMEOUT'],
    ['changes it on the way', { kind: 'CORRUPT' }, 'BANK_RESPONSE_INVALID'],
  ])('a connection to one bank that %s affects only the results of that bank', async (_what, fault, reason) => {
    const token = await somebody()
    gateway.lines.westbank!.fault = fault
    const answer = await ask(token)
    expect(answer.whole(OTHERS)).toBe(true)
    expect(answer.reasons('westbank')).toEqual([reason])
    // Its deadline, and what this test's own machine may take beside it.
    expect(answer.tookMs).toBeLessThan(DEADLINE_MS + 600)
    gateway.lines.westbank!.fault = { kind: 'NONE' }
    gateway.forward(60_000)
    expect((await ask(await gateway.renew(token))).whole(BANKS)).toBe(true)
  })

  test('a bank whose circuit is open delays no response', async () => {
    const token = await somebody()
    gateway.lines.westbank!.fault = { kind: 'RESET' }
    for (let round = 0; round < 6; round++) await ask(token)
    // All of its accounts in one look, also where those of the other banks are remembered.
    expect(gateway.lines.westbank!.requests.filter((line) => line.startsWith('GET /fdx/v6/accounts/wc-'))).toEqual([])
    gateway.lines.westbank!.requests.length = 0
    const answer = await ask(token)
    expect(answer.whole(OTHERS)).toBe(true)
    expect(answer.reasons('westbank')).toEqual(['BANK_UNAVAILABLE'])
    expect(gateway.lines.westbank!.requests).toEqual([])
  })
})

describe('a bank that is slow', () => {
  test('a slow bank does not delay concurrent reads of another bank', async () => {
    await somebody(['northbank', 'westbank'])
    const { accounts } = gateway.app.services
    const [row] = await gateway.database.query<{ customer_id: string }>(
      "select customer_id from consent where status = 'ACTIVE' order by created_at desc limit 1",
    )
    const caller = {
      kind: 'CUSTOMER',
      customerId: row!.customer_id,
      clientId: 'chatterbox',
      scopes: new Set(['balances:band']),
    } as never
    const context = { caller, requestId: 'req_1', presence: 'CUSTOMER_PRESENCE_REQUIRED', customer: null } as const
    const rows = await accounts.list(caller, context)
    gateway.lines.westbank!.fault = { kind: 'BLACKHOLE' }
    const began = patientTimers.monotonicMs()
    const afterMs = { northbank: [] as number[], westbank: [] as number[] }
    await Promise.all(
      rows.map(async (one) => {
        await accounts.balances(
          { row: one, type: 'INTERIM_AVAILABLE', currencies: null, maxAgeMs: 60_000 },
          'BAND',
          context,
        )
        afterMs[one.account.bankId as keyof typeof afterMs].push(patientTimers.monotonicMs() - began)
      }),
    )
    expect(Math.max(...afterMs.northbank)).toBeLessThan(Math.min(...afterMs.westbank))
  })

  test('a bank that is slow for one account does not affect other accounts of the customer', async () => {
    const token = await somebody(['rheinbank'])
    gateway.intercept = ({ url }) => (url.endsWith('-1/balances') ? new Promise(() => undefined) : undefined)
    const answer = await ask(token)
    gateway.intercept = undefined
    expect(answer.reasons('rheinbank').sort()).toEqual(['BANK_TIMEOUT', undefined])
  })
})

describe('the calls to banks', () => {
  test('a hundred identical concurrent requests make one call to each bank that can list all balances', async () => {
    const token = await somebody()
    for (const bank of BANKS) gateway.lines[bank]!.requests.length = 0
    const answers = await Promise.all(Array.from({ length: 100 }, () => ask(token)))
    expect(answers.every(({ whole }) => whole(BANKS))).toBe(true)
    const calls = (bank: Bank) =>
      gateway.lines[bank]!.requests.map((line) => line.replace(/\?.*/, '').replace(/rc-\d+-\d+/, '{id}')).sort()
    // The accounts are known from the consent: only balances are asked for.
    expect(calls('northbank')).toEqual(['GET /open-banking/v4.0/aisp/balances'])
    expect(calls('westbank')).toEqual(['GET /fdx/v6/accounts'])
    expect(calls('southbank')).toEqual(['GET /cds-au/v1/banking/accounts/balances'])
    expect(calls('rheinbank')).toEqual(['GET /psd2/v1/accounts/{id}/balances', 'GET /psd2/v1/accounts/{id}/balances'])
  })

  test('three concurrent requests by each of four customers make four calls', async () => {
    const tokens = []
    for (let count = 0; count < 4; count++) tokens.push(await somebody(['northbank']))
    gateway.lines.northbank!.requests.length = 0
    const answers = await Promise.all(tokens.flatMap((token) => [ask(token), ask(token), ask(token)]))
    expect(answers.every(({ whole }) => whole(['northbank']))).toBe(true)
    expect(gateway.lines.northbank!.requests).toHaveLength(4)
  })
})
