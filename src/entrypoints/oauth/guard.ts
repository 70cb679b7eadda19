import { calculateJwkThumbprint, EmbeddedJWK, jwtVerify, type JWK } from 'jose'
import type { Provider } from 'oidc-provider'
import type { AccessLimits } from '../../kernel/access-limits.ts'
import { CLOCK_TOLERANCE_S, MINUTE_MS } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'
import type { HttpRequest } from '../../kernel/http.ts'
import { digest } from '../../kernel/ids.ts'
import { createMemory } from '../../kernel/memory.ts'
import { PROOF_ALGORITHMS } from '../../kernel/public-keys.ts'
import { ANONYMOUS, type Caller, type CustomerCaller } from '../../kernel/request.ts'
import { isScope, type Scope } from '../../kernel/scopes.ts'
import type { World } from '../../kernel/world.ts'
import type { Client, Clients } from '../../modules/clients/index.ts'
import type { Consent, Consents } from '../../modules/consents/index.ts'
import type { Outbox } from '../../modules/outbox/index.ts'
import { accessTokenHash } from './provider.ts'
import type { OauthStore } from './store.ts'

/** What the guard asks before it lets anybody in. */
export interface GuardDependencies {
  readonly provider: Provider
  readonly store: OauthStore
  readonly clients: Clients
  readonly consents: Consents
  readonly outbox: Outbox
  readonly world: World
  readonly issuer: string
  readonly tokenLimits: AccessLimits
}

/** How old a proof may be. */
const PROOF_WINDOW_S = 60

/** Finds out who asks. Throws `UNAUTHENTICATED` or `INVALID_DPOP_PROOF`; without a token the caller is anonymous. */
export type Authenticate = (request: HttpRequest) => Promise<Caller>

/** Whether what a caller came in with still opens anything: the token, its client, and the consent that it hangs on. */
export type IsOpen = (caller: CustomerCaller) => Promise<boolean>

/** What a token says, as it was looked up. */
interface KnownToken {
  readonly kind: 'AccessToken' | 'ClientCredentials'
  readonly clientId: string
  readonly grantId: string | undefined
  readonly scopes: ReadonlySet<Scope>
  /** The thumbprint of the key that it is bound to. */
  readonly boundTo: string | undefined
  readonly expiresAtMs: number
}

interface Seen {
  readonly client: Client
  readonly consent: Consent | null
  readonly caller: Caller
}

const REMEMBERED = { maxBytes: 8_388_608, ttlMs: 5 * MINUTE_MS }

/**
 * Opaque tokens, looked up in our own store, bound to the client's key unless the client is a sandbox client for
 * bearer tokens, of a client that is active, on a consent that is live at this moment (RFC 6750, 9449). What was looked
 * up is remembered until word comes that it changed.
 */
export function createGuard({
  provider,
  store,
  clients,
  consents,
  outbox,
  world,
  issuer,
  tokenLimits,
}: GuardDependencies): {
  authenticate: Authenticate
  isOpen: IsOpen
} {
  const tokens = createMemory<KnownToken | null>({
    clock: world.clock,
    ...REMEMBERED,
    tagsOf: (token) => (token?.grantId === undefined ? [] : [token.grantId]),
    trusted: outbox.hearing,
  })
  /** The caller that came of a token with this client and consent, so that what is kept by caller is found again. */
  const seen = new WeakMap<KnownToken, Seen>()
  outbox.onSignal((signal) => {
    if (signal.kind === 'TOKEN') tokens.forget(signal.id)
    if (signal.kind === 'OAUTH_GRANT') tokens.forgetTagged(signal.id)
  })

  async function look(value: string): Promise<KnownToken | null> {
    const token = (await provider.AccessToken.find(value)) ?? (await provider.ClientCredentials.find(value))
    if (!token?.isValid || token.aud !== `${issuer}/graphql`) return null
    return {
      kind: token.kind,
      clientId: token.clientId ?? '',
      grantId: token.kind === 'AccessToken' ? token.grantId : undefined,
      scopes: new Set((token.scope ?? '').split(' ').filter(isScope)),
      boundTo: (token as { jkt?: string }).jkt,
      expiresAtMs: (token.exp ?? 0) * 1_000,
    }
  }

  /** Where an address guesses, only tokens that this process knows are accepted from it for a while. */
  async function lookUp(tokenId: string, value: string, address: string): Promise<KnownToken | null> {
    tokenLimits.check(address)
    const token = await tokens.get(tokenId, () => look(value))
    if (!token) tokenLimits.fail(address)
    return token
  }

  const authenticate: Authenticate = async (request) => {
    const header = request.headers.authorization
    if (header === undefined) return { ...ANONYMOUS, address: request.customerIp }
    const match = /^(DPoP|Bearer) ([\w.~+/-]{16,256}=*)$/i.exec(header)
    if (!match) throw unauthenticated('header')
    const [, scheme = '', value = ''] = match
    const tokenId = digest(value)
    const token = tokens.known(tokenId) ?? (await lookUp(tokenId, value, request.customerIp))
    if (!token || token.expiresAtMs <= world.clock.now().getTime()) throw unauthenticated('token')

    const { boundTo } = token
    if (boundTo) {
      if (scheme.toLowerCase() !== 'dpop') throw unauthenticated('bound token as bearer')
      await checkProof(request, value, boundTo)
    } else if (scheme.toLowerCase() === 'dpop') throw unauthenticated('unbound token as DPoP')

    const client = await clients.find(token.clientId)
    if (client?.status === 'SUSPENDED') throw new GatewayError('CLIENT_SUSPENDED')
    if (client?.status !== 'ACTIVE') throw unauthenticated('client')
    if (!boundTo && client.tokenBinding !== 'BEARER') throw unauthenticated('unbound token')
    const consent =
      token.kind === 'AccessToken' && token.grantId ? await consents.liveByOauthGrant(token.grantId) : null
    const before = seen.get(token)
    if (before?.client === client && before.consent === consent) return before.caller
    const caller = callerOf(token, tokenId, client, consent)
    seen.set(token, { client, consent, caller })
    return caller
  }

  function callerOf(token: KnownToken, tokenId: string, client: Client, consent: Consent | null): Caller {
    const common = {
      clientId: client.id,
      tokenType: token.boundTo === undefined ? ('Bearer' as const) : ('DPoP' as const),
      // A scope that the client has lost since is not had by its older tokens either.
      scopes: new Set([...token.scopes].filter((scope) => client.scopes.includes(scope))),
      quota: { perMinute: client.quotaPerMinute, perCustomer: client.customerQuotaPerMinute },
      registeredOnly: client.operations === 'REGISTERED',
    }
    if (token.kind === 'ClientCredentials') return { kind: 'CLIENT', ...common }
    if (!consent?.customerId || consent.clientId !== client.id) throw unauthenticated('consent')
    const { expiresAtMs: tokenExpiresAtMs } = token
    const { customerId, id: consentId } = consent
    return { kind: 'CUSTOMER', ...common, customerId, consentId, tokenId, tokenExpiresAtMs }
  }

  async function checkProof(request: HttpRequest, token: string, boundTo: string): Promise<void> {
    const proofs = request.raw.request.headersDistinct['dpop'] ?? []
    const [proof] = proofs
    if (!proof || proofs.length !== 1 || proof.length > 4_096) throw badProof('exactly one proof')
    const now = world.clock.now()
    const verified = await jwtVerify(proof, EmbeddedJWK, {
      typ: 'dpop+jwt',
      algorithms: [...PROOF_ALGORITHMS],
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
      payload.iat <= nowS + CLOCK_TOLERANCE_S &&
      nowS - payload.iat <= PROOF_WINDOW_S &&
      typeof payload.jti === 'string' &&
      payload.jti.length <= 256
    if (!fits) throw badProof('claims')
    if ((await calculateJwkThumbprint(protectedHeader.jwk as JWK)) !== boundTo) throw unauthenticated('other key')
    if (!(await store.useOnce(`proof:${boundTo}`, payload.jti!, new Date((nowS + 2 * PROOF_WINDOW_S) * 1_000))))
      throw badProof('used before')
  }

  return {
    authenticate,
    async isOpen({ tokenId, clientId, consentId }) {
      const [token, client, consent] = await Promise.all([
        store.isThere('AccessToken', tokenId),
        clients.find(clientId),
        consents.find(consentId),
      ])
      return token && client?.status === 'ACTIVE' && consent?.status === 'ACTIVE'
    },
  }
}

const unauthenticated = (internal: string): GatewayError => new GatewayError('UNAUTHENTICATED', { internal })
const badProof = (internal: string, cause?: unknown): GatewayError =>
  new GatewayError('INVALID_DPOP_PROOF', { internal, cause })
