import { createHash } from 'node:crypto'
import { calculateJwkThumbprint, EmbeddedJWK, jwtVerify, type JWK } from 'jose'
import type { Provider } from 'oidc-provider'
import type { AccessLimits } from '../../kernel/access-limits.ts'
import { CLOCK_TOLERANCE_SECONDS, MINUTE_MS } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'
import type { HttpRequest } from '../../kernel/http.ts'
import { digest } from '../../kernel/ids.ts'
import { createLoadingCache } from '../../kernel/loading-cache.ts'
import { PROOF_ALGORITHMS } from '../../kernel/public-keys.ts'
import { ANONYMOUS, type Caller, type CustomerCaller } from '../../kernel/request-context.ts'
import { isScope, type Scope } from '../../kernel/scopes.ts'
import type { World } from '../../kernel/world.ts'
import type { Signals } from '../../storage/signals.ts'
import type { Client, Clients } from '../../modules/clients/index.ts'
import type { Consent, Consents } from '../../modules/consents/index.ts'
import type { OauthStore } from './store.ts'

/** Dependencies of the guard. */
export interface GuardDependencies {
  readonly provider: Provider
  readonly store: OauthStore
  readonly clients: Clients
  readonly consents: Consents
  readonly signals: Signals
  readonly world: World
  readonly issuer: string
  readonly tokenLimits: AccessLimits
}

/** The maximum age of a DPoP proof, in seconds. */
const PROOF_MAX_AGE_S = 60

/**
 * Identifies the caller of a request. Without an `Authorization` header the caller is anonymous. Throws `UNAUTHENTICATED`,
 * `INVALID_DPOP_PROOF` or `CLIENT_SUSPENDED`.
 */
export type Authenticate = (request: HttpRequest) => Promise<Caller>

/** Whether a caller's token still exists and its client and consent are still ACTIVE. */
export type IsStillAuthorized = (caller: CustomerCaller) => Promise<boolean>

/** A token as it was loaded from the store. */
interface TokenRecord {
  readonly kind: 'AccessToken' | 'ClientCredentials'
  readonly clientId: string
  readonly grantId: string | undefined
  readonly scopes: ReadonlySet<Scope>
  /** The thumbprint of the key that the token is bound to. */
  readonly keyThumbprint: string | undefined
  readonly expiresAtMs: number
}

interface CachedCaller {
  readonly client: Client
  readonly consent: Consent | null
  readonly caller: Caller
}

const TOKEN_CACHE_OPTIONS = { maxBytes: 8_388_608, ttlMs: 5 * MINUTE_MS }

/**
 * Authenticates opaque access tokens (RFC 6750, RFC 9449) against the token store. A token must be bound to a DPoP key, unless
 * its client may use bearer tokens in the sandbox; its client and, for a customer token, its consent must be ACTIVE. Tokens are
 * cached until a signal invalidates them.
 */
export function createGuard({
  provider,
  store,
  clients,
  consents,
  signals,
  world,
  issuer,
  tokenLimits,
}: GuardDependencies): {
  authenticate: Authenticate
  isStillAuthorized: IsStillAuthorized
} {
  const tokens = createLoadingCache<TokenRecord | null>({
    clock: world.clock,
    ...TOKEN_CACHE_OPTIONS,
    tagsOf: (token) => (token?.grantId === undefined ? [] : [token.grantId]),
    coherence: signals.coherence,
  })
  /** Callers by token, so that an unchanged token yields the same object and caches keyed by caller stay valid. */
  const callerCache = new WeakMap<TokenRecord, CachedCaller>()
  signals.onSignal((signal) => {
    if (signal.kind === 'TOKEN') tokens.invalidate(signal.id)
    if (signal.kind === 'OAUTH_GRANT') tokens.invalidateTag(signal.id)
  })

  async function fetchToken(value: string): Promise<TokenRecord | null> {
    const token = (await provider.AccessToken.find(value)) ?? (await provider.ClientCredentials.find(value))
    if (!token?.isValid || token.aud !== `${issuer}/graphql`) return null
    return {
      kind: token.kind,
      clientId: token.clientId ?? '',
      grantId: token.kind === 'AccessToken' ? token.grantId : undefined,
      scopes: new Set((token.scope ?? '').split(' ').filter(isScope)),
      keyThumbprint: (token as { jkt?: string }).jkt,
      expiresAtMs: (token.exp ?? 0) * 1_000,
    }
  }

  /** If an address sends too many unknown tokens, only cached tokens are accepted from it for a while. */
  async function fetchTokenRateLimited(tokenId: string, value: string, ipAddress: string): Promise<TokenRecord | null> {
    tokenLimits.checkAddress(ipAddress)
    const token = await tokens.get(tokenId, () => fetchToken(value))
    if (!token) tokenLimits.recordFailure(ipAddress)
    return token
  }

  const authenticate: Authenticate = async (request) => {
    const header = request.headers.authorization
    if (header === undefined) return { ...ANONYMOUS, address: request.remoteAddress }
    const match = /^(DPoP|Bearer) ([\w.~+/-]{16,256}=*)$/i.exec(header)
    if (!match) throw unauthenticated('malformed authorization header')
    const [, scheme = '', value = ''] = match
    const tokenId = digest(value)
    const token = tokens.getIfPresent(tokenId) ?? (await fetchTokenRateLimited(tokenId, value, request.remoteAddress))
    if (!token || token.expiresAtMs <= world.clock.now().getTime()) throw unauthenticated('unknown or expired token')

    const { keyThumbprint } = token
    if (keyThumbprint) {
      if (scheme.toLowerCase() !== 'dpop') throw unauthenticated('DPoP-bound token sent as bearer token')
      await checkProof(request, value, keyThumbprint)
    } else if (scheme.toLowerCase() === 'dpop') throw unauthenticated('unbound token sent as DPoP token')

    const client = await clients.find(token.clientId)
    if (client?.status === 'SUSPENDED') throw new GatewayError('CLIENT_SUSPENDED')
    if (client?.status !== 'ACTIVE') throw unauthenticated('client is not active')
    if (!keyThumbprint && client.tokenBinding !== 'BEARER') throw unauthenticated('client must not use bearer tokens')
    const consent =
      token.kind === 'AccessToken' && token.grantId ? await consents.findActiveByOauthGrant(token.grantId) : null
    const cached = callerCache.get(token)
    if (cached?.client === client && cached.consent === consent) return cached.caller
    const caller = buildCaller(token, tokenId, client, consent)
    callerCache.set(token, { client, consent, caller })
    return caller
  }

  function buildCaller(token: TokenRecord, tokenId: string, client: Client, consent: Consent | null): Caller {
    const common = {
      clientId: client.id,
      tokenType: token.keyThumbprint === undefined ? ('Bearer' as const) : ('DPoP' as const),
      // Older tokens lose a scope when their client does.
      scopes: new Set([...token.scopes].filter((scope) => client.scopes.includes(scope))),
      quota: { pointsPerMinute: client.pointsPerMinute, pointsPerCustomerPerMinute: client.pointsPerCustomerPerMinute },
      registeredOnly: client.operationPolicy === 'REGISTERED_ONLY',
    }
    if (token.kind === 'ClientCredentials') return { kind: 'CLIENT', ...common }
    if (!consent?.customerId || consent.clientId !== client.id) throw unauthenticated('no active consent')
    const { expiresAtMs: tokenExpiresAtMs } = token
    const { customerId, id: consentId } = consent
    return { kind: 'CUSTOMER', ...common, customerId, consentId, tokenId, tokenExpiresAtMs }
  }

  async function checkProof(request: HttpRequest, token: string, keyThumbprint: string): Promise<void> {
    const proofs = request.raw.request.headersDistinct['dpop'] ?? []
    const [proof] = proofs
    if (!proof || proofs.length !== 1 || proof.length > 4_096)
      throw invalidProof('not exactly one proof of at most 4096 characters')
    const now = world.clock.now()
    const verified = await jwtVerify(proof, EmbeddedJWK, {
      typ: 'dpop+jwt',
      algorithms: [...PROOF_ALGORITHMS],
      currentDate: now,
    }).catch((error: unknown) => {
      throw invalidProof('proof does not verify', error)
    })
    const { payload, protectedHeader } = verified
    const nowS = Math.floor(now.getTime() / 1_000)
    const htu = URL.parse(typeof payload['htu'] === 'string' ? payload['htu'] : '')
    if (htu) htu.search = htu.hash = ''
    const areClaimsValid =
      payload['htm'] === request.method &&
      htu?.href === `${issuer}${request.url.pathname}` &&
      payload['ath'] === accessTokenHash(token) &&
      typeof payload.iat === 'number' &&
      payload.iat <= nowS + CLOCK_TOLERANCE_SECONDS &&
      nowS - payload.iat <= PROOF_MAX_AGE_S &&
      typeof payload.jti === 'string' &&
      payload.jti.length <= 256
    if (!areClaimsValid) throw invalidProof('invalid claims')
    if ((await calculateJwkThumbprint(protectedHeader.jwk as JWK)) !== keyThumbprint)
      throw unauthenticated('proof was signed with another key')
    if (!(await store.useOnce(`proof:${keyThumbprint}`, payload.jti!, new Date((nowS + 2 * PROOF_MAX_AGE_S) * 1_000))))
      throw invalidProof('proof was already used')
  }

  return {
    authenticate,
    async isStillAuthorized({ tokenId, clientId, consentId }) {
      const [token, client, consent] = await Promise.all([
        store.exists('AccessToken', tokenId),
        clients.find(clientId),
        consents.find(consentId),
      ])
      return token && client?.status === 'ACTIVE' && consent?.status === 'ACTIVE'
    },
  }
}

const unauthenticated = (internal: string): GatewayError =>
  new GatewayError('UNAUTHENTICATED', { internalMessage: internal })
const invalidProof = (internal: string, cause?: unknown): GatewayError =>
  new GatewayError('INVALID_DPOP_PROOF', { internalMessage: internal, cause })

/** The hash of an access token that a DPoP proof must have as `ath` (RFC 9449, 4.2). */
const accessTokenHash = (token: string): string => createHash('sha256').update(token).digest('base64url')
