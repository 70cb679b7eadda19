import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { authenticatedForm, authorizationRequest, clientAssertion, postForm } from '../support/oauth-requests.ts'

const CLIENT = 'chatterbox'
let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

async function open(parameters: Record<string, string>, headers: Record<string, string> = {}) {
  const url = `${gateway.issuer}/oauth/authorize?${new URLSearchParams(parameters).toString()}`
  const answer = await fetch(url, { headers, redirect: 'manual' })
  return {
    status: answer.status,
    type: answer.headers.get('content-type') ?? '',
    policy: answer.headers.get('content-security-policy'),
    location: answer.headers.get('location'),
    text: await answer.text(),
  }
}

async function push(): Promise<{ requestUri: string; expiresIn: number }> {
  const form = authenticatedForm(CLIENT, await clientAssertion(gateway, CLIENT), authorizationRequest(gateway, CLIENT))
  const { body } = await postForm(gateway, '/oauth/par', form)
  return { requestUri: String(body['request_uri']), expiresIn: Number(body['expires_in']) }
}

const EXPIRED = { client_id: CLIENT, request_uri: 'urn:ietf:params:oauth:request_uri:nobody' }

describe('an invalid authorization request', () => {
  test.each<[what: string, headers: Record<string, string>]>([
    ['names text/html', { accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8' }],
    ['takes anything', { accept: '*/*' }],
    ['says nothing', {}],
    ['takes anything and says that it is a page', { accept: '*/*', 'sec-fetch-dest': 'document' }],
    ['prefers JSON and says that it is a page', { accept: 'application/json', 'sec-fetch-dest': 'document' }],
    ['takes images, as a preview does', { accept: 'image/webp,*/*' }],
    ['sends what is no Accept', { accept: 'x' }],
  ])('an invalid authorization request gets an HTML page if the browser %s', async (_what, headers) => {
    const { status, type, policy, text } = await open(EXPIRED, headers)
    expect([status, type]).toEqual([400, 'text/html; charset=utf-8'])
    expect(policy).toContain("default-src 'none'")
    expect(text).toContain('Opening it shared nothing')
  })

  test.each<[what: string, headers: Record<string, string>]>([
    ['names JSON alone', { accept: 'application/json' }],
    ['is a script', { accept: '*/*', 'sec-fetch-dest': 'empty' }],
  ])('an invalid authorization request gets JSON if the caller %s', async (_what, headers) => {
    const { status, type, text } = await open(EXPIRED, headers)
    expect([status, type]).toEqual([400, 'application/json; charset=utf-8'])
    expect(JSON.parse(text)).toMatchObject({ error: 'invalid_request_uri' })
  })

  test('the error page of an expired authorization request names the platform and links back to it', async () => {
    const { requestUri, expiresIn } = await push()
    expect(expiresIn).toBe(60)
    gateway.forward(61_000)
    const { status, text } = await open({ client_id: CLIENT, request_uri: requestUri })
    expect(status).toBe(400)
    expect(text).toContain('Chatterbox')
    expect(text).toContain('open the link there again')
    const href = new URL(/href="([^"]+)"[^>]*>Back to/.exec(text)![1]!.replaceAll('&#38;', '&'))
    expect(href.href.split('?')[0]).toBe(gateway.client(CLIENT).redirectUri)
    expect(Object.fromEntries(href.searchParams)).toEqual({ error: 'invalid_request_uri', iss: gateway.issuer })
  })

  test('the error page of an unknown client has no link', async () => {
    for (const client_id of ['nobody', '<script>']) {
      const { status, text } = await open({ ...EXPIRED, client_id })
      expect(status).toBe(400)
      expect(text).not.toContain('Back to')
      expect(text).not.toContain('<script>')
    }
  })

  test('the error page of a suspended client has no link until the client is resumed', async () => {
    const { clients } = gateway.app.services
    await clients.suspend('admin', CLIENT)
    const suspended = await open(EXPIRED)
    await clients.resume('admin', CLIENT)
    expect(suspended.status).toBe(400)
    expect(suspended.location).toBeNull()
    expect(suspended.text).not.toContain('Back to')
    expect(suspended.text).not.toContain('Chatterbox')
    expect((await open(EXPIRED)).text).toContain('Back to Chatterbox')
  })

  test('the error page of a retired client has no link', async () => {
    const request = { ...EXPIRED, client_id: 'chatterbox-bearer' }
    expect((await open(request)).text).toContain('Back to')
    await gateway.app.services.clients.retire('admin', 'chatterbox-bearer')
    const { status, text, location } = await open(request)
    expect([status, location]).toEqual([400, null])
    expect(text).not.toContain('Back to')
  })

  test('the error page of an authorization request never links to a URL from the request', async () => {
    const redirect_uri = 'https://evil.example/callback'
    const { text, location } = await open({ ...EXPIRED, redirect_uri })
    expect(location).toBeNull()
    expect(text).not.toContain('evil.example')
  })

  test('the error page of an authorization request repeats no text of the request', async () => {
    const names = ['scope', 'state', 'response_type', 'prompt', 'nonce', 'acr_values', 'claims', 'resource', 'max_age']
    for (const name of [
      ...names,
      'client_id',
      'request_uri',
      'request',
      'redirect_uri',
      'response_mode',
      'ui_locales',
    ]) {
      const { text, location } = await open({ client_id: CLIENT, [name]: 'MARKER-in-request' })
      expect([name, text.includes('MARKER-in-request')]).toEqual([name, false])
      expect([name, location]).toEqual([name, null])
    }
  })
})

describe('answers to the platform', () => {
  test.each(['form_post', 'fragment', 'query', 'web_message', 'jwt', 'made-up'])(
    'an error is returned in the query if the request names %s',
    async (response_mode) => {
      const redirect_uri = gateway.client(CLIENT).redirectUri!
      const { status, location, text } = await open({
        client_id: CLIENT,
        redirect_uri,
        response_mode,
        response_type: 'code',
        scope: 'openid',
        state: 'abcdefgh',
      })
      expect(text).not.toMatch(/<script|<form/)
      expect(status).toBe(303)
      const answer = new URL(location!)
      expect([answer.href.split('?')[0], answer.hash]).toEqual([redirect_uri, ''])
      expect(Object.fromEntries(answer.searchParams)).toMatchObject({ state: 'abcdefgh', iss: gateway.issuer })
      expect(answer.searchParams.get('error')).toBe('invalid_request')
    },
  )
})
