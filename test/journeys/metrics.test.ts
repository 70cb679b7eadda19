import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { freePort } from '../support/ports.ts'
import { newPlace, startProcess } from '../support/process.ts'
import { startProduction } from '../support/production.ts'

const cli = join(import.meta.dirname, '../../src/entrypoints/cli/main.ts')
const USUAL = 9_464

/** Holds the usual port, unless somebody else on this machine does already. */
const holdUsualPort = (): Promise<Server> =>
  new Promise((resolve) => {
    const server = createServer((socket) => socket.destroy())
    server.once('error', () => resolve(server))
    server.listen(USUAL, '127.0.0.1', () => resolve(server))
  })

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
  let usual: Server
  beforeAll(async () => {
    usual = await holdUsualPort()
    gateway = await startGateway()
  })
  afterAll(async () => {
    await gateway.close()
    usual.close()
  })

  test('are not served where customers, platforms and banks are', async () => {
    for (const path of ['/metrics', '/metrics/', '/metrics?x=1', '/%6detrics'])
      expect((await fetch(`${gateway.issuer}${path}`)).status, path).toBe(404)
    expect(await (await fetch(gateway.issuer)).text()).not.toContain('metrics')
  })

  test('are served on loopback, on a port of their own, with nothing else beside them', async () => {
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

  test('are read under any host name, as a collector on the operator’s network does', async () => {
    const { port } = new URL(gateway.app.metricsUrl()!)
    expect(
      (await fetch(`http://localhost.:${port}/metrics`).catch(() => fetch(`http://localhost:${port}/metrics`))).status,
    ).toBe(200)
  })

  test('of another gateway are not taken for those of the gateway that is asked about', async () => {
    const env = { ISSUER: gateway.issuer, METRICS_PORT: new URL(gateway.app.metricsUrl()!).port }
    expect(await keysStatus(env)).toMatchObject({ code: 0, out: '{"sealedBefore":0}\n' })
    const other = await keysStatus({ ...env, ISSUER: 'http://127.0.0.1:4999' })
    expect(other).toMatchObject({ code: 1, out: '' })
    expect(other.err).toContain(`is the metrics of ${gateway.issuer}: name those of http://127.0.0.1:4999 by --metrics`)
    const closed = await keysStatus(env, '--metrics', `http://127.0.0.1:${await freePort()}/metrics`)
    expect(closed.err).toMatch(/^no metrics answer at .*--metrics or METRICS_PORT/)
  })
})

describe('the port of the metrics', () => {
  test('is another one for the second sandbox of a machine, which starts and shows it', async () => {
    const usual = await holdUsualPort()
    const dataDir = mkdtempSync(join(tmpdir(), 'guichet-metrics-'))
    const gateway = await startProcess(await newPlace(dataDir))
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

  test('is refused by name where it is taken, in production and where it was chosen', async () => {
    const production = await startProduction()
    const port = await freePort()
    const taken = createServer().listen(port, '127.0.0.1')
    const usual = await holdUsualPort()
    try {
      const start = (METRICS_PORT: string) => production.start(production.folder(), { METRICS_PORT })
      await expect(start(String(port))).rejects.toThrow(`METRICS_PORT: ${port} is in use`)
      await expect(start('')).rejects.toThrow(`METRICS_PORT: ${USUAL} is in use`)
    } finally {
      taken.close()
      usual.close()
      await production.close()
    }
  })
})
