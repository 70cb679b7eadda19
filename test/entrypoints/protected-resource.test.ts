import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createAuthorizationHeaders, type Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let customer: Token
beforeAll(async () => {
  gateway = await startGateway()
  customer = await gateway.customer('ada', ['northbank'], { scopes: ['accounts:read'] })
})
afterAll(() => gateway.close())

const DENIED = '{ customer { accounts { nodes { id balances { __typename } } } } }'
const resourceMetadata = (): string => `${gateway.issuer}/.well-known/oauth-protected-resource/graphql`

async function send(
  path: string,
  {
    token,
    method = 'POST',
    headers = {},
    query,
  }: { token?: Token; method?: string; headers?: Record<string, string>; query?: string },
) {
  const url = `${gateway.issuer}${path}`
  const answer = await fetch(url, {
    method,
    headers: {
      ...(token && (await createAuthorizationHeaders(token, method, url))),
      ...(query !== undefined && { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(query !== undefined && { body: JSON.stringify({ query }) }),
  })
  return {
    status: answer.status,
    challenge: answer.headers.get('www-authenticate'),
    headers: answer.headers,
    text: await answer.text(),
  }
}

describe('a request that is refused whole for its scopes (RFC 6750, 3.1)', () => {
  const WHOLE = { 'guichet-unauthorized': 'all' }

  test('a request that is refused for its scopes gets 403 and a challenge with the required scopes', async () => {
    const { status, challenge } = await send('/graphql', { token: customer, headers: WHOLE, query: DENIED })
    expect(status).toBe(403)
    expect(challenge).toMatch(/^DPoP error="insufficient_scope", scope="[^"]+", resource_metadata="[^"]+"$/)
    const scope = /scope="([^"]+)"/.exec(challenge!)![1]!.split(' ')
    expect(scope).toContain('accounts:read')
    expect(scope).toContain('balances:exact')
    expect(challenge).toContain(`resource_metadata="${resourceMetadata()}"`)
  })

  test('a request that is refused for its scopes gets the same challenge in every format', async () => {
    const accept = 'application/graphql-response+json, application/json;q=0.9'
    const { status, challenge } = await send('/graphql', {
      token: customer,
      headers: { ...WHOLE, accept },
      query: DENIED,
    })
    expect([status, challenge?.slice(0, 31)]).toEqual([403, 'DPoP error="insufficient_scope"'])
  })

  test('a request with a bearer token that is refused for its scopes gets a challenge for bearer tokens', async () => {
    const bearer = await gateway.customer('bo', ['northbank'], {
      scopes: ['accounts:read'],
      clientId: 'chatterbox-bearer',
    })
    const { status, challenge } = await send('/graphql', { token: bearer, headers: WHOLE, query: DENIED })
    expect([status, challenge?.slice(0, 33)]).toEqual([403, 'Bearer error="insufficient_scope"'])
  })

  test('a request without a token that is refused gets 401 and a challenge without an error', async () => {
    const { status, challenge } = await send('/graphql', { headers: WHOLE, query: DENIED })
    expect(status).toBe(401)
    expect(challenge).toContain(`resource_metadata="${resourceMetadata()}"`)
    expect(challenge).not.toContain('error=')
  })

  test('a subscription that the token does not authorize is refused with a challenge', async () => {
    const { status, challenge } = await send('/graphql', {
      token: customer,
      headers: { accept: 'text/event-stream' },
      query: 'subscription { alertReceived { id } }',
    })
    expect(status).toBe(403)
    expect(challenge).toMatch(/error="insufficient_scope", scope="accounts:read alerts:read"/)
  })

  test('a denied field is null with its error and status 200 if the client accepts partial data', async () => {
    const { status, challenge, text } = await send('/graphql', { token: customer, query: DENIED })
    expect([status, challenge]).toEqual([200, null])
    expect(text).toContain('UNAUTHORIZED_FIELD_OR_TYPE')
  })
})

describe('protected resource metadata (RFC 9728)', () => {
  test('the protected resource metadata is at its standard URL, names the resource, and is linked by every 401', async () => {
    const metadata = (await (await fetch(resourceMetadata())).json()) as Record<string, unknown>
    // 3.3: the address of the metadata is that of the resource with the well-known part put in.
    const resource = new URL(String(metadata['resource']))
    expect(`${resource.origin}/.well-known/oauth-protected-resource${resource.pathname}`).toBe(resourceMetadata())
    expect(metadata).toMatchObject({
      authorization_servers: [gateway.issuer],
      bearer_methods_supported: ['header'],
      dpop_signing_alg_values_supported: ['ES256', 'EdDSA', 'Ed25519'],
    })
    const { status, challenge } = await send('/graphql', {
      headers: { authorization: `DPoP ${'x'.repeat(43)}` },
      query: '{ banks { nodes { id } } }',
    })
    expect(status).toBe(401)
    expect(challenge).toContain(`resource_metadata="${resourceMetadata()}"`)
  })

  test('the protected resource metadata is also at the URL without a path', async () => {
    const root = await fetch(`${gateway.issuer}/.well-known/oauth-protected-resource`)
    expect(await root.json()).toEqual(await (await fetch(resourceMetadata())).json())
  })
})

describe('pages of other origins', () => {
  const ORIGIN = 'https://elsewhere.example'
  const PUBLIC = [
    '/.well-known/oauth-authorization-server',
    '/.well-known/openid-configuration',
    '/.well-known/jwks.json',
    '/.well-known/oauth-protected-resource',
    '/.well-known/oauth-protected-resource/graphql',
  ]

  test.each(PUBLIC)('every page may read %s, and send any header with its request', async (path) => {
    const read = await send(path, { method: 'GET', headers: { origin: ORIGIN } })
    expect([read.status, read.headers.get('access-control-allow-origin')]).toEqual([200, '*'])
    expect(read.headers.get('access-control-allow-credentials')).toBeNull()
    const preflight = await send(path, {
      method: 'OPTIONS',
      headers: {
        origin: ORIGIN,
        'access-control-request-method': 'GET',
        'access-control-request-headers': 'mcp-protocol-version',
      },
    })
    expect([preflight.status, preflight.headers.get('access-control-allow-origin')]).toEqual([204, '*'])
    expect(preflight.headers.get('access-control-allow-headers')).toMatch(/mcp-protocol-version/)
    expect(preflight.headers.get('access-control-allow-methods')).toMatch(/GET/)
  })

  test('no page may call grant management, not even one of the client', async () => {
    const own = new URL(gateway.client('chatterbox').redirectUri!).origin
    const path = `/oauth/grants/${customer.grantId!}`
    for (const origin of [ORIGIN, own]) {
      const asked = await send(path, {
        method: 'OPTIONS',
        headers: {
          origin,
          'access-control-request-method': 'DELETE',
          'access-control-request-headers': 'authorization',
        },
      })
      expect(asked.headers.get('access-control-allow-origin')).toBeNull()
      const token = await gateway.own('chatterbox', 'grant_management_query')
      const read = await send(path, { method: 'GET', token, headers: { origin } })
      expect([read.status, read.headers.get('access-control-allow-origin')]).toEqual([200, null])
    }
  })
})

describe('grant management', () => {
  const path = (): string => `/oauth/grants/${customer.grantId!}`

  test.each<[what: string, token: () => Promise<Token>]>([
    ["a customer's token", () => Promise.resolve(customer)],
    ['a token of the client for something else', () => gateway.own('chatterbox', 'webhooks:manage')],
  ])('grant management is denied to %s, and the challenge names the scope', async (_what, token) => {
    for (const [method, scope] of [
      ['GET', 'grant_management_query'],
      ['DELETE', 'grant_management_revoke'],
    ] as const) {
      const { status, challenge } = await send(path(), { method, token: await token() })
      expect(status).toBe(403)
      expect(challenge).toContain(`error="insufficient_scope", scope="${scope}"`)
    }
  })

  test('grant management is denied without a token, and the challenge names the resource metadata', async () => {
    const { status, challenge } = await send(path(), { method: 'GET' })
    expect([status, challenge?.slice(0, 4)]).toEqual([401, 'DPoP'])
    expect(challenge).toContain(`resource_metadata="${resourceMetadata()}"`)
    const wrong = await send(path(), { method: 'GET', headers: { authorization: `DPoP ${'x'.repeat(43)}` } })
    expect([wrong.status, wrong.challenge?.slice(0, 26)]).toEqual([401, 'DPoP error="invalid_token"'])
  })

  test('reading and ending a grant each require their own scope', async () => {
    const query = await gateway.own('chatterbox', 'grant_management_query')
    expect((await send(path(), { method: 'GET', token: query })).status).toBe(200)
    expect((await send(path(), { method: 'DELETE', token: query })).status).toBe(403)
    const { grantId } = await gateway.customer('cleo', ['rheinbank'])
    const revoke = await gateway.own('chatterbox', 'grant_management_revoke')
    expect((await send(`/oauth/grants/${grantId!}`, { method: 'GET', token: revoke })).status).toBe(403)
    expect((await send(`/oauth/grants/${grantId!}`, { method: 'DELETE', token: revoke })).status).toBe(204)
    expect((await send(`/oauth/grants/${grantId!}`, { method: 'GET', token: query })).status).toBe(404)
  })

  test("another client's grant gets the same response as a grant that does not exist", async () => {
    const other = await gateway.own('chatterbox-bearer', 'grant_management_query')
    expect((await send(path(), { method: 'GET', token: other })).status).toBe(404)
  })

  test('grant management is announced in the metadata', async () => {
    const metadata = (await (await fetch(`${gateway.issuer}/.well-known/oauth-authorization-server`)).json()) as object
    expect(metadata).toMatchObject({
      grant_management_endpoint: `${gateway.issuer}/oauth/grants`,
      grant_management_actions_supported: ['query', 'revoke'],
    })
  })
})
