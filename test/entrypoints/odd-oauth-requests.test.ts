import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { consentPages } from '../support/consent-pages.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { authenticatedForm, authorizationRequest, clientAssertion, postForm } from '../support/oauth-requests.ts'

const CLIENT = 'chatterbox'
let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

const failures = (): string[] => gateway.log.filter((line) => line.includes('"level":"error"'))

describe('a client id that cannot be one', () => {
  test.each(['/oauth/token', '/oauth/par', '/oauth/revoke', '/oauth/introspect'])(
    'a malformed client ID is an unknown client at %s, also in an assertion',
    async (path) => {
      const bad = await postForm(
        gateway,
        path,
        new URLSearchParams({ client_id: 'ab\0cd', grant_type: 'x', token: 'x' }),
      )
      expect([400, 401]).toContain(bad.status)
      const assertion = await clientAssertion(gateway, CLIENT, { iss: 'ab\0cd', sub: 'ab\0cd' })
      const form = authenticatedForm(CLIENT, assertion, { grant_type: 'client_credentials', token: 'x' })
      form.delete('client_id')
      const asserted = await postForm(gateway, path, form)
      expect([400, 401]).toContain(asserted.status)
      expect(asserted.body['error']).toBe('invalid_client')
      expect(failures()).toEqual([])
    },
  )

  test('a malformed client ID is an unknown client at the authorization page', async () => {
    const url = `${gateway.issuer}/oauth/authorize?client_id=%00&request_uri=x`
    expect((await fetch(url, { headers: { accept: 'text/html' } })).status).toBe(400)
    expect(failures()).toEqual([])
  })
})

describe('a control character in an authorization request', () => {
  test.each(['state', 'nonce', 'login_hint', 'acr_values', 'ui_locales', 'claims_locales', 'display', 'dpop_jkt'])(
    'a pushed request with a control character is refused with the name of its parameter: %s',
    async (name) => {
      for (const text of ['ab\0cd', 'ab\u007fcd', 'ab\ncd']) {
        const fields = { ...authorizationRequest(gateway, CLIENT), [name]: text }
        const form = authenticatedForm(CLIENT, await clientAssertion(gateway, CLIENT), fields)
        const { status, body } = await postForm(gateway, '/oauth/par', form)
        expect([status, body['error']]).toEqual([400, 'invalid_request'])
        expect(body['error_description']).toContain(name)
      }
      expect(failures()).toEqual([])
    },
  )
})

describe('a return from a bank', () => {
  test.each(['null', '[]', '1', '"x"', 'true'])(
    'a bank response with %s as its claims is refused and matches no interaction',
    async (json) => {
      const response = `.${Buffer.from(json).toString('base64url')}`
      const answer = await fetch(`${gateway.issuer}/bank/callback?response=${response}`, { redirect: 'manual' })
      expect(answer.status).toBe(400)
      const browser = createBrowser()
      const { page } = await consentPages(gateway).begin(browser)
      const visit = new URL(page.url).pathname
      expect((await browser.open(`${gateway.issuer}${visit}/return?response=${response}`)).status).toBeLessThan(500)
      expect(failures()).toEqual([])
    },
  )
})

describe('a 503', () => {
  test.each(['/oauth/authorize/x', '/interaction/x/return', '/interaction/x/to-bank'])(
    'a prefetch of a page gets 503 with Retry-After: %s',
    async (path) => {
      const answer = await fetch(`${gateway.issuer}${path}`, { headers: { 'sec-purpose': 'prefetch' } })
      expect(answer.status).toBe(503)
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
    },
  )
})

describe('a body that its sender cuts off', () => {
  test.each([
    ['/graphql', 'application/json'],
    ['/oauth/token', 'application/x-www-form-urlencoded'],
    ['/bank/callback', 'application/x-www-form-urlencoded'],
    ['/bank-events/{connector}', 'application/secevent+jwt'],
  ])('a body that its sender aborts causes no error in the log: POST %s', async (path, type) => {
    const [connector] = await gateway.database.query<{ id: string }>("select id from connector where status = 'ACTIVE'")
    const { hostname, port, host } = new URL(gateway.issuer)
    const target = path.replace('{connector}', connector!.id)
    for (const end of ['destroy', 'end', 'resetAndDestroy'] as const)
      for (const size of ['content-length: 50\r\n\r\nabc', 'transfer-encoding: chunked\r\n\r\n5\r\nab']) {
        const before = gateway.log.length
        const socket = connect(Number(port), hostname).on('error', () => undefined)
        socket.write(`POST ${target} HTTP/1.1\r\nhost: ${host}\r\ncontent-type: ${type}\r\n${size}`)
        await new Promise((resolve) => setTimeout(resolve, 100))
        socket[end]()
        await eventually('the line of the request', () =>
          Promise.resolve(gateway.log.slice(before).some((line) => line.includes('"event":"request"'))),
        )
        socket.destroy()
      }
    expect(failures()).toEqual([])
  })
})
