import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readConfig } from '../../src/config.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

/** What the gateway of this file is told, and what a proxy in front of it would keep a connection for. */
const KEEP_ALIVE_S = 13
const PROXY_S = 11

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway({ env: { GUICHET_KEEP_ALIVE_SECONDS: String(KEEP_ALIVE_S) } })
})
afterAll(() => gateway.close())

interface Line {
  readonly socket: Socket
  /** All that was received so far. */
  text(): string
  /** Resolves when what was received matches. */
  matches(pattern: RegExp): Promise<void>
  readonly closed: Promise<string>
}
async function open(): Promise<Line> {
  const { hostname, port } = new URL(gateway.issuer)
  const socket = connect(Number(port), hostname)
  let text = ''
  let check: () => void = () => undefined
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    text += chunk
    check()
  })
  socket.on('error', () => undefined)
  const closed = new Promise<string>((resolve) => socket.on('close', () => resolve(text)))
  await new Promise((resolve) => socket.once('connect', resolve))
  return {
    socket,
    text: () => text,
    matches: (pattern) =>
      new Promise((resolve) => {
        check = () => pattern.test(text) && resolve()
        check()
      }),
    closed,
  }
}

const host = () => new URL(gateway.issuer).host
const livez = (extra = '') => `GET /livez HTTP/1.1\r\nHost: ${host()}\r\n${extra}\r\n`
const posted = (path: string, length: number, extra = 'Content-Type: application/json\r\n') =>
  `POST ${path} HTTP/1.1\r\nHost: ${host()}\r\n${extra}Content-Length: ${length}\r\n\r\n`
const answersIn = (text: string): string[] => text.match(/HTTP\/1\.1 \d{3}/g) ?? []

describe('a request whose body is too large', () => {
  test('a request whose body is too large gets 413, and its connection serves no further request', async () => {
    const line = await open()
    line.socket.write(posted('/graphql', 70_000) + 'x'.repeat(70_000) + livez())
    const text = await line.closed
    expect(answersIn(text)).toEqual(['HTTP/1.1 413'])
    expect(text.toLowerCase()).toContain('connection: close')
  })

  test('an endless request body gets 413 immediately, and the connection is closed', async () => {
    const line = await open()
    line.socket.write(
      `POST /graphql HTTP/1.1\r\nHost: ${host()}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`,
    )
    const chunk = `4000\r\n${'x'.repeat(0x4000)}\r\n`
    let sent = 0
    const write = (): void => {
      if (!line.socket.destroyed && ++sent < 2_000) line.socket.write(chunk, () => setImmediate(write))
    }
    write()
    expect(answersIn(await line.closed)).toEqual(['HTTP/1.1 413'])
    expect(sent).toBeLessThan(2_000)
  })

  test.each([
    ['of which nobody reads the body', '/nope', 404],
    ['that is refused for its type', '/graphql', 415],
    ['at an address of the authorization server', '/oauth/token', 4],
  ])(
    'a request whose body is too large closes its connection with any other response as well: %s',
    async (_what, path, status) => {
      const line = await open()
      line.socket.write(posted(path, 3_000_000, 'Content-Type: text/plain\r\n') + 'x'.repeat(200_000) + livez())
      const text = await line.closed
      const [first, ...more] = answersIn(text)
      expect(first).toContain(`HTTP/1.1 ${status}`)
      expect(more).toEqual([])
      if (path !== '/oauth/token') expect(text.toLowerCase()).toContain('connection: close')
    },
  )

  test('a connection stays open if the body of a refused request is short enough to be skipped', async () => {
    const line = await open()
    line.socket.write(posted('/nope', 1_000) + 'x'.repeat(1_000) + livez('Connection: close\r\n'))
    expect(answersIn(await line.closed)).toEqual(['HTTP/1.1 404', 'HTTP/1.1 200'])
  })
})

describe('thousands of pipelined requests on one connection', () => {
  const REQUESTS = 2_000

  test('thousands of pipelined requests do not delay another connection, and are answered in order', async () => {
    const [attack, neighbour] = [await open(), await open()]
    neighbour.socket.write(livez())
    await neighbour.matches(/HTTP\/1\.1 200/)
    attack.socket.write(
      Array.from({ length: REQUESTS }, (_, i) => livez(i === REQUESTS - 1 ? 'Connection: close\r\n' : '')).join(''),
    )
    await attack.matches(/HTTP\/1\.1 200/)
    neighbour.socket.write(livez('Connection: close\r\n'))
    await neighbour.closed
    // Counted in answers to the attack, not in time.
    const before = answersIn(attack.text()).length
    expect(before).toBeLessThan(REQUESTS / 4)
    expect(answersIn(await attack.closed)).toHaveLength(REQUESTS)
  })

  test('thousands of pipelined requests with bodies delay no other connection, and none is lost', async () => {
    const body = '{"query":"{ banks { nodes { id } } }"}'
    const attack = await open()
    const request = posted('/graphql', body.length) + body
    attack.socket.write(request.repeat(200))
    attack.socket.write(livez('Connection: close\r\n'))
    const answers = answersIn(await attack.closed)
    expect(answers).toHaveLength(201)
    expect(new Set(answers)).toEqual(new Set(['HTTP/1.1 200']))
  })

  test('pipelined requests are no longer served once their connection has closed', async () => {
    const attack = await open()
    const lines = () => gateway.log.filter((line) => line.includes('"request"')).length
    attack.socket.write(livez().repeat(REQUESTS))
    await attack.matches(/HTTP\/1\.1 200/)
    attack.socket.destroy()
    await attack.closed
    const neighbour = await open()
    neighbour.socket.write(livez('Connection: close\r\n'))
    await neighbour.closed
    const after = lines()
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve))
    expect(lines() - after).toBeLessThan(10)
  })
})

describe('an idle connection', () => {
  const afterIdle = async (seconds: number): Promise<string[]> => {
    const line = await open()
    line.socket.write(livez())
    await line.matches(/HTTP\/1\.1 200/)
    await new Promise((resolve) => setTimeout(resolve, seconds * 1_000))
    if (!line.socket.destroyed) line.socket.write(livez('Connection: close\r\n'))
    return answersIn(await line.closed)
  }

  test('an idle connection stays open longer than a proxy keeps it, but not indefinitely', async () => {
    const [young, old] = await Promise.all([afterIdle(PROXY_S), afterIdle(KEEP_ALIVE_S + 4)])
    expect(young).toHaveLength(2)
    expect(old).toHaveLength(1)
  })

  test('a response states how long an idle connection stays open', async () => {
    const line = await open()
    line.socket.write(livez())
    await line.matches(/\r\n\r\n/)
    expect(line.text().toLowerCase()).toContain(`keep-alive: timeout=${KEEP_ALIVE_S}`)
    line.socket.destroy()
  })

  test('the default idle timeout is longer than that of the shipped nginx', () => {
    const conf = readFileSync(join(import.meta.dirname, '../../docker/nginx.conf'), 'utf8')
    const upstream = /upstream gateways \{([^}]*)\}/.exec(conf)![1]!
    const [, seconds] = /keepalive_timeout (\d+)s;/.exec(upstream) ?? []
    expect(Number(seconds)).toBeGreaterThan(0)
    const { keepAliveMs } = readConfig({ GUICHET_DATA_DIR: gateway.dataDir })
    expect(keepAliveMs).toBeGreaterThan(Number(seconds) * 1_000)
  })
})
