import { execFile } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { App } from '../../src/app.ts'
import { GatewayError } from '../../src/kernel/errors.ts'
import { OutboundError } from '../../src/kernel/outbound-error.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { freePort } from '../support/ports.ts'
import { startProcess, usedPlace } from '../support/process.ts'
import { startSecondGateway } from '../support/second-gateway.ts'
import { startProduction } from '../support/production.ts'

const cli = join(import.meta.dirname, '../../src/entrypoints/cli/main.ts')
const USUAL = 9_464

const scrape = async ({ app }: { app: App }): Promise<string> => (await fetch(app.metricsUrl()!)).text()

/** An address of this machine whose usual port no other program uses. */
const OWN_HOST = `127.${randomInt(1, 255)}.${randomInt(255)}.${randomInt(1, 255)}`

async function holdUsualPort(): Promise<Server> {
  const server = createServer((socket) => socket.destroy())
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(USUAL, OWN_HOST, resolve))
  return server
}

function keysStatus(
  env: Record<string, string>,
  ...words: string[]
): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) =>
    execFile(
      process.execPath,
      [cli, 'keys', 'status', ...words, '--json'],
      { env: { ...process.env, ...env } },
      (error, out, err) => resolve({ code: error ? Number(error.code) : 0, out, err }),
    ),
  )
}

describe('metrics', () => {
  let gateway: TestGateway
  beforeAll(async () => {
    gateway = await startGateway()
  })
  afterAll(() => gateway.close())

  test('metrics are not served on the port for customers, platforms and banks', async () => {
    for (const path of ['/metrics', '/metrics/', '/metrics?x=1', '/%6detrics'])
      expect((await fetch(`${gateway.issuer}${path}`)).status, path).toBe(404)
    expect(await (await fetch(gateway.issuer)).text()).not.toContain('metrics')
  })

  test('metrics are served alone on a separate port of the loopback interface', async () => {
    const url = new URL(gateway.app.metricsUrl()!)
    expect(url.hostname).toBe('127.0.0.1')
    expect(url.port).not.toBe(new URL(gateway.issuer).port)
    const answer = await fetch(url)
    expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
    expect(await answer.text()).toContain(`guichet_info{issuer="${gateway.issuer}"} 1\n`)
    for (const path of ['/', '/graphql', '/oauth/token', '/livez', '/admin/bootstrap'])
      expect((await fetch(new URL(path, url))).status, path).toBe(404)
    expect((await fetch(url, { method: 'POST' })).status).toBe(405)
    const outside = Object.values(networkInterfaces())
      .flat()
      .find((one) => one?.family === 'IPv4' && !one.internal)
    if (outside) await expect(fetch(`http://${outside.address}:${url.port}/metrics`)).rejects.toThrow('fetch failed')
  })

  test("metrics are served for any host name, as a collector on the operator's network needs", async () => {
    const { port } = new URL(gateway.app.metricsUrl()!)
    expect(
      (await fetch(`http://localhost.:${port}/metrics`).catch(() => fetch(`http://localhost:${port}/metrics`))).status,
    ).toBe(200)
  })

  test('requests, bank calls, webhook attempts and waits for a connection are counted with their outcome', async () => {
    const token = await gateway.customer('ada', ['northbank'])
    await gateway.ask(token, '{ customer { accounts { nodes { balances { __typename } } } } }')
    await gateway.ask(undefined, '{ customer { id } }')
    await gateway.ask(undefined, '{ nothing')
    gateway.intercept = (request) =>
      request.url.endsWith('/token')
        ? Promise.reject(new OutboundError('OUTBOUND_TIMEOUT', 'CONNECT_TIMEOUT'))
        : undefined
    await gateway.customer('bo', ['northbank']).catch(() => undefined)
    gateway.intercept = undefined
    const before = (await gateway.received()).length
    await gateway.alert('northbank', { customer: 'ada', type: 'CARD_SECURITY' })
    await eventually('the webhook', async () => (await gateway.received()).length > before)
    const lines = [
      /^guichet_http_request_duration_seconds_count\{route="\/graphql",status="2xx"\} [1-9]/m,
      /^guichet_http_request_duration_seconds_count\{route="\/oauth\/token",status="2xx"\} [1-9]/m,
      /^guichet_graphql_request_duration_seconds_count\{operation_type="query",outcome="success"\} [1-9]/m,
      /^guichet_graphql_request_duration_seconds_count\{operation_type="query",outcome="partial"\} [1-9]/m,
      /^guichet_graphql_request_duration_seconds_count\{operation_type="unknown",outcome="rejected"\} [1-9]/m,
      /^guichet_bank_call_duration_seconds_count\{bank="northbank",operation="BALANCES",outcome="success"\} [1-9]/m,
      /^guichet_bank_call_duration_seconds_count\{bank="northbank",operation="CONSENT",outcome="BANK_TIMEOUT"\} [1-9]/m,
      /^guichet_delivery_attempt_duration_seconds_count\{outcome="ACCEPTED"\} [1-9]/m,
      /^guichet_database_connection_wait_seconds_count\{pool="prisma"\} [1-9]/m,
      /^guichet_database_connections\{pool="query",state="idle"\} [1-9]/m,
      /^guichet_deliveries_due 0$/m,
      /^guichet_outbox_pending_messages 0$/m,
      /^nodejs_eventloop_lag_p99_seconds /m,
    ]
    await vi.waitFor(
      async () => {
        const text = await scrape(gateway)
        expect(lines.filter((line) => !line.test(text))).toEqual([])
      },
      { timeout: 60_000, interval: 100 },
    )
  })

  test('no label identifies a customer, account, client or address, and label values come from closed sets', async () => {
    const text = await scrape(gateway)
    const labels = [...text.matchAll(/(?<=[{,])(\w+)="([^"]*)"/g)].map(([, name, value]) => [name!, value!] as const)
    const values = new Set(
      labels.filter(([name]) => !['le', 'issuer', 'version'].includes(name)).map(([, value]) => value),
    )
    const tables = await gateway.database.query<{ value: string }>(
      `select id as value from customer union select id from client union select id from account union select name from client
       union select display_name from account union select id from consent union select id from connection`,
    )
    expect(tables.length).toBeGreaterThan(10)
    for (const { value } of tables) expect(text).not.toContain(value)
    expect(text).not.toMatch(/127\.0\.0\.1(?!:\d+"\} 1\n)/)
    expect(values.size).toBeLessThan(100)
  })

  test('the ID of an unknown connector becomes no label while the database cannot be reached', async () => {
    const { alerts } = gateway.app.services
    const unavailable = new GatewayError('DATABASE_UNAVAILABLE')
    const acceptsEvents = vi.spyOn(alerts, 'acceptsEvents').mockRejectedValue(unavailable)
    try {
      const response = await fetch(`${gateway.issuer}/bank-events/shoes-from-a-shop`, {
        method: 'POST',
        headers: { 'content-type': 'application/secevent+jwt' },
        body: 'token',
      })
      expect(response.status).toBe(503)
    } finally {
      acceptsEvents.mockRestore()
    }
    const text = await scrape(gateway)
    expect(text).toContain('guichet_bank_events_rejected_total{code="DATABASE_UNAVAILABLE",connector=""} 1')
    expect(text).not.toContain('shoes-from-a-shop')
  })

  test('two gateways in one process have separate counters', async () => {
    const second = await startSecondGateway(gateway)
    try {
      await fetch(`${second.issuer}/graphql`, { method: 'POST' })
      const [own, others] = await Promise.all([scrape(second), scrape(gateway)])
      const requests = /^guichet_http_request_duration_seconds_count\{route="\/graphql",status="4xx"\} 1$/m
      expect(own).toMatch(requests)
      expect(others).not.toMatch(requests)
    } finally {
      await second.close()
    }
  })

  test('a scrape while the database does not respond has all metrics but those that only the database knows', async () => {
    const { outbox } = gateway.app.services
    const countPending = vi.spyOn(outbox, 'countPending').mockReturnValue(new Promise(() => undefined))
    try {
      const text = await scrape(gateway)
      expect(text).toMatch(/^guichet_http_request_duration_seconds_count/m)
      expect(text).toMatch(/^guichet_deliveries_due 0$/m)
      expect(text).not.toMatch(/^guichet_outbox_pending_messages /m)
    } finally {
      countPending.mockRestore()
    }
  })

  test('metrics of another gateway are not mistaken for those of this gateway', async () => {
    const env = { ISSUER: gateway.issuer, METRICS_PORT: new URL(gateway.app.metricsUrl()!).port }
    expect(await keysStatus(env)).toMatchObject({ code: 0, out: '{"sealedBefore":0}\n' })
    const other = await keysStatus({ ...env, ISSUER: 'http://127.0.0.1:4999' })
    expect(other).toMatchObject({ code: 1, out: '' })
    expect(other.err).toContain(
      `is the metrics of ${gateway.issuer}: name those of http://127.0.0.1:4999 with --metrics`,
    )
    const closed = await keysStatus(env, '--metrics', `http://127.0.0.1:${await freePort()}/metrics`)
    expect(closed.err).toMatch(/^no metrics at .*--metrics or METRICS_PORT/)
  })
})

describe('the port of the metrics', () => {
  test('a second sandbox on a machine starts with another metrics port and prints it', async () => {
    const usual = await holdUsualPort()
    const dataDir = mkdtempSync(join(tmpdir(), 'guichet-metrics-'))
    const gateway = await startProcess(await usedPlace(dataDir), { METRICS_HOST: OWN_HOST, METRICS_PORT: '' })
    try {
      const url = /Metrics +(\S+)/.exec(gateway.output())?.[1]
      expect(new URL(url!).port).not.toBe(String(USUAL))
      expect((await fetch(url!)).status).toBe(200)
    } finally {
      await gateway.stop('SIGTERM')
      rmSync(dataDir, { recursive: true, force: true })
      usual.close()
    }
  })

  test('a start in production or with a chosen metrics port that is in use fails and names the setting', async () => {
    const production = await startProduction()
    const port = await freePort()
    const taken = createServer().listen(port, '127.0.0.1')
    const usual = await holdUsualPort()
    try {
      const start = (METRICS_HOST: string, METRICS_PORT: string) =>
        production.start(production.folder(), { METRICS_HOST, METRICS_PORT })
      await expect(start('127.0.0.1', String(port))).rejects.toThrow(`METRICS_PORT: ${port} is in use`)
      await expect(start(OWN_HOST, '')).rejects.toThrow(`METRICS_PORT: ${USUAL} is in use`)
    } finally {
      taken.close()
      usual.close()
      await production.close()
    }
  })
})
