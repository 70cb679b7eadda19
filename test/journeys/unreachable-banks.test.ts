import { generateKeyPairSync } from 'node:crypto'
import { createServer as createTlsServer } from 'node:tls'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createSelfSignedCertificate } from '../../src/kernel/certificate.ts'
import { DAY_MS, addMs } from '../../src/kernel/clock.ts'
import { FAILURE_CAUSES } from '../../src/kernel/failure-causes.ts'
import { answerOf, consentPages, GO, SHARING, BANK } from '../support/consent-pages.ts'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { listen } from '../support/event-stream.ts'
import { freePort } from '../support/ports.ts'

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const key = String(privateKey.export({ type: 'pkcs8', format: 'pem' }))
/** Trusted, for this machine, and over. */
const expired = createSelfSignedCertificate(privateKey, {
  commonName: 'localhost',
  serial: Buffer.from('0123456789', 'hex'),
  notBefore: addMs(new Date(), -9 * DAY_MS),
  notAfter: addMs(new Date(), -DAY_MS),
})

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway({ lines: ['northbank', 'rheinbank'], authorities: expired })
})
afterAll(() => gateway.close())

const HEALTH =
  '{ connectors { nodes { bank { id } health { operation callCount failureCount failureCauses { cause description count } } certificationRuns { nodes { checks { name code failureCause } } } } } }'
interface Shown {
  bank: { id: string }
  health: {
    operation: string
    failureCount: number
    failureCauses: { cause: string; description: string; count: number }[]
  }[]
  certificationRuns: { nodes: { checks: { name: string; code: string | null; failureCause: string | null }[] }[] }
}
async function connectorsOf(clientId: string, scope: string): Promise<Shown[]> {
  const answer = await gateway.ask(await gateway.own(clientId, scope), HEALTH)
  expect(answer.errors).toBeUndefined()
  return (answer.data!['connectors'] as { nodes: Shown[] }).nodes
}
const admin = () => connectorsOf('admin', 'banks:manage')
const everyCause = new RegExp(
  Object.keys(FAILURE_CAUSES)
    .filter((cause) => cause !== 'ADDRESS_NOT_ALLOWED')
    .join('|'),
)

describe('why a bank cannot be reached', () => {
  test("the operator, admins and the bank's partner see why a bank is unreachable, and platforms do not", async () => {
    const token = await gateway.customer('ada', ['northbank', 'rheinbank'])
    gateway.lines.northbank!.fault = { kind: 'RESET' }
    gateway.forward(10 * 60_000)
    const fresh = await gateway.renew(token)
    const heard = await listen(gateway.issuer, fresh, 'subscription { alertReceived { id } }')
    const query =
      '{ customer { accounts(first: 25) { nodes { bank { id name } balances { __typename ... on BalanceUnavailable { reason { code message resolvableBy retryable retryAt } } } bands: balances(detail: BAND) { __typename ... on BalanceUnavailable { reason { code } } } } } } }'
    const answer = await gateway.ask(fresh, query)
    const text = JSON.stringify(answer)
    expect(text).toContain('BANK_UNAVAILABLE')
    expect(text).not.toMatch(everyCause)

    // Counts are written in batches.
    const balances = await eventually('the failure to be counted', async () => {
      const north = (await admin()).find(({ bank }) => bank.id === 'northbank')!
      return north.health.find(({ failureCauses }) => failureCauses.length > 0)
    })
    expect(balances.failureCauses[0]).toMatchObject({ cause: 'CONNECTION_RESET' })
    expect(balances.failureCauses[0]!.description).toBe(FAILURE_CAUSES.CONNECTION_RESET.description)
    expect(balances.failureCauses[0]!.count).toBeGreaterThan(0)
    const rhein = (await admin()).find(({ bank }) => bank.id === 'rheinbank')!
    expect(rhein.health.every(({ failureCauses }) => failureCauses.length === 0)).toBe(true)

    const lines = gateway.log.filter((line) => line.includes('"bank.unreachable"'))
    expect(lines.length).toBeGreaterThan(0)
    expect(JSON.parse(lines[0]!)).toMatchObject({
      operation: balances.operation,
      failureCause: 'CONNECTION_RESET',
    })
    const metrics = await (await fetch(gateway.app.metricsUrl()!)).text()
    expect(metrics).toMatch(
      /^guichet_bank_call_failures\{bank="northbank",operation="[A-Z]+",failure_cause="CONNECTION_RESET"\} [1-9]/m,
    )

    // What a platform may ask in any way says no more.
    for (const attack of [
      HEALTH,
      '{ connectors { nodes { health { failureCauses { cause } } } } }',
      '{ client { name deliveries(first: 1) { nodes { attempts { failureCause } } } } }',
      '{ __type(name: "FailureCause") { enumValues { name description } } }',
    ])
      expect(JSON.stringify(await gateway.ask(fresh, attack))).not.toMatch(everyCause)
    const own = await gateway.own('chatterbox', 'deliveries:read')
    expect(JSON.stringify(await gateway.ask(own, HEALTH))).not.toContain('CONNECTION_RESET')
    expect(heard.text()).not.toMatch(everyCause)
    heard.close()

    // Nor does the customer's browser, nor what it brings the platform.
    const pages = consentPages(gateway)
    const browser = createBrowser()
    const { page } = await pages.begin(browser)
    const back = await pages.walk(browser, page, BANK, SHARING, GO)
    expect(answerOf(back)['error']).toBe('temporarily_unavailable')
    expect(`${back.url} ${back.text}`).not.toMatch(everyCause)
    gateway.lines.northbank!.fault = { kind: 'NONE' }
  })

  test('a bank that keeps failing leaves one log line a minute for each kind of call and cause', async () => {
    gateway.forward(10 * 60_000)
    gateway.log.length = 0
    const { health } = gateway.app.services.banks
    const { GatewayError } = await import('../../src/kernel/errors.ts')
    const fails = () => Promise.reject(new GatewayError('BANK_UNAVAILABLE', { failureCause: 'CERTIFICATE_EXPIRED' }))
    const connector = (await gateway.app.services.banks.allConnectors())[0]!
    const bank = health.observe(connector, new Proxy({}, { get: () => fails }) as never)
    for (let call = 0; call < 20; call++) await expect(bank.revokeConsent({ consentRef: 'x' })).rejects.toThrow()
    const lines = () => gateway.log.filter((line) => line.includes('"bank.unreachable"'))
    expect(lines().length).toBeGreaterThanOrEqual(1)
    expect(lines().length).toBeLessThanOrEqual(2)
    gateway.forward(60_000)
    await expect(bank.revokeConsent({ consentRef: 'x' })).rejects.toThrow()
    expect(lines().length).toBeLessThanOrEqual(3)
    await eventually('the counts to be stored', async () =>
      (await health.operationHealth(connector.id)).some(
        ({ operation, failureCauses }) =>
          operation === 'CONSENT' &&
          failureCauses.some(({ cause, count }) => cause === 'CERTIFICATE_EXPIRED' && count === 21),
      ),
    )
    gateway.forward(60 * 60_000)
    expect((await health.operationHealth(connector.id)).flatMap(({ failureCauses }) => failureCauses)).toEqual([])
    await health.sweep('bank_failure_count')
    expect(await gateway.database.query('select 1 from bank_failure_count')).toEqual([])
  })

  test('a certification report names the cause of a failed check and is signed', async () => {
    const server = createTlsServer({ cert: expired, key }, (socket) => socket.end()).on(
      'tlsClientError',
      () => undefined,
    )
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const partner = () => gateway.own('eastbank-partner', 'connectors:manage connectors:read')
    const { standard, registration } = (await (
      await fetch(`${gateway.sandbox.banks.eastbank}/sandbox/registration`)
    ).json()) as { standard: string; registration: Record<string, unknown> }
    const address = `https://localhost:${(server.address() as AddressInfo).port}`
    const nowhere = `http://127.0.0.1:${await freePort()}`
    for (const [authorizationServer, failureCause] of [
      [address, 'CERTIFICATE_EXPIRED'],
      [nowhere, 'CONNECTION_REFUSED'],
    ]) {
      const registered = await gateway.ask(
        await partner(),
        'mutation ($input: RegisterConnectorInput!) { registerConnector(input: $input) { connector { id } userErrors { code path } } }',
        {
          input: {
            standard,
            registration: {
              ...registration,
              bank: { id: 'eastbank', name: 'Eastbank', country: 'US' },
              authorizationServer,
            },
          },
        },
      )
      const { connector } = registered.data!['registerConnector'] as { connector: { id: string } | null }
      expect(JSON.stringify(registered)).toContain('"connector":{')
      await gateway.ask(
        await partner(),
        'mutation ($input: StartCertificationInput!) { startCertification(input: $input) { userErrors { code } } }',
        { input: { connectorId: connector!.id } },
      )
      const report = await eventually(
        'the run',
        async () => {
          const [newest] = (await gateway.app.services.banks.certificationRuns(connector!.id, {})).nodes
          return newest?.finishedAt ? newest : undefined
        },
        60_000,
      )
      expect(report.status).toBe('FAILED')
      const reachability = report.checks.find(({ name }) => name === 'REACHABILITY')
      expect(reachability).toMatchObject({ code: 'BANK_UNAVAILABLE', failureCause })
      const signed = Buffer.from(report.signedReport!.split('.')[1]!, 'base64url').toString('utf8')
      expect(signed).toContain(failureCause)
      const shown = (await connectorsOf('eastbank-partner', 'connectors:read')).flatMap(
        ({ certificationRuns }) => certificationRuns.nodes[0]?.checks ?? [],
      )
      expect(shown).toContainEqual({ name: 'REACHABILITY', code: 'BANK_UNAVAILABLE', failureCause })
      expect(
        gateway.log.some((line) => line.includes('"certification.check_failed"') && line.includes(failureCause!)),
      ).toBe(true)
    }
    server.close()
  })
})
