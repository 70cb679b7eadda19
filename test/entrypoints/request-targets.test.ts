import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

/** The status and code of a GET whose target is sent exactly as it stands. */
function get(target: string): Promise<[status: number, code: string | undefined]> {
  const { hostname, port, host } = new URL(gateway.issuer)
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname, () =>
      socket.write(`GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`),
    )
    let text = ''
    socket.setEncoding('latin1').on('data', (chunk: string) => (text += chunk))
    socket.on('error', () => undefined)
    socket.on('close', () => resolve([Number(text.split(' ')[1]), /"code":"(\w+)"/.exec(text)?.[1]]))
  })
}

/** Spellings that a proxy in front reads as another path than a URL parser does. */
const DISGUISED = [
  '/x\\..\\livez',
  '/\\livez',
  '\\livez',
  '/%2e/livez',
  '/x/%2e%2e/livez',
  '/x/%2E./livez',
  '/x/../livez',
  '/./livez',
  '//livez',
  '///livez',
  '/x//../livez',
  '/livez#',
  '/livez#/x',
  '/livez?x=1#y',
  '/livez\u00e9',
  '*',
  'livez',
  '?x=1',
]

describe('a request target', () => {
  test.each(DISGUISED)('a request target that differs from its parsed form is refused: %j', async (target) => {
    // Node's own parser refuses some before we see them, without a body.
    const [status, code = 'MALFORMED_REQUEST'] = await get(target)
    expect([status, code]).toEqual([400, 'MALFORMED_REQUEST'])
  })

  test('a request target in absolute form is refused for every origin', async () => {
    for (const origin of [gateway.issuer, 'http://evil.example', 'https://127.0.0.1'])
      expect((await get(`${origin}/livez`))[0], origin).toBe(400)
  })

  test('a request target in origin form is served with any query', async () => {
    for (const target of ['/livez', '/livez?', '/livez?a=/../b', '/livez?a=%2e%2e/b', '/livez?a={b(c:"d")}|\'\\'])
      expect((await get(target))[0], target).toBe(200)
    expect(await get('/nothing/%6divez')).toEqual([404, 'NOT_FOUND'])
    expect(await get('/livez;x')).toEqual([404, 'NOT_FOUND'])
  })
})
