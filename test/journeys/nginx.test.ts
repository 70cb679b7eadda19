import { createServer } from 'node:http'
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ERROR_CODES, type ErrorCode } from '../../src/kernel/errors.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { HAS_NGINX, startNginx, type Nginx } from '../support/nginx.ts'
import { freePort } from '../support/ports.ts'

interface Answer {
  readonly status: number
  readonly head: string
  readonly body: string
}

/** What a port answers to bytes that are sent as they stand. */
function send(port: number, text: string): Promise<Answer> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(text, 'latin1'))
    let answer = ''
    socket.setEncoding('latin1').on('data', (chunk: string) => (answer += chunk))
    socket.on('error', () => undefined)
    socket.on('close', () => {
      const [head = '', body = ''] = answer.split('\r\n\r\n', 2)
      resolve({ status: Number(head.split(' ')[1]), head, body })
    })
  })
}
const lines = (...parts: string[]): string => [...parts, 'Connection: close', '', ''].join('\r\n')

function expectRefusal({ status, head, body }: Answer, expected: number, code: ErrorCode): void {
  expect(status).toBe(expected)
  expect(head).toMatch(/^content-type: application\/json$/im)
  expect(head).toMatch(/^server: nginx$/im)
  expect(JSON.parse(body)).toEqual({ error: { code, message: ERROR_CODES[code].message } })
}

describe.skipIf(!HAS_NGINX)('the shipped nginx before a gateway', () => {
  let gateway: TestGateway
  let nginx: Nginx
  let host: string
  beforeAll(async () => {
    const port = await freePort()
    host = `localhost:${port}`
    const own = await freePort()
    nginx = await startNginx(port, [own, own])
    gateway = await startGateway({
      env: { PORT: String(own), ISSUER: `http://${host}`, GUICHET_TRUSTED_PROXIES: '127.0.0.1' },
    })
  })
  afterAll(async () => {
    await gateway.close()
    await nginx.stop()
  })
  const sent = (...parts: string[]): Promise<Answer> => send(nginx.port, lines(...parts))

  test("nginx forwards a request that names the issuer's host", async () => {
    expect((await sent('GET /livez HTTP/1.1', `Host: ${host}`)).status).toBe(200)
    expect(
      (await sent('GET /graphql?query=%7B__typename%7D HTTP/1.1', `Host: ${host}`, 'Accept: application/json')).body,
    ).toContain('{"data":{"__typename":"Query"}')
  })

  test.each(['evil.example', 'localhost.evil.example', '127.0.0.1', '[::1]'])(
    'nginx refuses a request for the host %s before it reaches the gateway',
    async (other) => {
      expectRefusal(await sent('GET /livez HTTP/1.1', `Host: ${other}`), 421, 'MALFORMED_REQUEST')
    },
  )

  test('nginx refuses a request for another port or without a host', async () => {
    expect((await sent('GET / HTTP/1.1', 'Host: localhost:1')).status).toBe(421)
    expect((await sent('GET / HTTP/1.0')).status).toBe(421)
    expectRefusal(await sent('GET / HTTP/1.1'), 400, 'MALFORMED_REQUEST')
    expect((await sent('GET http://evil.example/ HTTP/1.1', `Host: ${host}`)).status).toBe(421)
  })

  test.each([
    '/metrics',
    '/x\\..\\metrics',
    '/%2e\\metrics',
    '/%2e/metrics',
    '//metrics',
    '/%6detrics',
    '/x%2f..%2fmetrics',
    '/refused/malformed',
    '/stream',
    '/proxy-health/..\\metrics',
  ])('nginx serves no metrics and no pages of its own at %s', async (path) => {
    const { status, body } = await sent(`GET ${path} HTTP/1.1`, `Host: ${host}`)
    expect([400, 404]).toContain(status)
    expect(body).not.toContain('guichet_')
  })

  test("nginx responds to a malformed request in the gateway's format and without its version", async () => {
    for (const text of [
      'GARBAGE\r\n\r\n',
      lines(`GET /../../x HTTP/1.1`, `Host: ${host}`),
      lines('GET / HTTP/1.1', 'Host: a b'),
      lines(`GET /${'a'.repeat(9_000)} HTTP/1.1`, `Host: ${host}`),
      lines('GET / HTTP/1.1', `Host: ${host}`, `X: ${'a'.repeat(9_000)}`),
    ]) {
      const answer = await send(nginx.port, text)
      expect(answer.status).toBeGreaterThanOrEqual(400)
      expectRefusal(answer, answer.status, 'MALFORMED_REQUEST')
    }
    for (const accept of ['*/*', 'text/event-stream']) {
      const large = await sent('POST /graphql HTTP/1.1', `Host: ${host}`, `Accept: ${accept}`, 'Content-Length: 70000')
      expectRefusal(large, 413, 'PAYLOAD_TOO_LARGE')
    }
  })
})

describe.skipIf(!HAS_NGINX)('the shipped nginx before a gateway that takes its time', () => {
  test('nginx waits only for a live subscription', async () => {
    const arrived: string[] = []
    const open: (() => void)[] = []
    const slow = createServer((request, response) => {
      arrived.push(`${request.method} ${request.url}`)
      if (request.headers.accept !== 'text/event-stream') return
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write(':\n\n')
      open.push(() => response.end('event: complete\n\n'))
    })
    const upstream = await freePort()
    await new Promise<void>((resolve) => slow.listen(upstream, '127.0.0.1', resolve))
    const nginx = await startNginx(await freePort(), [upstream, upstream], '1s')
    try {
      const get = (path: string, accept: string) =>
        send(nginx.port, lines(`GET ${path} HTTP/1.1`, `Host: localhost:${nginx.port}`, `Accept: ${accept}`))
      const stream = get('/graphql?query=x', 'text/event-stream')
      // Each of them is given up after the timeout, none costs the next one its gateway, and the stream, which began before, stays.
      for (const path of ['/graphql?query=x', '/oauth/token', '/graphql?query=y'])
        expectRefusal(await get(path, '*/*'), 504, 'OVERLOADED')
      open.forEach((end) => end())
      const { status, body } = await stream
      expect([status, body.includes('event: complete')]).toEqual([200, true])
      expect(arrived[0]).toBe('GET /graphql?query=x')
    } finally {
      await nginx.stop()
      slow.closeAllConnections()
      slow.close()
    }
  })

  test("nginx appends the sender's address to X-Forwarded-For and removes Forwarded", async () => {
    const heard: unknown[] = []
    const upstream = await freePort()
    const listener = createServer(({ headers }, response) => {
      heard.push(headers['x-forwarded-for'], headers.forwarded, headers.host)
      response.end()
    })
    await new Promise<void>((resolve) => listener.listen(upstream, '127.0.0.1', resolve))
    const nginx = await startNginx(await freePort(), [upstream, upstream])
    const host = `localhost:${nginx.port}`
    await send(
      nginx.port,
      lines('GET / HTTP/1.1', `Host: ${host}`, 'X-Forwarded-For: 10.0.0.9', 'Forwarded: for=10.0.0.9'),
    )
    expect(heard).toEqual(['10.0.0.9, 127.0.0.1', undefined, host])
    await nginx.stop()
    listener.closeAllConnections()
    listener.close()
  })

  test('nginx removes both headers that can state the certificate of a client', async () => {
    const heard: unknown[] = []
    const upstream = await freePort()
    const listener = createServer(({ headers }, response) => {
      heard.push(headers['client-cert'], headers['x-client-cert'], headers['x-other'])
      response.end()
    })
    await new Promise<void>((resolve) => listener.listen(upstream, '127.0.0.1', resolve))
    const nginx = await startNginx(await freePort(), [upstream, upstream])
    const stated = ['Client-Cert: :AAAA:', 'X-Client-Cert: AAAA', 'X-Other: AAAA']
    await send(nginx.port, lines('GET / HTTP/1.1', `Host: localhost:${nginx.port}`, ...stated))
    expect(heard).toEqual([undefined, undefined, 'AAAA'])
    await nginx.stop()
    listener.closeAllConnections()
    listener.close()
  })

  test('nginx responds with 503 and Retry-After if no gateway is reachable', async () => {
    const nobody = await freePort()
    const nginx = await startNginx(await freePort(), [nobody, nobody])
    const ask = (accept: string) =>
      send(nginx.port, lines('GET /graphql HTTP/1.1', `Host: localhost:${nginx.port}`, `Accept: ${accept}`))
    for (const accept of ['*/*', 'text/event-stream']) {
      const answer = await ask(accept)
      expectRefusal(answer, 503, 'OVERLOADED')
      expect(answer.head).toMatch(/^retry-after: 2$/im)
    }
    await nginx.stop()
  })
})
