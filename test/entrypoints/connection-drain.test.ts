import { connect, type Socket } from 'node:net'
import { listen } from '../support/event-stream.ts'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
beforeEach(async () => {
  gateway = await startGateway({ env: { GUICHET_DRAIN_SECONDS: '2' } })
})
afterEach(() => gateway.close())

interface Line {
  readonly socket: Socket
  /** The status of each response so far, with `close` if it closes the connection. */
  responses(): string[]
  readonly closed: Promise<void>
}

async function open(): Promise<Line> {
  const { hostname, port } = new URL(gateway.issuer)
  const socket = connect(Number(port), hostname)
  let text = ''
  socket.setEncoding('latin1').on('data', (chunk: string) => (text += chunk))
  socket.on('error', () => undefined)
  const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()))
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))
  const responses = (): string[] =>
    text
      .split(/(?=HTTP\/1\.1 \d{3})/)
      .filter((response) => response !== '')
      .map((response) => `${response.slice(9, 12)}${/^connection: close/im.test(response) ? ' close' : ''}`)
  return { socket, responses, closed }
}

const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: ${new URL(gateway.issuer).host}\r\n\r\n`
const BODY = JSON.stringify({ query: '{ banks { nodes { id } } }' })
const head = (): string =>
  `POST /graphql HTTP/1.1\r\nHost: ${new URL(gateway.issuer).host}\r\nContent-Type: application/json\r\nContent-Length: ${BODY.length}\r\n\r\n`

/** Resolves when new connections are refused. */
const refusal = (): Promise<true> =>
  eventually('that connections are refused', async () => {
    const isRefused = await open().then(
      ({ socket }) => void socket.destroy(),
      () => true as const,
    )
    return isRefused
  })

describe('a stop of the gateway', () => {
  test('while draining, /readyz is 503 and other requests are served on new and on open connections', async () => {
    const before = await open()
    before.socket.write(get('/readyz'))
    await eventually('a response', () => Promise.resolve(before.responses().length === 1))
    const stopped = gateway.app.stop()
    before.socket.write(get('/readyz'))
    await eventually('a second response', () => Promise.resolve(before.responses().length === 2))
    const after = await open()
    after.socket.write(get('/livez'))
    before.socket.write(get('/livez'))
    await eventually('both', () => Promise.resolve(before.responses().length + after.responses().length === 4))
    expect(before.responses()).toEqual(['200', '503', '200'])
    expect(after.responses()).toEqual(['200'])
    expect(await stopped).toBe(true)
  })

  test('an idle connection serves one more request after the gateway stops accepting connections, and closes', async () => {
    const line = await open()
    line.socket.write(get('/livez'))
    const unused = await open()
    const stopped = gateway.app.stop()
    await refusal()
    line.socket.write(get('/livez'))
    unused.socket.write(head() + BODY)
    await Promise.all([line.closed, unused.closed])
    expect(line.responses()).toEqual(['200', '200 close'])
    expect(unused.responses()).toEqual(['200 close'])
    expect(await stopped).toBe(true)
  })

  test('a request in progress ends with a response that closes the connection', async () => {
    const line = await open()
    line.socket.write(head() + BODY.slice(0, 10))
    const stopped = gateway.app.stop()
    await refusal()
    line.socket.write(BODY.slice(10))
    await line.closed
    expect(line.responses()).toEqual(['200 close'])
    expect(await stopped).toBe(true)
  })

  test('pipelined requests all get a response, and only the last one closes the connection', async () => {
    const line = await open()
    line.socket.write(head() + BODY.slice(0, 10))
    const stopped = gateway.app.stop()
    await refusal()
    line.socket.write(BODY.slice(10) + get('/livez').repeat(20))
    await line.closed
    expect(line.responses()).toEqual([...Array<string>(20).fill('200'), '200 close'])
    expect(await stopped).toBe(true)
  })

  test('a connection on which no request arrives is closed', async () => {
    const [unused, halfway] = [await open(), await open()]
    halfway.socket.write(get('/livez').slice(0, 10))
    const stopped = gateway.app.stop()
    await Promise.all([unused.closed, halfway.closed])
    expect(await stopped).toBe(true)
  })

  test('a live stream ends when the gateway stops accepting connections', async () => {
    const token = await gateway.customer('ada', ['northbank'])

    const stream = await listen(gateway.issuer, token, 'subscription { alertReceived { type } }')
    const stopped = gateway.app.stop()
    await refusal()
    await eventually('the end of the stream', () => Promise.resolve(stream.ended()))
    expect(await stopped).toBe(true)
  })
})
