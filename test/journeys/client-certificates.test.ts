import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { request as httpsRequest, type RequestOptions } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createClientIdentity } from '../support/client-identity.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { HAS_NGINX, startNginx, type Nginx } from '../support/nginx.ts'
import { readPage } from '../support/page.ts'
import { freePort } from '../support/ports.ts'

const { blockOf } = readPage('docs/ALERTS-FOR-BANKS.md')

const westbank = createClientIdentity('westbank')
const northbank = createClientIdentity('northbank')
const stranger = createClientIdentity('westbank')
const expired = createClientIdentity('westbank', [-30, -1])

let notificationCount = 0
/** A notification of its own about an account of westbank. */
const notification = (): string =>
  JSON.stringify({
    notificationId: `n-${++notificationCount}`,
    type: 'ACCOUNT_TAKEOVER',
    sentOn: new Date().toISOString(),
    category: 'FRAUD',
    notificationPayload: { id: 'wb-40001', idType: 'ACCOUNT' },
  })

/** How a request is sent. */
type Connection = Omit<RequestOptions, 'headers'> & { readonly headers?: Record<string, string> }

/** Posts to `url` by the connection that `options` describe; returns the status. */
function post(url: string, body: string, options: Connection = {}): Promise<number> {
  const { pathname, host, hostname, port } = new URL(url)
  const headers = { host, 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
  const isTls = options.cert !== undefined || options.rejectUnauthorized === false
  return new Promise((resolve, reject) => {
    const sent = (isTls ? httpsRequest : httpRequest)(
      { hostname, port, path: pathname, method: 'POST', ...options, headers: { ...headers, ...options.headers } },
      (response) => {
        response.resume()
        response.on('end', () => resolve(response.statusCode!))
      },
    )
    sent.on('error', reject)
    sent.end(body)
  })
}

/** Makes the bank one that sends FDX notifications without signatures, over connections with this certificate. */
async function pin(gateway: TestGateway, bankId: string, thumbprints: readonly string[]): Promise<string> {
  const [row] = await gateway.database.query<{ id: string }>(
    `update connector set standard = 'FDX', registration = fdx.registration
       || jsonb_build_object('bank', connector.registration -> 'bank', 'events', jsonb_build_object(
            'issuer', connector.registration -> 'events' ->> 'issuer', 'clientCertificates', $2::jsonb))
     from (select registration from connector where bank_id = 'westbank') fdx where bank_id = $1 returning connector.id`,
    [bankId, JSON.stringify(thumbprints)],
  )
  await gateway.app.services.signals.publishNow({ kind: 'BANK', id: bankId })
  return `${gateway.issuer}/bank-events/${row!.id}/notifications`
}
const alertCount = async (gateway: TestGateway): Promise<number> =>
  (await gateway.database.query<{ n: number }>('select count(*)::int n from alert'))[0]!.n

describe('a bank that sends notifications over mutual TLS', () => {
  let gateway: TestGateway
  let urls: { westbank: string; northbank: string }
  beforeAll(async () => {
    gateway = await startGateway({
      env: { GUICHET_TRUSTED_PROXIES: '127.0.0.1', GUICHET_CLIENT_CERTIFICATE_HEADER: 'client-cert' },
    })
    await gateway.customer('fay', ['westbank'])
    urls = {
      westbank: await pin(gateway, 'westbank', [westbank.thumbprint, expired.thumbprint]),
      northbank: await pin(gateway, 'northbank', [northbank.thumbprint]),
    }
  })
  afterAll(() => gateway.close())
  const stated = (value: string, more: Connection = {}): Connection => ({
    ...more,
    headers: { 'client-cert': value, ...more.headers },
  })

  test('a notification with a pinned certificate and without a signature leads to one alert, even if it is repeated', async () => {
    const before = await alertCount(gateway)
    const body = notification()
    for (let count = 0; count < 3; count++)
      expect(await post(urls.westbank, body, stated(westbank.byteSequence))).toBe(204)
    expect(await alertCount(gateway)).toBe(before + 1)
  })

  test('the command in the page for banks prints the thumbprint that a registration pins', () => {
    const folder = mkdtempSync(join(tmpdir(), 'guichet-certificate-'))
    writeFileSync(join(folder, 'certificate.pem'), westbank.certificate)
    const printed = execFileSync('sh', ['-c', blockOf('sh thumbprint')], { cwd: folder, encoding: 'utf8' })
    rmSync(folder, { recursive: true })
    expect(printed.trim()).toBe(westbank.thumbprint)
  })

  test('a client that is no trusted proxy cannot forge the header', async () => {
    const before = await alertCount(gateway)
    const direct = { localAddress: '127.0.0.2' }
    for (const headers of [{}, { 'x-forwarded-for': '127.0.0.1' }, { 'x-client-cert': westbank.escapedPem }])
      expect(await post(urls.westbank, notification(), stated(westbank.byteSequence, { ...direct, headers }))).toBe(400)
    expect(await alertCount(gateway)).toBe(before)
  })

  test('a notification with no certificate, another one or an expired one is refused, or with one in another header', async () => {
    const before = await alertCount(gateway)
    expect(await post(urls.westbank, notification())).toBe(400)
    expect(await post(urls.westbank, notification(), stated(stranger.byteSequence))).toBe(400)
    expect(await post(urls.westbank, notification(), stated(expired.byteSequence))).toBe(400)
    expect(await post(urls.westbank, notification(), { headers: { 'x-client-cert': westbank.escapedPem } })).toBe(400)
    expect(await alertCount(gateway)).toBe(before)
  })

  test('the certificate of one bank does not open the address of another bank', async () => {
    expect(await post(urls.northbank, notification(), stated(westbank.byteSequence))).toBe(400)
    expect(await post(urls.westbank, notification(), stated(northbank.byteSequence))).toBe(400)
    expect(await post(urls.northbank, notification(), stated(northbank.byteSequence))).toBe(204)
  })

  test('an invalid signature is refused even with a pinned certificate', async () => {
    const headers = { signature: 'bank=:AAAA:', 'signature-input': 'bank=("@method");created=1;keyid="e"' }
    expect(await post(urls.westbank, notification(), stated(westbank.byteSequence, { headers }))).toBe(400)
  })
})

describe.skipIf(!HAS_NGINX)('a bank that sends notifications to the shipped nginx over mutual TLS', () => {
  let gateway: TestGateway
  let nginx: Nginx
  let url: string
  let tlsPort: number
  beforeAll(async () => {
    const [port, own] = [await freePort(), await freePort()]
    tlsPort = await freePort()
    nginx = await startNginx(port, [own, own], '30s', { ...createClientIdentity('localhost'), port: tlsPort })
    gateway = await startGateway({
      env: {
        PORT: String(own),
        ISSUER: `http://localhost:${port}`,
        GUICHET_TRUSTED_PROXIES: '127.0.0.1',
        GUICHET_CLIENT_CERTIFICATE_HEADER: 'x-client-cert',
      },
    })
    url = await pin(gateway, 'westbank', [westbank.thumbprint])
  })
  afterAll(async () => {
    await gateway.close()
    await nginx.stop()
  })
  const overTls = (identity?: typeof westbank): Connection => ({
    hostname: '127.0.0.1',
    port: tlsPort,
    rejectUnauthorized: false,
    ...(identity && { cert: identity.certificate, key: identity.key }),
  })
  const FORGED = { 'x-client-cert': westbank.escapedPem, 'client-cert': westbank.byteSequence }

  test('nginx states the certificate of the connection, and the gateway accepts the notification', async () => {
    expect(await post(url, notification(), overTls(westbank))).toBe(204)
  })

  test('nginx removes a certificate that a client states in a header', async () => {
    for (const connection of [{}, overTls(), overTls(stranger)]) {
      expect(await post(url, notification(), connection)).toBe(400)
      expect(await post(url, notification(), { ...connection, headers: FORGED })).toBe(400)
    }
    expect(await post(url, notification(), { ...overTls(westbank), headers: FORGED })).toBe(204)
  })
})
