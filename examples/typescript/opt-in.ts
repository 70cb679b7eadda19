// How a platform lets a customer connect a bank, in one file to copy. It needs `jose` and nothing of Guichet. A link can be
// forwarded, so three things are bound: the link to a chat, by a label that the consent pages show; `state` to the person whose
// chat it is; and the tokens to a number that this person types into the chat. docs/PLATFORMS.md has the rules.
import { createHash, randomBytes, randomInt, randomUUID } from 'node:crypto'
import { createRemoteJWKSet, exportJWK, generateKeyPair, importJWK, jwtVerify, SignJWT, type JWK } from 'jose'
import type { Access } from './client.ts'

/** A chat of your platform. */
export interface Chat {
  readonly id: string
  /** How its owner recognises it. They must not be able to choose it freely: a masked telephone number such as `+44 … 123`. */
  readonly label: string
  /** The person whose chat it is, by your platform's ID. */
  readonly personId: string
  /** Subject (`sub`) of the customer, if the chat has connected a bank before. */
  readonly subject?: string
}

/** Your registration at the gateway. */
export interface Registration {
  readonly clientId: string
  readonly clientJwk: JWK
  readonly redirectUri: string
}

/** The opt-in ended without access; the message says why. Nothing that it returned may be used. */
export class OptInError extends Error {}

/** An opt-in whose customer has not come back yet. */
interface PendingOptIn {
  readonly chat: Chat
  readonly codeVerifier: string
  readonly dpopJwk: JWK
  readonly expiresAtMs: number
}

/** Access that may not be used before the number is confirmed. */
interface UnconfirmedAccess {
  readonly access: Access
  readonly refreshToken: string
  readonly number: string
  readonly expiresAtMs: number
}

const LIFETIME_MS = 600_000

/** Creates the opt-ins of your platform. They are in memory here; store them encrypted in your database. */
export function createOptIns(gateway: string, { clientId, clientJwk, redirectUri }: Registration) {
  const pending = new Map<string, PendingOptIn>()
  const unconfirmed = new Map<string, UnconfirmedAccess>()
  const keys = createRemoteJWKSet(new URL(`${gateway}/.well-known/jwks.json`))

  async function post(path: string, fields: Record<string, string>, dpopJwk?: JWK): Promise<Record<string, string>> {
    const key = await importJWK(clientJwk, 'ES256')
    const assertion = await new SignJWT({ jti: randomUUID() })
      .setProtectedHeader({ alg: 'ES256', kid: clientJwk.kid! })
      .setIssuer(clientId)
      .setSubject(clientId)
      .setAudience(gateway)
      .setIssuedAt()
      .setExpirationTime('60s')
      .sign(key)
    const response = await fetch(`${gateway}${path}`, {
      method: 'POST',
      headers: dpopJwk ? { dpop: await createProof(dpopJwk, `${gateway}${path}`) } : {},
      body: new URLSearchParams({
        ...fields,
        client_id: clientId,
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: assertion,
      }),
    })
    const text = await response.text()
    const body = (text === '' ? {} : JSON.parse(text)) as Record<string, string>
    if (!response.ok) throw new OptInError(`${body['error'] ?? ''}: ${body['error_description'] ?? ''}`)
    return body
  }

  return {
    /**
     * Step 1: the customer opens your own link in this chat. Returns the URL to redirect their browser to. Call it only then: the
     * URL works once and for one minute.
     */
    async start(chat: Chat, actions: readonly string[]): Promise<string> {
      const { privateKey } = await generateKeyPair('ES256', { extractable: true })
      const dpopJwk = await exportJWK(privateKey)
      const [state, codeVerifier] = [randomBytes(24).toString('base64url'), randomBytes(32).toString('base64url')]
      const details = {
        type: 'urn:guichet:account-information',
        actions,
        purposes: ['ANSWER_CUSTOMER'],
        chat: { label: chat.label },
      }
      const pushed = await post('/oauth/par', {
        response_type: 'code',
        redirect_uri: redirectUri,
        scope: ['openid', 'offline_access', ...actions].join(' '),
        state,
        code_challenge: createHash('sha256').update(codeVerifier).digest('base64url'),
        code_challenge_method: 'S256',
        authorization_details: JSON.stringify([details]),
      })
      pending.set(state, { chat, codeVerifier, dpopJwk, expiresAtMs: Date.now() + LIFETIME_MS })
      const query = new URLSearchParams({ client_id: clientId, request_uri: pushed['request_uri']! })
      return `${gateway}/oauth/authorize?${query.toString()}`
    },

    /**
     * Step 2: the browser comes back to your redirect URI. `personId` is who is signed in to your platform in this browser, if
     * anybody is. Show the number in this browser, with the label of the chat, and ask the customer to type it into that chat.
     * Throws `OptInError`.
     */
    async handleCallback(
      parameters: URLSearchParams,
      personId: string | undefined,
    ): Promise<{ chat: Chat; number: string }> {
      const state = parameters.get('state') ?? ''
      const optIn = pending.get(state)
      pending.delete(state)
      if (!optIn || optIn.expiresAtMs < Date.now()) throw new OptInError('state is unknown, was used, or has expired')
      if (parameters.get('iss') !== gateway) throw new OptInError('iss is another authorization server (RFC 9207)')
      const { chat, codeVerifier, dpopJwk } = optIn
      if (personId !== undefined && personId !== chat.personId)
        throw new OptInError('state belongs to the chat of another person: the link was forwarded')
      const code = parameters.get('code')
      if (code === null) throw new OptInError(parameters.get('error') ?? 'no code')
      const tokens = await post(
        '/oauth/token',
        { grant_type: 'authorization_code', code, code_verifier: codeVerifier, redirect_uri: redirectUri },
        dpopJwk,
      )
      const { payload } = await jwtVerify(tokens['id_token']!, keys, { issuer: gateway, audience: clientId })
      const access = { accessToken: tokens['access_token']!, clientId, clientJwk, dpopJwk, customer: payload.sub! }
      const refreshToken = tokens['refresh_token']!
      if (chat.subject !== undefined && chat.subject !== access.customer) {
        await post('/oauth/revoke', { token: refreshToken })
        throw new OptInError('sub is another customer than before in this chat')
      }
      const number = String(randomInt(100_000, 1_000_000))
      unconfirmed.set(chat.id, { access, refreshToken, number, expiresAtMs: Date.now() + LIFETIME_MS })
      return { chat, number }
    },

    /**
     * Step 3: a number was typed into the chat. Returns the access, which may be used from now on. A wrong number revokes it and
     * throws `OptInError`: there is one attempt.
     */
    async confirm(chatId: string, number: string): Promise<Access & { readonly refreshToken: string }> {
      const candidate = unconfirmed.get(chatId)
      unconfirmed.delete(chatId)
      if (!candidate) throw new OptInError('no opt-in waits for a number in this chat')
      if (candidate.number !== number || candidate.expiresAtMs < Date.now()) {
        await post('/oauth/revoke', { token: candidate.refreshToken })
        throw new OptInError('the number is wrong or has expired: start again')
      }
      return { ...candidate.access, refreshToken: candidate.refreshToken }
    },
  }
}

async function createProof({ kty, crv, x, y, d }: JWK, url: string): Promise<string> {
  const jwk = { kty, crv, x, y } as JWK
  return new SignJWT({ htm: 'POST', htu: url, jti: randomUUID() })
    .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk })
    .setIssuedAt()
    .sign(await importJWK({ ...jwk, d } as JWK, 'ES256'))
}
