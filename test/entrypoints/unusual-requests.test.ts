import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let connectorId: string
beforeAll(async () => {
  gateway = await startGateway()
  connectorId = (await gateway.database.query<{ id: string }>('select id from connector limit 1'))[0]!.id
})
afterAll(() => gateway.close())

/** Sends text as it is and returns all that comes back until the connection ends. */
function sendRaw(text: string): Promise<string> {
  const { hostname, port } = new URL(gateway.issuer)
  return new Promise((resolve, reject) => {
    let answer = ''
    connect(Number(port), hostname)
      .on('error', reject)
      .on('data', (chunk) => (answer += chunk.toString('latin1')))
      .on('close', () => resolve(answer))
      .write(text)
  })
}
const requestIdIn = (answer: string): string => /x-request-id: (\S+)/i.exec(answer)![1]!
const linesOf = (requestId: string): unknown[] =>
  gateway.log.filter((line) => line.includes(requestId)).map((line) => JSON.parse(line) as unknown)

describe('a body in another charset than UTF-8, or encoded', () => {
  const FORM = 'application/x-www-form-urlencoded'
  test.each([
    ['/graphql', 'application/json'],
    ['/oauth/token', FORM],
    ['/oauth/par', FORM],
    ['/oauth/revoke', FORM],
    ['/oauth/introspect', FORM],
    ['/bank/callback', FORM],
    ['/bank-events/{connector}', 'application/secevent+jwt'],
    ['/bank-events/{connector}/notifications', 'application/json'],
  ])('a body that is encoded or not in UTF-8 is refused by POST %s with 415', async (path, type) => {
    const url = `${gateway.issuer}${path.replace('{connector}', connectorId)}`
    const statusOf = async (headers: Record<string, string>) =>
      (await fetch(url, { method: 'POST', headers: { accept: '*/*', ...headers }, body: 'x=1' })).status
    expect(await statusOf({ 'content-type': `${type}; charset=utf-16` })).toBe(415)
    expect(await statusOf({ 'content-type': type, 'content-encoding': 'gzip' })).toBe(415)
    expect(await statusOf({ 'content-type': `${type}; charset=UTF-8` })).not.toBe(415)
  })
})

test.each(['constructor', 'toString', '__proto__', 'text/plain', ''])(
  'an event of the content type “%s” is refused with 415',
  async (type) => {
    const url = `${gateway.issuer}/bank-events/${connectorId}`
    const { status } = await fetch(url, { method: 'POST', headers: { 'content-type': type }, body: 'x' })
    expect(status).toBe(415)
  },
)

describe('a request that few send', () => {
  const host = () => `host: ${new URL(gateway.issuer).host}\r\n`

  test('a request with an unknown expectation is served and logged', async () => {
    const answer = await sendRaw(`GET /livez HTTP/1.1\r\n${host()}expect: coffee\r\nconnection: close\r\n\r\n`)
    expect(answer).toMatch(/^HTTP\/1\.1 200 /)
    const wrong = await sendRaw(`GET /coffee HTTP/1.1\r\n${host()}expect: coffee\r\nconnection: close\r\n\r\n`)
    expect(wrong).toMatch(/^HTTP\/1\.1 404 /)
    expect(linesOf(requestIdIn(wrong))).toMatchObject([{ event: 'request', status: 404 }])
  })

  test('a CONNECT request is refused and logged', async () => {
    const answer = await sendRaw(`CONNECT coffee.example:443 HTTP/1.1\r\n${host()}\r\n`)
    expect(answer).toMatch(/^HTTP\/1\.1 405 /)
    expect(linesOf(requestIdIn(answer))).toMatchObject([
      { event: 'request', route: 'unmatched', method: 'CONNECT', status: 405, code: 'METHOD_NOT_ALLOWED' },
    ])
    expect(gateway.log.join()).not.toContain('coffee')
  })
})
