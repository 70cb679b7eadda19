import { createHash, randomBytes, type KeyObject } from 'node:crypto'
import { createLocalJWKSet, jwtVerify, SignJWT, type JSONWebKeySet, type JWTPayload } from 'jose'
import { Agent, request } from 'undici'

/** A TLS connection as a client with or without a certificate has it, in PEM. */
export interface ClientConnection {
  readonly authority: string
  readonly certificate?: string
  readonly key?: string
}

/** A response with its status, headers and JSON body; the body is empty if it is not JSON. */
export interface JsonResponse {
  readonly status: number
  readonly location: string | undefined
  readonly body: Readonly<Record<string, unknown>>
}

/** A small OAuth client of its own, with which the providers are tested before any connector uses them. */
export function createReferenceClient({ authority, certificate, key }: ClientConnection) {
  const dispatcher = new Agent({ connect: { ca: authority, ...(certificate && { cert: certificate, key }) } })
  const cookies = new Map<string, string>()

  async function send(
    url: string,
    { form, authorization }: { form?: Record<string, string>; authorization?: string } = {},
  ): Promise<JsonResponse> {
    const response = await request(url, {
      dispatcher,
      method: form ? 'POST' : 'GET',
      headers: {
        ...(cookies.size > 0 && { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') }),
        ...(form && { 'content-type': 'application/x-www-form-urlencoded' }),
        ...(authorization !== undefined && { authorization }),
      },
      body: form ? new URLSearchParams(form).toString() : null,
    })
    for (const cookie of [response.headers['set-cookie'] ?? []].flat()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie)!
      cookies.set(name!, value!)
    }
    const text = await response.body.text()
    const isJson = /^application\/([\w-]+\+)?json/.test(String(response.headers['content-type']))
    return {
      status: response.statusCode,
      location: response.headers['location'] as string | undefined,
      body: isJson ? (JSON.parse(text) as Record<string, unknown>) : {},
    }
  }

  return {
    send,
    metadata: async (issuer: string) => (await send(`${issuer}/.well-known/openid-configuration`)).body,
    /** Follows a sign-in as a browser does, until it leaves the bank. Returns the callback, or the last page of the bank. */
    async signIn(url: string, redirectUri: string): Promise<URL> {
      cookies.clear()
      let next = new URL(url)
      for (let hops = 0; hops < 10; hops++) {
        const { location, status } = await send(next.href)
        if (location === undefined) throw new Error(`the sign-in ended at ${next.pathname} with ${status}`)
        next = new URL(location, next)
        if (next.href.startsWith(redirectUri)) return next
      }
      throw new Error('the sign-in does not end')
    },
    /** The claims of a token that the server signed with this algorithm. */
    async verify(issuer: string, token: unknown, algorithm: string, audience: string): Promise<JWTPayload> {
      const { jwks_uri: url } = (await send(`${issuer}/.well-known/openid-configuration`)).body
      const keys = createLocalJWKSet((await send(String(url))).body as unknown as JSONWebKeySet)
      return (await jwtVerify(String(token), keys, { issuer, audience, algorithms: [algorithm] })).payload
    },
    close: () => dispatcher.close(),
  }
}

/** A client assertion or request object: signed by the client for the server. */
export function signForServer(
  claims: JWTPayload,
  { clientId, audience, algorithm, key }: { clientId: string; audience: string; algorithm: string; key: KeyObject },
): Promise<string> {
  return new SignJWT({ jti: randomBytes(16).toString('hex'), ...claims })
    .setProtectedHeader({ alg: algorithm, kid: 'client' })
    .setIssuer(clientId)
    .setAudience(audience)
    .setIssuedAt()
    .setNotBefore('0s')
    .setExpirationTime('5m')
    .sign(key)
}

/** A code verifier and its S256 challenge (RFC 7636). */
export function createPkce(): { verifier: string; challenge: string } {
  const verifier = randomBytes(32).toString('base64url')
  return { verifier, challenge: createHash('sha256').update(verifier).digest('base64url') }
}

/** The left half of a SHA-256 hash, as c_hash and s_hash have it (OpenID Connect Core 1.0, 3.3.2.11; FAPI 1.0, 5.1.1). */
export const halfHash = (text: string): string =>
  createHash('sha256').update(text).digest().subarray(0, 16).toString('base64url')
