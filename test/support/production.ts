import { execFile } from 'node:child_process'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request as forward } from 'node:http'
import { createServer, request as secureRequest } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createSelfSignedCertificate } from '../../src/kernel/certificate.ts'
import { createTestDatabase, type TestDatabase } from './database.ts'
import { freePort } from './ports.ts'
import { startProcess, type GatewayProcess } from './process.ts'

const root = join(import.meta.dirname, '../..')

export interface Ended {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** An installation of the production profile: an empty database, and a proxy that ends TLS before the gateways. */
export interface Production {
  readonly issuer: string
  readonly database: TestDatabase
  /** A new folder, of a gateway or of a person. */
  folder(): string
  /** Starts a gateway process on a data folder; requests go to the newest ones in turn. */
  start(dataDir: string, env?: Record<string, string>): Promise<GatewayProcess>
  /** Ends every gateway process. */
  stop(): Promise<void>
  /** The command line as a person runs it on a folder of their own. */
  guichet(dataDir: string, words: readonly string[], env?: Record<string, string>): Promise<Ended>
  /** One request through the proxy, with the answer's body. */
  send(method: string, path: string, body?: unknown): Promise<{ status: number; text: string }>
  close(): Promise<void>
}

export async function startProduction(): Promise<Production> {
  const database = await createTestDatabase()
  const port = await freePort()
  const issuer = `https://localhost:${port}`
  const sealingKey = randomBytes(32).toString('base64url')
  const folders: string[] = []
  const running: { port: number; gateway: GatewayProcess }[] = []
  /** Every start, also those that a test did not wait for because another failed. */
  const starts: Promise<GatewayProcess>[] = []
  const folder = (): string => {
    const path = mkdtempSync(join(tmpdir(), 'guichet-production-'))
    folders.push(path)
    return path
  }

  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  const [from, to] = [new Date(Date.now() - 3_600_000), new Date(Date.now() + 86_400_000)]
  const certificate = createSelfSignedCertificate(privateKey, {
    commonName: 'localhost',
    serial: Buffer.from('01', 'hex'),
    notBefore: from,
    notAfter: to,
  })
  const authorities = join(folder(), 'authorities.pem')
  writeFileSync(authorities, certificate)
  let turn = 0
  const key = String(privateKey.export({ type: 'pkcs8', format: 'pem' }))
  const proxy = createServer({ cert: certificate, key }, (incoming, outgoing) => {
    const { method, url: path, headers } = incoming
    const target = running[turn++ % Math.max(1, running.length)]
    const onward = forward({ host: '127.0.0.1', port: target?.port, method, path, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(outgoing)
    })
    onward.on('error', () => outgoing.destroy())
    incoming.pipe(onward)
  })
  await new Promise<void>((resolve) => proxy.listen(port, 'localhost', resolve))
  const settings = {
    GUICHET_PROFILE: 'production',
    ISSUER: issuer,
    DATABASE_URL: database.url,
    GUICHET_SEALING_KEY: sealingKey,
    METRICS_PORT: '0',
  }
  const stop = async (): Promise<void> => {
    await Promise.all(running.splice(0).map(({ gateway }) => gateway.stop('SIGTERM')))
  }

  return {
    issuer,
    database,
    folder,
    async start(dataDir, env = {}) {
      const place = { dataDir, port: await freePort(), sandboxPort: 9_000 }
      const start = startProcess(place, { ...settings, ...env })
      starts.push(start)
      const gateway = await start
      if (env['GUICHET_ROLE'] !== 'worker') running.push({ port: place.port, gateway })
      return gateway
    },
    stop,
    guichet: (dataDir, words, env = {}) =>
      new Promise((resolve) => {
        const { DATABASE_URL: _database, ISSUER: _issuer, PORT: _port, ...inherited } = process.env
        execFile(
          process.execPath,
          [join(root, 'src/entrypoints/cli/main.ts'), ...words],
          { cwd: root, env: { ...inherited, GUICHET_DATA_DIR: dataDir, NODE_EXTRA_CA_CERTS: authorities, ...env } },
          (error, out, err) => resolve({ code: error ? Number(error.code) : 0, out, err }),
        )
      }),
    send: (method, path, body) =>
      new Promise((resolve, reject) => {
        const headers = body === undefined ? {} : { 'content-type': 'application/json' }
        const sent = secureRequest(`${issuer}${path}`, { method, headers, ca: certificate }, (answer) => {
          let text = ''
          answer.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
          answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text }))
        })
        sent.on('error', reject)
        sent.end(body === undefined ? undefined : JSON.stringify(body))
      }),
    async close() {
      await stop()
      for (const start of await Promise.allSettled(starts))
        if (start.status === 'fulfilled') await start.value.stop('SIGTERM')
      proxy.closeAllConnections()
      proxy.close()
      await database.drop()
      for (const path of folders) rmSync(path, { recursive: true, force: true })
    },
  }
}
