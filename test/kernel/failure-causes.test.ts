import { generateKeyPairSync } from 'node:crypto'
import type { lookup } from 'node:dns'
import { createServer as createHttpServer } from 'node:http'
import { createServer as createTcpServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TlsOptions } from 'node:tls'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { createSelfSignedCertificate } from '../../src/kernel/certificate.ts'
import { DAY_MS, addMs } from '../../src/kernel/clock.ts'
import { findFailureCause, toPublicFailureCause } from '../../src/kernel/failure-causes.ts'
import { createOutboundHttp, type OutboundHttp } from '../../src/kernel/outbound-http.ts'
import { patientTimers } from '../support/patient-time.ts'

const now = new Date()
const servers: Server[] = []
const clients: OutboundHttp[] = []
const sockets = new Set<Socket>()

/** A certificate of its own authority, valid from `fromDays` to `toDays` from now. */
function certificate(name: string, fromDays = -1, toDays = 1): { cert: string; key: string } {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const [from, to] = [addMs(now, fromDays * DAY_MS), addMs(now, toDays * DAY_MS)]
  const cert = createSelfSignedCertificate(privateKey, {
    commonName: name,
    serial: Buffer.from('0123456789', 'hex'),
    notBefore: from,
    notAfter: to,
  })
  return { cert, key: String(privateKey.export({ type: 'pkcs8', format: 'pem' })) }
}

async function listening(server: Server): Promise<number> {
  servers.push(server)
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}
const tls = (options: TlsOptions): Promise<number> =>
  listening(
    createTlsServer(options, (socket) => {
      socket.on('error', () => undefined)
      socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
    }).on('tlsClientError', () => undefined),
  )
const tcp = (onSocket: (socket: Socket) => void): Promise<number> => listening(createTcpServer(onSocket))

/** Every name is this machine. */
const here = ((_host: string, _options: object, callback: (error: Error | null, found: object[]) => void) =>
  callback(null, [{ address: '127.0.0.1', family: 4 }])) as unknown as typeof lookup
const failing = (code: string) =>
  ((_host: string, _options: object, callback: (error: Error, found: object[]) => void) =>
    callback(Object.assign(new Error(`${code} secret.example`), { code }), [])) as unknown as typeof lookup

function client(authorities?: string, resolve = here, allowLoopback = true): OutboundHttp {
  const http = createOutboundHttp({ allowLoopback, allowPlainHttp: true }, resolve, {
    timers: patientTimers,
    ...(authorities && { caCertificates: authorities }),
  })
  clients.push(http)
  return http
}
const get = (http: OutboundHttp, port: number, scheme = 'https', timeoutMs = 4_000) =>
  http.send({ method: 'GET', url: `${scheme}://bank.example:${port}/`, timeoutMs, maxBytes: 1_000 })

afterEach(async () => {
  await Promise.all(clients.splice(0).map((http) => http.close()))
  for (const socket of sockets) socket.destroy()
})
afterAll(() => {
  for (const server of servers) server.close()
})

describe('why an address cannot be reached', () => {
  test('a valid certificate causes no failure, so the failures below are due to the certificate', async () => {
    const good = certificate('bank.example')
    expect((await get(client(good.cert), await tls(good))).text).toBe('ok')
  })

  test.each<[cause: string, certificate: () => { cert: string; key: string }, trusted: boolean]>([
    ['CERTIFICATE_EXPIRED', () => certificate('bank.example', -9, -1), true],
    ['CERTIFICATE_NOT_YET_VALID', () => certificate('bank.example', 1, 9), true],
    ['CERTIFICATE_WRONG_HOST', () => certificate('other.example'), true],
    ['CERTIFICATE_UNKNOWN_AUTHORITY', () => certificate('bank.example'), false],
  ])('%s is the cause for such a certificate', async (failureCause, make, trusted) => {
    const given = make()
    await expect(get(client(trusted ? given.cert : certificate('else').cert), await tls(given))).rejects.toMatchObject({
      code: 'OUTBOUND_UNREACHABLE',
      failureCause,
    })
  })

  test('the end of a certificate is read by a handshake that trusts what a request trusts', async () => {
    const good = certificate('bank.example', -1, 5)
    const port = await tls(good)
    const url = `https://bank.example:${port}/`
    const expiresAt = await client(good.cert).certificateExpiry(url)
    expect(Math.abs(expiresAt!.getTime() - addMs(now, 5 * DAY_MS).getTime())).toBeLessThan(1_000)
    expect(await client(good.cert).certificateExpiry('http://bank.example/')).toBeNull()
    await expect(client(certificate('else').cert).certificateExpiry(url)).rejects.toMatchObject({
      code: 'OUTBOUND_UNREACHABLE',
      failureCause: 'CERTIFICATE_UNKNOWN_AUTHORITY',
    })
    await expect(client(good.cert, here, false).certificateExpiry(url)).rejects.toMatchObject({
      failureCause: 'ADDRESS_NOT_ALLOWED',
    })
  })

  test('CLIENT_CERTIFICATE_REFUSED is the cause if the server requires a certificate after the handshake (TLS 1.3)', async () => {
    const good = certificate('bank.example')
    const wanting = createTlsServer({ ...good, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3' })
    const port = await listening(wanting.on('tlsClientError', () => undefined))
    await expect(get(client(good.cert), port)).rejects.toMatchObject({
      code: 'OUTBOUND_UNREACHABLE',
      failureCause: 'CLIENT_CERTIFICATE_REFUSED',
    })
  })

  // Fatal alerts about a client's certificate (RFC 8446, 6): bad, unsupported, revoked, expired, unknown, of an unknown
  // authority, access denied, required.
  test.each([42, 43, 44, 45, 46, 48, 49, 116])(
    'CLIENT_CERTIFICATE_REFUSED is the cause if the server ends the handshake with alert %i',
    async (alert) => {
      const { cert, key } = certificate('guichet')
      const port = await tcp(
        (socket) => void socket.once('data', () => socket.end(Buffer.of(0x15, 0x03, 0x03, 0x00, 0x02, 0x02, alert))),
      )
      const shown = client().pool({ clientIdentity: { certificate: cert, key } })
      await expect(get(shown, port)).rejects.toMatchObject({
        code: 'OUTBOUND_UNREACHABLE',
        failureCause: 'CLIENT_CERTIFICATE_REFUSED',
      })
    },
  )

  test.each<[cause: string, what: string, port: () => Promise<number>, scheme: string]>([
    ['TLS_FAILED', 'plain HTTP where TLS is due', () => tcp((socket) => socket.end('HTTP/1.1 400 x\r\n\r\n')), 'https'],
    ['PROTOCOL_ERROR', 'what is not HTTP', () => tcp((socket) => void socket.end('SSH-2.0-OpenSSH\r\n')), 'http'],
    [
      'CONNECTION_RESET',
      'a connection that breaks',
      () => tcp((socket) => void socket.once('data', () => socket.resetAndDestroy())),
      'http',
    ],
    [
      'CONNECTION_RESET',
      'a handshake that breaks',
      () => tcp((socket) => void socket.once('data', () => socket.resetAndDestroy())),
      'https',
    ],
    ['CONNECT_TIMEOUT', 'a handshake that does not go on', () => tcp(() => undefined), 'https'],
  ])('%s is the cause for %s (%#)', async (failureCause, _what, start, scheme) => {
    await expect(get(client(), await start(), scheme)).rejects.toMatchObject({
      code: 'OUTBOUND_UNREACHABLE',
      failureCause,
    })
  })

  test('CONNECTION_REFUSED is the cause for a closed port, also if several addresses are tried', async () => {
    const server = createHttpServer()
    const port = await listening(server)
    await new Promise((resolve) => server.close(resolve))
    await expect(get(client(), port, 'http')).rejects.toMatchObject({ failureCause: 'CONNECTION_REFUSED' })
    const both = ((_host: string, _options: object, callback: (error: null, found: object[]) => void) =>
      callback(null, [
        { address: '127.0.0.1', family: 4 },
        { address: '127.0.0.2', family: 4 },
      ])) as unknown as typeof lookup
    await expect(get(client(undefined, both), port, 'http')).rejects.toMatchObject({
      failureCause: 'CONNECTION_REFUSED',
    })
  })

  test('RESPONSE_TIMEOUT is the cause if a connected server does not respond', async () => {
    const port = await listening(createHttpServer(() => undefined))
    await expect(get(client(), port, 'http', 1_000)).rejects.toMatchObject({
      code: 'OUTBOUND_TIMEOUT',
      failureCause: 'RESPONSE_TIMEOUT',
    })
  })

  test('CONNECT_TIMEOUT is the cause if the deadline passes before there is a connection', async () => {
    const silent = (() => undefined) as unknown as typeof lookup
    await expect(get(client(undefined, silent), 443, 'https', 100)).rejects.toMatchObject({
      code: 'OUTBOUND_TIMEOUT',
      failureCause: 'CONNECT_TIMEOUT',
    })
  })

  test.each([
    ['DNS_NOT_FOUND', 'ENOTFOUND'],
    ['DNS_TIMEOUT', 'EAI_AGAIN'],
    ['HOST_UNREACHABLE', 'EHOSTUNREACH'],
    ['CONNECTION_FAILED', 'ENONSENSE'],
  ])('%s is the cause for %s', async (failureCause, code) => {
    await expect(get(client(undefined, failing(code)), 443)).rejects.toMatchObject({
      code: 'OUTBOUND_UNREACHABLE',
      failureCause,
    })
  })

  test('a name with an internal address is logged as ADDRESS_NOT_ALLOWED and reported as an unknown name', async () => {
    await expect(get(client(undefined, here, false), 443)).rejects.toMatchObject({
      code: 'OUTBOUND_UNREACHABLE',
      failureCause: 'ADDRESS_NOT_ALLOWED',
    })
    expect(toPublicFailureCause('ADDRESS_NOT_ALLOWED')).toBe('DNS_NOT_FOUND')
    expect(toPublicFailureCause('CERTIFICATE_EXPIRED')).toBe('CERTIFICATE_EXPIRED')
  })

  test('a response that is too large has the cause RESPONSE_TOO_LARGE', async () => {
    const port = await listening(createHttpServer((_request, response) => response.end('x'.repeat(2_000))))
    await expect(get(client(), port, 'http')).rejects.toMatchObject({
      code: 'OUTBOUND_RESPONSE_TOO_LARGE',
      failureCause: 'RESPONSE_TOO_LARGE',
    })
  })

  test('every thrown value has a cause, also an error with a circular chain of causes', () => {
    const circle = new Error('x')
    circle.cause = circle
    for (const thrown of [undefined, null, 'text', {}, circle, new AggregateError([])])
      expect(findFailureCause(thrown)).toBe('CONNECTION_FAILED')
    expect(findFailureCause(new Error('x', { cause: Object.assign(new Error(), { code: 'ECONNREFUSED' }) }))).toBe(
      'CONNECTION_REFUSED',
    )
  })
})
