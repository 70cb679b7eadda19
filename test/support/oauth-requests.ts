import { createHash, randomBytes, randomUUID, type KeyObject } from 'node:crypto'
import { importJWK, SignJWT, type JWK } from 'jose'
import type { TestGateway } from './gateway.ts'

type Change = Readonly<Record<string, unknown>>

/** What the authorization server answered. */
export interface OauthAnswer {
  readonly status: number
  readonly body: Record<string, unknown>
  readonly headers: Headers
}

const nowS = (): number => Math.floor(Date.now() / 1_000)

/** A client's proof of itself (RFC 7523), with claims replaced; signed by `signer` in place of the client's own key. */
export async function clientAssertion(
  gateway: TestGateway,
  clientId: string,
  change: Change = {},
  signer?: { alg: string; key: KeyObject; kid: string },
): Promise<string> {
  const claims = {
    iss: clientId,
    sub: clientId,
    aud: gateway.issuer,
    jti: randomUUID(),
    iat: nowS(),
    exp: nowS() + 60,
    ...change,
  }
  const own = signer ? undefined : gateway.client(clientId).key
  return new SignJWT(claims)
    .setProtectedHeader({ alg: signer?.alg ?? 'ES256', kid: signer?.kid ?? own!.kid! })
    .sign(signer?.key ?? (await importJWK(own!, 'ES256')))
}

/** The form of a request that the client authenticates. */
export const authenticatedForm = (
  clientId: string,
  assertion: string,
  fields: Readonly<Record<string, string>>,
): URLSearchParams =>
  new URLSearchParams({
    ...fields,
    client_id: clientId,
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    client_assertion: assertion,
  })

/** A proof of possession (RFC 9449, 4.2) by any key. */
export const proofBy = (
  { alg, key, jwk }: { alg: string; key: KeyObject; jwk: JWK },
  url: string,
  { method = 'POST', accessToken }: { method?: string; accessToken?: string } = {},
): Promise<string> =>
  new SignJWT({
    htm: method,
    htu: url,
    jti: randomUUID(),
    iat: nowS(),
    ...(accessToken !== undefined && { ath: createHash('sha256').update(accessToken).digest('base64url') }),
  })
    .setProtectedHeader({ alg, typ: 'dpop+jwt', jwk })
    .sign(key)

/** Posts a form to the authorization server. */
export async function postForm(
  gateway: TestGateway,
  path: string,
  form: URLSearchParams,
  headers: Record<string, string> = {},
): Promise<OauthAnswer> {
  const answer = await fetch(`${gateway.issuer}${path}`, { method: 'POST', headers, body: form })
  const text = await answer.text()
  const body = text === '' ? {} : (JSON.parse(text) as Record<string, unknown>)
  return { status: answer.status, body, headers: answer.headers }
}

/** The parameters of a good pushed authorization request. */
export const authorizationRequest = (gateway: TestGateway, clientId: string): Record<string, string> => ({
  response_type: 'code',
  redirect_uri: gateway.client(clientId).redirectUri!,
  scope: 'openid accounts:read',
  state: 'abcdefgh',
  code_challenge: createHash('sha256').update(randomBytes(32).toString('base64url')).digest('base64url'),
  code_challenge_method: 'S256',
  authorization_details: JSON.stringify([
    { type: 'urn:guichet:account-information', actions: ['accounts:read'], purposes: ['ANSWER_CUSTOMER'] },
  ]),
})
