import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { calculateJwkThumbprint, decodeJwt, exportJWK, generateKeyPair, importJWK, SignJWT, type JWK } from 'jose'
import { CommandError, OauthError } from './errors.ts'

/** A registered client with its private key, as the sandbox or `admin bootstrap` wrote it to disk. */
export interface ClientFile {
  readonly clientId: string
  readonly key: JWK
  /** The gateway at which the client is registered; absent for clients of the sandbox. */
  readonly issuer?: string
  readonly scopes?: readonly string[]
  readonly redirectUri?: string
}

/** A token with the key that it is bound to. */
export interface Token {
  readonly accessToken: string
  readonly tokenType: 'DPoP' | 'Bearer'
  readonly refreshToken?: string
  readonly idToken?: string
  readonly grantId?: string
  readonly expiresAt: number
  readonly dpopJwk: JWK
}

/** Generates a private key to bind a token to. */
export async function generateDpopKey(): Promise<JWK> {
  const { privateKey } = await generateKeyPair('ES256', { extractable: true })
  return exportJWK(privateKey)
}

/** A DPoP proof for one request (RFC 9449, 4.2). */
export async function createDpopProof(key: JWK, method: string, url: string, accessToken?: string): Promise<string> {
  const { d: _private, ...jwk } = key
  const target = new URL(url)
  target.search = target.hash = ''
  const ath = accessToken && createHash('sha256').update(accessToken).digest('base64url')
  return new SignJWT({ htm: method, htu: target.href, jti: randomUUID(), ...(ath && { ath }) })
    .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk })
    .setIssuedAt()
    .sign(await importJWK(key, 'ES256'))
}

/** Creates a client for the gateway's authorization server, which uses private_key_jwt, PAR, PKCE and DPoP. */
export function createOauthClient(issuer: string, client: ClientFile, usesBearer = false) {
  async function createClientAssertion(): Promise<string> {
    return new SignJWT({})
      .setProtectedHeader({ alg: 'ES256', kid: client.key.kid! })
      .setIssuer(client.clientId)
      .setSubject(client.clientId)
      .setAudience(issuer)
      .setJti(randomUUID())
      .setIssuedAt()
      .setExpirationTime('60s')
      .sign(await importJWK(client.key, 'ES256'))
  }

  async function post(path: string, fields: Record<string, string>, dpop?: JWK): Promise<Record<string, unknown>> {
    const url = `${issuer}${path}`
    const response = await fetch(url, {
      method: 'POST',
      headers: dpop ? { dpop: await createDpopProof(dpop, 'POST', url) } : {},
      body: new URLSearchParams({
        ...fields,
        client_id: client.clientId,
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: await createClientAssertion(),
      }),
    })
    const body = ((await readJson(response)) ?? {}) as Record<string, unknown>
    if (!response.ok)
      throw new OauthError(
        String(body['error']),
        typeof body['error_description'] === 'string' ? body['error_description'] : '',
      )
    return body
  }

  async function requestToken(fields: Record<string, string>, dpopJwk: JWK): Promise<Token> {
    const body = await post('/oauth/token', fields, usesBearer ? undefined : dpopJwk)
    const text = (name: string) => (typeof body[name] === 'string' ? body[name] : undefined)
    const [refreshToken, idToken, grantId] = [text('refresh_token'), text('id_token'), text('grant_id')]
    return {
      accessToken: String(body['access_token']),
      tokenType: usesBearer ? 'Bearer' : 'DPoP',
      expiresAt: Date.now() + Number(body['expires_in']) * 1_000,
      dpopJwk,
      ...(refreshToken && { refreshToken }),
      ...(idToken && { idToken }),
      ...(grantId && { grantId }),
    }
  }

  return {
    /** A token for the client itself. */
    clientCredentials: async (scope: string, dpopJwk?: JWK): Promise<Token> =>
      requestToken({ grant_type: 'client_credentials', scope }, dpopJwk ?? (await generateDpopKey())),
    /** Revokes a token (RFC 7009). */
    async revoke(value: string): Promise<void> {
      await fetch(`${issuer}/oauth/revoke`, {
        method: 'POST',
        body: new URLSearchParams({
          token: value,
          client_id: client.clientId,
          client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
          client_assertion: await createClientAssertion(),
        }),
      })
    },
    refresh: (refreshToken: string, dpopJwk: JWK): Promise<Token> =>
      requestToken({ grant_type: 'refresh_token', refresh_token: refreshToken }, dpopJwk),
    redeemCode: (code: string, codeVerifier: string, dpopJwk: JWK): Promise<Token> =>
      requestToken(
        { grant_type: 'authorization_code', code, code_verifier: codeVerifier, redirect_uri: client.redirectUri! },
        dpopJwk,
      ),

    /** Pushes an authorization request; returns the address to open in the customer's browser. */
    async pushAuthorizationRequest(
      request: { scope: string; details: unknown; state: string; idTokenHint?: string },
      dpopJwk: JWK,
    ): Promise<{ url: string; codeVerifier: string }> {
      const codeVerifier = randomBytes(32).toString('base64url')
      const response = await post('/oauth/par', {
        response_type: 'code',
        redirect_uri: client.redirectUri!,
        scope: request.scope,
        state: request.state,
        code_challenge: createHash('sha256').update(codeVerifier).digest('base64url'),
        code_challenge_method: 'S256',
        authorization_details: JSON.stringify([request.details]),
        ...(!usesBearer && { dpop_jkt: await calculateJwkThumbprint(dpopJwk) }),
        ...(request.idTokenHint && { id_token_hint: request.idTokenHint }),
      })
      const query = new URLSearchParams({ client_id: client.clientId, request_uri: String(response['request_uri']) })
      return { url: `${issuer}/oauth/authorize?${query.toString()}`, codeVerifier }
    },
  }
}

/** A GraphQL response. */
export interface GraphqlResponse {
  readonly data?: Record<string, unknown> | null
  readonly errors?: readonly GraphqlError[]
}

/** An error of a GraphQL response, with the extensions of docs/ERRORS.md. */
export interface GraphqlError {
  readonly message: string
  readonly path?: readonly (string | number)[]
  readonly extensions?: {
    readonly code?: string
    readonly argument?: string
    readonly missingScopes?: readonly (readonly string[])[]
    readonly retryAt?: string
    readonly requestId?: string
  }
}

/** The presence statement that a client signs when its customer writes to it: the customer and the time of their message. */
export async function createPresenceStatement(
  issuer: string,
  client: ClientFile,
  customer: string,
  messageSentAt = new Date(),
): Promise<string> {
  return new SignJWT({})
    .setProtectedHeader({ alg: 'ES256', typ: 'customer-present+jwt', kid: client.key.kid! })
    .setIssuer(client.clientId)
    .setSubject(customer)
    .setAudience(issuer)
    .setIssuedAt(messageSentAt)
    .sign(await importJWK(client.key, 'ES256'))
}

/** The client's subject (`sub`) for the customer of a token. */
export const subjectOf = ({ idToken }: Token): string | undefined =>
  idToken === undefined ? undefined : decodeJwt(idToken).sub

/** Sends one GraphQL request. Throws `CommandError` if the response is not one of GraphQL. */
export async function executeGraphql(
  issuer: string,
  token: Token | undefined,
  query: string,
  variables: Record<string, unknown> = {},
  statement?: string,
): Promise<GraphqlResponse> {
  const url = `${issuer}/graphql`
  const response = await fetch(url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json',
      ...(token && (await createAuthorizationHeaders(token, 'POST', url))),
      ...(statement && { 'guichet-customer-present': statement }),
    },
    body: JSON.stringify({ query, variables }),
  })
  const body = await readJson(response)
  const { data, errors } = (body ?? {}) as Partial<GraphqlResponse>
  if ((typeof data === 'object' && data !== null) || (Array.isArray(errors) && errors.length > 0))
    return body as GraphqlResponse
  throw new CommandError(`${issuer} responded with HTTP status ${response.status} ${describeBody(body)}`)
}

/** The code and message of an error of the gateway outside GraphQL, such as that of an overload. */
function describeBody(body: unknown): string {
  const { error } = (body ?? {}) as { error?: { code?: unknown; message?: unknown } }
  return typeof error?.code === 'string' ? `and ${error.code}: ${String(error.message)}` : 'without a GraphQL result'
}

/** The body of a response. Throws `CommandError` if it is not JSON, as from a proxy whose gateway is down. */
async function readJson(response: Response): Promise<unknown> {
  try {
    return await response.json()
  } catch {
    const { origin } = new URL(response.url)
    throw new CommandError(`${origin} does not respond as a gateway does: HTTP status ${response.status} without JSON`)
  }
}

/** The `Authorization` header, and the DPoP proof if the token is bound to a key. */
export async function createAuthorizationHeaders(
  token: Token,
  method: string,
  url: string,
): Promise<Record<string, string>> {
  if (token.tokenType === 'Bearer') return { authorization: `Bearer ${token.accessToken}` }
  return {
    authorization: `DPoP ${token.accessToken}`,
    dpop: await createDpopProof(token.dpopJwk, method, url, token.accessToken),
  }
}
