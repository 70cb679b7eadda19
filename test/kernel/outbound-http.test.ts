import type { lookup } from 'node:dns'
import { createServer } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseAllowedUrl } from '../../src/kernel/addresses.ts'
import { createOutboundHttp } from '../../src/kernel/outbound-http.ts'
import { ADDRESS_ATTACKS } from '../support/address-attacks.ts'
import { patientTimers } from '../support/patient-time.ts'

const closed = { allowLoopback: false, allowPlainHttp: false }

/** Addresses of the inside, each in every way of writing it that some parser takes. */
const INSIDE = [
  '127.0.0.1',
  '10.0.0.1',
  '172.16.0.1',
  '192.168.1.1',
  '169.254.169.254',
  '100.64.0.1',
  '0.0.0.0',
  '224.0.0.1',
]
const SPELLINGS: readonly ((bytes: readonly number[]) => string)[] = [
  (bytes) => bytes.join('.'),
  (bytes) => `${bytes.join('.')}.`,
  (bytes) => String(bytes.reduce((sum, byte) => sum * 256 + byte, 0)),
  (bytes) => `0x${hexOf(bytes)}`,
  (bytes) => bytes.map((byte) => `0${byte.toString(8)}`).join('.'),
  (bytes) => bytes.map((byte) => `0x${byte.toString(16)}`).join('.'),
  ([a, b, c = 0, d = 0]) => `${a}.${b}.${c * 256 + d}`,
  (bytes) => `[::ffff:${bytes.join('.')}]`,
  (bytes) => `[::${bytes.join('.')}]`,
  (bytes) => `[64:ff9b::${bytes.join('.')}]`,
  (bytes) => `[2002:${hexOf(bytes).slice(0, 4)}:${hexOf(bytes).slice(4)}::1]`,
]
const hexOf = (bytes: readonly number[]): string => bytes.map((byte) => byte.toString(16).padStart(2, '0')).join('')
const SPELLED = INSIDE.flatMap((address) =>
  SPELLINGS.map((spell) => `https://${spell(address.split('.').map(Number))}/`),
)

describe('an address from an untrusted source', () => {
  test('the tests below try at least 150 forms of addresses', () => {
    expect(new Set([...ADDRESS_ATTACKS, ...SPELLED]).size).toBeGreaterThanOrEqual(150)
  })
  test.each([...new Set([...ADDRESS_ATTACKS, ...SPELLED])])('%s is refused', (url) => {
    expect(parseAllowedUrl(url, closed)).toBeUndefined()
  })
  test.each([
    'https://bank.example/',
    'https://api.bank.example:8443/psd2',
    'https://93.184.216.34/',
    'https://[2606:4700::1111]/x',
    'https://xn--bcher-kva.example/',
  ])('%s is accepted', (url) => {
    expect(parseAllowedUrl(url, closed)?.href).toBeDefined()
  })

  test.each([
    ['to the inside', ['127.0.0.1']],
    ['to both sides', ['93.184.216.34', '10.0.0.1']],
    ['to nowhere', []],
  ])(
    'an address that resolves %s is never connected to, and has the error of an unreachable bank',
    async (_where, addresses) => {
      const knocked: string[] = []
      const inside = createServer((request, response) => {
        knocked.push(request.url ?? '')
        response.end()
      })
      const port = await new Promise<number>((resolve) => {
        inside.listen(0, '127.0.0.1', () => resolve((inside.address() as { port: number }).port))
      })
      const resolve = ((_host: string, _options: object, callback: (error: null, found: object[]) => void) =>
        callback(
          null,
          addresses.map((address) => ({ address, family: 4 })),
        )) as unknown as typeof lookup
      const http = createOutboundHttp({ allowLoopback: false, allowPlainHttp: true }, resolve)
      const request = { method: 'GET', timeoutMs: 2_000, maxBytes: 100 } as const
      await expect(http.send({ ...request, url: `http://bank.example:${port}/` })).rejects.toMatchObject({
        code: 'OUTBOUND_UNREACHABLE',
      })
      await expect(http.send({ ...request, url: `http://127.0.0.1:${port}/` })).rejects.toMatchObject({
        code: 'ADDRESS_NOT_ALLOWED',
      })
      expect(knocked).toEqual([])
      await http.close()
      inside.close()
    },
  )
})

describe('outbound requests', () => {
  const http = createOutboundHttp({ allowLoopback: true, allowPlainHttp: true }, undefined, { timers: patientTimers })
  let origin = ''
  const server = createServer((request, response) => {
    if (request.url === '/hang') return
    if (request.url === '/trickle') {
      response.writeHead(200)
      const timer = setInterval(() => response.write('x'), 30)
      response.on('close', () => clearInterval(timer))
      return
    }
    if (request.url === '/redirect') return void response.writeHead(302, { location: `${origin}/secret` }).end()
    if (request.url === '/secret') return void response.end('SECRET')
    if (request.url === '/reset') return void request.socket.destroy()
    response.end('y'.repeat(5_000))
  })
  beforeAll(
    () =>
      new Promise<void>((resolve) => {
        server.listen(0, '127.0.0.1', () => {
          origin = `http://127.0.0.1:${(server.address() as { port: number }).port}`
          resolve()
        })
      }),
  )
  afterAll(async () => {
    await http.close()
    server.closeAllConnections()
    server.close()
  })
  const get = (path: string, timeoutMs = 300, maxBytes = 10_000) =>
    http.send({ method: 'GET', url: `${origin}${path}`, timeoutMs, maxBytes })

  test('the first byte has its own deadline, and a connection that misses it is not reused', async () => {
    const began = patientTimers.monotonicMs()
    const request = { method: 'GET', timeoutMs: 5_000, firstByteTimeoutMs: 100, maxBytes: 10_000 } as const
    await expect(http.send({ ...request, url: `${origin}/hang` })).rejects.toMatchObject({ code: 'OUTBOUND_TIMEOUT' })
    expect(patientTimers.monotonicMs() - began).toBeLessThan(2_000)
    // What has begun in time may go on until the other.
    const slow = http.send({ ...request, url: `${origin}/trickle`, timeoutMs: 400 })
    await expect(slow).rejects.toMatchObject({ code: 'OUTBOUND_TIMEOUT' })
    expect(patientTimers.monotonicMs() - began).toBeGreaterThan(450)
    expect((await http.send({ ...request, url: `${origin}/` })).text).toHaveLength(5_000)
  })

  test('a request that waits for a connection until its deadline is never sent', async () => {
    const asked: string[] = []
    const one = createServer((request, response) => {
      asked.push(request.url ?? '')
      setTimeout(() => response.end('late'), 200)
    })
    await new Promise<void>((resolve) => one.listen(0, '127.0.0.1', resolve))
    const narrow = createOutboundHttp({ allowLoopback: true, allowPlainHttp: true }, undefined, { connections: 1 })
    const to = `http://127.0.0.1:${(one.address() as { port: number }).port}`
    const first = narrow.send({ method: 'GET', url: `${to}/first`, timeoutMs: 30_000, maxBytes: 100 })
    const second = narrow.send({ method: 'POST', url: `${to}/second`, timeoutMs: 50, maxBytes: 100 })
    await expect(second).rejects.toMatchObject({ code: 'OUTBOUND_TIMEOUT' })
    expect((await first).text).toBe('late')
    expect((await narrow.send({ method: 'GET', url: `${to}/third`, timeoutMs: 30_000, maxBytes: 100 })).text).toBe(
      'late',
    )
    expect(asked).toEqual(['/first', '/third'])
    await narrow.close()
    one.close()
  })

  test.each(['/hang', '/trickle'])('the connection is closed at the deadline: %s', async (path) => {
    const began = patientTimers.monotonicMs()
    await expect(get(path)).rejects.toMatchObject({ code: 'OUTBOUND_TIMEOUT' })
    expect(patientTimers.monotonicMs() - began).toBeLessThan(2_000)
  })
  test('a response is read only up to its limit in bytes', async () => {
    await expect(get('/', 1_000, 4_999)).rejects.toMatchObject({ code: 'OUTBOUND_RESPONSE_TOO_LARGE' })
    expect((await get('/', 1_000, 5_000)).text).toHaveLength(5_000)
  })
  test('a redirect is not followed', async () => {
    const answer = await get('/redirect')
    expect(answer.status).toBe(302)
    expect(answer.text).not.toContain('SECRET')
  })
  test('a connection that breaks is OUTBOUND_UNREACHABLE', async () => {
    await expect(get('/reset')).rejects.toMatchObject({ code: 'OUTBOUND_UNREACHABLE' })
  })
})
