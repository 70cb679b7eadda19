import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createSelfSignedCertificate } from '../../src/kernel/certificate.ts'
import { createOutboundHttp } from '../../src/kernel/outbound-http.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { patientTimers } from '../support/patient-time.ts'

const year = { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 365 * 86_400_000) }
function identity(name: string) {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const certificate = createSelfSignedCertificate(privateKey, {
    commonName: name,
    serial: Buffer.from('0102030405', 'hex'),
    ...year,
  })
  return { certificate, key: String(privateKey.export({ type: 'pkcs8', format: 'pem' })) }
}

/** A bank's front that wants a certificate of whoever comes, and tells by which it knew them. */
const seen: { path: string; fingerprint: string | undefined }[] = []
const front = identity('localhost')
let server: Server
let origin = ''
let gateway: TestGateway
beforeAll(async () => {
  server = createServer(
    { cert: front.certificate, key: front.key, requestCert: true, rejectUnauthorized: false },
    (request, response) => {
      const socket: unknown = request.socket
      const { fingerprint256 } = (socket as TLSSocket).getPeerCertificate() as { fingerprint256?: string }
      seen.push({ path: request.url ?? '', fingerprint: fingerprint256 })
      response.writeHead(fingerprint256 ? 200 : 401, { 'content-type': 'application/json' }).end('{}')
    },
  )
  await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve))
  origin = `https://localhost:${(server.address() as AddressInfo).port}`
  gateway = await startGateway({ authorities: front.certificate })
})
afterAll(async () => {
  await gateway.close()
  server.closeAllConnections()
  server.close()
})

describe('a certificate that a key signs for itself', () => {
  test('a self-signed certificate is parsed by others and verified by its own key only, with its name and validity', () => {
    const read = new X509Certificate(identity('guichet cnct_1').certificate)
    expect(read.subject).toBe('CN=guichet cnct_1')
    expect(read.issuer).toBe(read.subject)
    expect(read.verify(read.publicKey)).toBe(true)
    expect(read.verify(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey)).toBe(false)
    expect(Math.abs(new Date(read.validTo).getTime() - year.notAfter.getTime())).toBeLessThan(1_000)
    expect(Math.abs(new Date(read.validFrom).getTime() - year.notBefore.getTime())).toBeLessThan(1_000)
    expect(read.ca).toBe(false)
  })

  test('a self-signed certificate is created for P-256 keys only', () => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    expect(() => createSelfSignedCertificate(privateKey, { commonName: 'a', serial: Buffer.of(1), ...year })).toThrow(
      TypeError,
    )
  })
})

describe('mutual TLS with a bank', () => {
  const look = { method: 'GET' as const, url: '', timeoutMs: 30_000, maxBytes: 1_000 }

  test('mutual TLS presents a certificate only on the connections of its bank', async () => {
    const own = identity('guichet')
    const rules = { allowLoopback: true, allowPlainHttp: true }
    const http = createOutboundHttp(rules, undefined, { timers: patientTimers, caCertificates: front.certificate })
    const pool = http.pool({ clientIdentity: own })
    expect((await pool.send({ ...look, url: `${origin}/with` })).status).toBe(200)
    expect(seen.at(-1)!.fingerprint).toBe(new X509Certificate(own.certificate).fingerprint256)
    expect((await http.send({ ...look, url: `${origin}/without` })).status).toBe(401)
    expect((await http.pool({}).send({ ...look, url: `${origin}/without` })).status).toBe(401)
    await http.close()
    await expect(pool.send({ ...look, url: `${origin}/with` })).rejects.toMatchObject({ code: 'OUTBOUND_UNREACHABLE' })
  })

  test('mutual TLS refuses a server with an untrusted certificate', async () => {
    const http = createOutboundHttp({ allowLoopback: true, allowPlainHttp: true }, undefined, { timers: patientTimers })
    await expect(http.send({ ...look, url: origin })).rejects.toMatchObject({ code: 'OUTBOUND_UNREACHABLE' })
    await http.close()
  })

  test('a connector with mutual TLS presents its own certificate from the first check, and its key is sealed', async () => {
    const { standard, registration } = (await (
      await fetch(`${gateway.sandbox.banks.lakebank}/sandbox/registration`)
    ).json()) as { standard: string; registration: object }
    const token = await gateway.own('lakebank-partner', 'connectors:manage connectors:read')
    const query =
      'mutation ($input: RegisterConnectorInput!) { registerConnector(input: $input) { connector { id clientCertificate } userErrors { code path } } }'
    const register = async (more: object) =>
      (
        (await gateway.ask(token, query, { input: { standard, registration: { ...registration, ...more } } })).data![
          'registerConnector'
        ] as { connector: { id: string; clientCertificate: string | null } }
      ).connector
    expect((await register({})).clientCertificate).toBeNull()
    const { id, clientCertificate } = await register({ authorizationServer: origin, mutualTls: true })
    const pinned = new X509Certificate(clientCertificate!)
    expect(pinned.subject).toBe(`CN=guichet ${id}`)
    expect(pinned.verify(pinned.publicKey)).toBe(true)

    seen.length = 0
    await gateway.ask(
      token,
      'mutation ($input: StartCertificationInput!) { startCertification(input: $input) { userErrors { code } } }',
      { input: { connectorId: id } },
    )
    await eventually('the bank to be looked at', () => Promise.resolve(seen.length > 0))
    expect(new Set(seen.map(({ fingerprint }) => fingerprint))).toEqual(new Set([pinned.fingerprint256]))

    const rows = await gateway.database.query<{ all: string }>('select connector::text as all from connector')
    expect(rows.map((row) => row.all).join()).not.toContain('PRIVATE KEY')
    expect(gateway.log.join()).not.toContain('PRIVATE KEY')
  })
})
