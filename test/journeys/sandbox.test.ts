import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createAuthorizationHeaders, type Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { BANK_ALERT_TYPES } from '../../src/kernel/alert-vocabulary.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

const root = join(import.meta.dirname, '../..')
let gateway: TestGateway
let requestsAtStart: { route: string; status: number; code?: string }[]
beforeAll(async () => {
  gateway = await startGateway({ isNew: true })
  requestsAtStart = gateway.log
    .map((line) => JSON.parse(line) as { event: string; route: string; status: number; code?: string })
    .filter(({ event }) => event === 'request')
})
afterAll(() => gateway.close())

/** The README's first query, as it is printed. */
const FIRST_QUERY = /npx guichet query '([^']+)' --customer ada/.exec(
  readFileSync(join(root, 'README.md'), 'utf8'),
)![1]!

interface Ended {
  readonly code: number
  readonly out: string
  readonly err: string
}

const guichet = (words: readonly string[], env: Record<string, string> = {}): Promise<Ended> =>
  new Promise((resolve) => {
    const settings = { ISSUER: gateway.issuer, GUICHET_DATA_DIR: gateway.dataDir, ...env }
    execFile(
      process.execPath,
      [join(root, 'src/entrypoints/cli/main.ts'), ...words],
      { cwd: root, env: { ...process.env, ...settings } },
      (error, out, err) => resolve({ code: error ? Number(error.code) : 0, out, err }),
    )
  })

interface Balance {
  value?: { amount: string }
  lowerBound?: { amount: string }
  upperBound?: { amount: string }
}
async function balancesOf(token: Token): Promise<Balance[]> {
  const { data } = await gateway.ask(token, FIRST_QUERY)
  return (data!['customer'] as { accounts: { nodes: { balances: Balance[] }[] } }).accounts.nodes.map(
    ({ balances }) => balances[0]!,
  )
}

async function reset(token?: Token): Promise<number> {
  const url = `${gateway.issuer}/sandbox/reset`
  const headers = token ? await createAuthorizationHeaders(token, 'POST', url) : {}
  return (await fetch(url, { method: 'POST', headers })).status
}

const orderAlert = async (body: object): Promise<{ status: number; body: Record<string, unknown> }> => {
  const url = `${gateway.sandbox.banks.northbank}/sandbox/alerts`
  const answer = await fetch(url, { method: 'POST', body: JSON.stringify(body) })
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
}

describe('a sandbox', () => {
  test('a sandbox starts without a refused event, except the forged event of each certification run', async () => {
    const events = requestsAtStart.filter(({ route }) => route.startsWith('/bank-events/'))
    expect(events.filter(({ status }) => status < 300).length).toBeGreaterThan(0)
    const live = await gateway.database.query("select 1 from connector where status = 'ACTIVE'")
    const refused = events.filter(({ status }) => status >= 400)
    expect(refused.map(({ status, code }) => [status, code])).toEqual(live.map(() => [400, 'EVENT_REJECTED']))
    const metrics = await (await fetch(gateway.app.metricsUrl()!)).text()
    expect(metrics).toContain('# TYPE guichet_bank_events_rejected_total counter')
    expect(metrics.split('\n').filter((line) => line.startsWith('guichet_bank_events_rejected_total'))).toEqual([])
  })

  test('a sandbox resets the disclosure limits only for its admin', async () => {
    expect(await reset()).toBe(401)
    expect(await reset(await gateway.customer('bo', ['northbank']))).toBe(403)
    expect(await reset(await gateway.own('northbank-partner', 'connectors:read'))).toBe(403)
    expect(await reset(await gateway.own('admin', 'banks:manage'))).toBe(403)
    const spent = await gateway.own('admin', 'clients:manage')
    expect(await reset({ ...spent, tokenType: 'Bearer' })).toBe(401)
  })

  test('a sandbox bank accepts one gateway, and the command line names that gateway', async () => {
    const url = `${gateway.sandbox.banks.northbank}/sandbox/clients/guichet`
    const other = { keys: [], redirectUri: 'http://127.0.0.1:1/bank/callback', eventsUrl: 'http://127.0.0.1:1/events' }
    const answer = await fetch(url, { method: 'PUT', body: JSON.stringify(other) })
    expect([answer.status, await answer.json()]).toEqual([409, { error: 'belongs_to_another_gateway' }])
    expect(await gateway.alert('northbank', { customer: 'ada', type: 'CARD_SECURITY' })).toEqual([202])

    const wrong = await guichet(['consents', 'list', '--customer', 'ada'], { ISSUER: 'http://127.0.0.1:1' })
    expect(wrong).toMatchObject({
      code: 1,
      err: expect.stringContaining(`belongs to ${gateway.issuer}, not to`) as string,
    })
    const found = await guichet(['banks', 'list', '--json'], { ISSUER: '' })
    expect([found.err, found.code]).toEqual(['', 0])
  })
})

describe('an alert that a sandbox bank is to push', () => {
  test('the refusal of an invalid sandbox alert lists the valid values, over HTTP and in the terminal', async () => {
    const { status, body } = await orderAlert({
      customer: 'nobody',
      type: 'FREE_TEXT',
      severity: 'HIGH',
      deliveryMode: 'LOUD',
    })
    expect([status, body['error']]).toEqual([400, 'invalid_alert'])
    const allowed = body['allowed'] as Record<string, string[]>
    expect(Object.keys(allowed).sort()).toEqual(['customer', 'deliveryMode', 'severity', 'type'])
    expect(allowed['customer']).toContain('ada')

    const words = ['sandbox', 'alert', '--bank', 'northbank', '--customer', 'ada', '--type']
    const { code, out, err } = await guichet([...words, 'FREE_TEXT', '--severity', 'HIGH'])
    expect([code, out]).toEqual([1, ''])
    expect(err).toMatch(/^--type must be one of .*CARD_SECURITY.*\n--severity must be one of INFO, WARNING, URGENT\n$/)
    // The banks' list is the gateway's: each type of the contract can be pushed.
    expect([...allowed['type']!].sort()).toEqual([...BANK_ALERT_TYPES].sort())
  })

  test('a request for a sandbox alert that is not JSON is refused as malformed', async () => {
    const url = `${gateway.sandbox.banks.northbank}/sandbox/alerts`
    expect((await fetch(url, { method: 'POST', body: '{' })).status).toBe(400)
  })
})

describe('guichet sandbox reset', () => {
  test('the command guichet sandbox reset ends all sharing of a persona, and the next query opts in again', async () => {
    const query = ['query', '{ customer { consents { nodes { status } } } }', '--customer', 'cleo', '--json']
    expect(await guichet(query)).toMatchObject({ code: 0 })
    expect(await guichet(['consents', 'withdraw', '--customer', 'cleo'])).toMatchObject({ code: 0 })
    expect((await guichet(query)).code).toBe(1)
    const { code, out, err } = await guichet(['sandbox', 'reset', '--json'])
    expect([code, err]).toEqual([0, ''])
    expect(JSON.parse(out)).toMatchObject({ accounts: expect.any(Number) as number, personas: ['cleo'] })
    const again = await guichet(query)
    expect([again.code, again.err]).toEqual([0, ''])
  })
})

// Moves the clock, which the terminal's commands do not see: the last of this file.
describe('the README’s first query', () => {
  test("the README's first query always returns an amount or a band, and amounts again after a reset", async () => {
    const token = await gateway.customer('ada', ['northbank', 'rheinbank'])
    for (let time = 1; time <= 6; time++) {
      const balances = await balancesOf(await gateway.renew(token))
      expect(balances).toHaveLength(4)
      for (const balance of balances)
        expect([time, (balance.value ?? balance.lowerBound)?.amount]).toEqual([
          time,
          expect.stringMatching(/^-?\d+(\.\d+)?$/),
        ])
      if (time === 6)
        expect(balances.every(({ lowerBound, upperBound }) => Boolean(lowerBound && upperBound))).toBe(true)
      gateway.forward(10 * 60_000)
    }
    expect(await reset(await gateway.own('admin', 'clients:manage'))).toBe(200)
    const balances = await balancesOf(await gateway.renew(token))
    expect(balances.every(({ value }) => value !== undefined)).toBe(true)
  })
})
