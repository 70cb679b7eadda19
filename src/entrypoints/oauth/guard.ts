import { calculateJwkThumbprint, EmbeddedJWK, jwtVerify, type JWK } from 'jose'
import type { Provider } from 'oidc-provider'
import { GatewayError } from '../../kernel/errors.ts'
import type { HttpRequest } from '../../kernel/http.ts'
import { ANONYMOUS, type Caller } from '../../kernel/request.ts'
import { isScope, type Scope } from '../../kernel/scopes.ts'
import type { World } from '../../kernel/world.ts'
import type { Clients } from '../../modules/clients/index.ts'
import type { Consents } from '../../modules/consents/index.ts'
import { accessTokenHash } from './provider.ts'
import type { OauthStore } from './store.ts'

/** What the guard asks before it lets anybody in. */
export interface GuardDependencies {
  readonly provider: Provider
  readonly store: OauthStore
  readonly clients: Clients
  readonly consents: Consents
  readonly world: World
  readonly issuer: string
}

const PROOF_WINDOW_S = 60

/** Finds out who asks. Throws `UNAUTHENTICATED` or `INVALID_DPOP_PROOF`; without a token the caller is anonymous. */
export type Authenticate = (request: HttpRequest) => Promise<Caller>

/**
 * Opaque tokens, looked up in our own store, bound to the client's key unless the client is a sandbox client for
 * bearer tokens, of a client that is active, on a consent that is live at this moment (RFC 6750, 9449).
 */
export function createGuard({ provider, store, clients, consents, world, issuer }: GuardDependencies): Authenticate {
  return async (request) => {
    const header = request.headers.authorization
    if (header === undefined) return ANONYMOUS
    const match = /^(DPoP|Bearer) ([\w.~+/-]{16,256}=*)$/i.exec(header)
    if (!match) throw unauthenticated('header')
    const [, scheme = '', value = ''] = match
    const token = (await provider.AccessToken.find(value)) ?? (await provider.ClientCredentials.find(value))
    if (!token?.isValid || token.aud !== `${issuer}/graphql`) throw unauthenticated('token')

    const boundTo = (token as { jkt?: string }).jkt
    if (boundTo) {
      if (scheme.toLowerCase() !== 'dpop') throw unauthenticated('bound token as bearer')
      await checkProof(request, value, boundTo)
    } else if (scheme.toLowerCase() === 'dpop') throw unauthenticated('unbound token as DPoP')

    const client = await clients.find(token.clientId ?? '')
    if (client?.state !== 'ACTIVE') throw unauthenticated('client')
    if (!boundTo && client.tokenBinding !== 'BEARER') throw unauthenticated('unbound token')

    const scopes: ReadonlySet<Scope> = new Set((token.scope ?? '').split(' ').filter(isScope))
    if (token.kind === 'ClientCredentials') return { kind: 'CLIENT', clientId: client.id, scopes }
    const consent = token.grantId ? await consents.liveByOauthGrant(token.grantId) : null
    if (!consent?.customerId || consent.clientId !== client.id) throw unauthenticated('consent')
    return { kind: 'CUSTOMER', clientId: client.id, customerId: consent.customerId, consentId: consent.id, scopes }
  }

  async function checkProof(request: HttpRequest, token: string, boundTo: string): Promise<void> {
    const proofs = request.raw.request.headersDistinct['dpop'] ?? []
    const [proof] = proofs
    if (!proof || proofs.length !== 1 || proof.length > 4_096) throw badProof('exactly one proof')
    const now = world.clock.now()
    const verified = await jwtVerify(proof, EmbeddedJWK, {
      typ: 'dpop+jwt',
      algorithms: ['ES256', 'EdDSA'],
      currentDate: now,
    }).catch((error: unknown) => {
      throw badProof('signature', error)
    })
    const { payload, protectedHeader } = verified
    const nowS = Math.floor(now.getTime() / 1_000)
    const target = URL.parse(typeof payload['htu'] === 'string' ? payload['htu'] : '')
    if (target) target.search = target.hash = ''
    const fits =
      payload['htm'] === request.method &&
      target?.href === `${issuer}${request.url.pathname}` &&
      payload['ath'] === accessTokenHash(token) &&
      typeof payload.iat === 'number' &&
      Math.abs(nowS - payload.iat) <= PROOF_WINDOW_S &&
      typeof payload.jti === 'string' &&
      payload.jti.length <= 256
    if (!fits) throw badProof('claims')
    if ((await calculateJwkThumbprint(protectedHeader.jwk as JWK)) !== boundTo) throw unauthenticated('other key')
    if (!(await store.useOnce(`proof:${boundTo}`, payload.jti!, new Date((nowS + 2 * PROOF_WINDOW_S) * 1_000))))
      throw badProof('used before')
  }
}

const unauthenticated = (internal: string): GatewayError => new GatewayError('UNAUTHENTICATED', { internal })
const badProof = (internal: string, cause?: unknown): GatewayError =>
  new GatewayError('INVALID_DPOP_PROOF', { internal, cause })

/** The `WWW-Authenticate` of a refusal (RFC 6750, 9449 and 9728). */
export function challenge(error: GatewayError, issuer: string): string {
  const code = error.code === 'INVALID_DPOP_PROOF' ? 'invalid_dpop_proof' : 'invalid_token'
  return `DPoP error="${code}", algs="ES256 EdDSA", resource_metadata="${issuer}/.well-known/oauth-protected-resource"`
}
