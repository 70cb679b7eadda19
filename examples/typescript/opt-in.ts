// How a platform connects a customer's bank, in one file to copy. It needs `jose` and nothing of Guichet. A link can be
// forwarded, so three things are bound here: the link to a chat, by a label that the consent pages show; `state` to the
// person whose chat it is; and the tokens to a number that this person types into the chat. docs/PLATFORMS.md has the rules.
import { createHash, randomBytes, randomInt, randomUUID } from 'node:crypto'
import { createRemoteJWKSet, exportJWK, generateKeyPair, importJWK, jwtVerify, SignJWT, type JWK } from 'jose'
import type { Access } from './client.ts'

/** A chat of your platform. */
export interface Chat {
  readonly id: string
  /** What its owner knows it by and cannot choose freely, such as the masked number of their account: `+44 … 123`. */
  readonly label: string
  /** The account at your platform whose chat it is. */
  readonly personId: string
  /** Your name for the customer (`sub`), where the chat has connected a bank before. */
  readonly subject?: string
}

/** Your registration at the gateway. */
export interface Registration {
  readonly clientId: string
  readonly clientJwk: JWK
  readonly redirectUri: string
}

/** The opt-in ended without access, for the reason that is given. Nothing of it may be used. */
export class OptInRefused extends Error {}

interface Begun {
  readonly chat: Chat
  readonly codeVerifier: string
  readonly dpopJwk: JWK
  readonly untilMs: number
}
interface Unconfirmed {
  readonly access: Access
  readonly refreshToken: string
  readonly number: string
  readonly untilMs: number
}

const TEN_MINUTES_MS = 600_000

/** The opt-ins of your platform. What is in memory here belongs into your database, sealed. */
export function optIns(gateway: string, { clientId, clientJwk, redirectUri }: Registration) {
  const begun = new Map<string, Begun>()
  const unconfirmed = new Map<string, Unconfirmed>()
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
      headers: dpopJwk ? { dpop: await proof(dpopJwk, `${gateway}${path}`) } : {},
      body: new URLSearchParams({
        ...fields,
        client_id: clientId,
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: assertion,
      }),
    })
    const text = await response.text()
    const answer = (text === '' ? {} : JSON.parse(text)) as Record<string, string>
    if (!response.ok) throw new OptInRefused(`${answer['error'] ?? ''}: ${answer['error_description'] ?? ''}`)
    return answer
  }

  return {
    /**
     * 1. Where to redirect when the customer taps your own link in this chat. Call it then and not before: the address works
     * once and for a minute.
     */
    async begin(chat: Chat, actions: readonly string[]): Promise<string> {
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
      begun.set(state, { chat, codeVerifier, dpopJwk, untilMs: Date.now() + TEN_MINUTES_MS })
      const query = new URLSearchParams({ client_id: clientId, request_uri: pushed['request_uri']! })
      return `${gateway}/oauth/authorize?${query.toString()}`
    },

    /**
     * 2. The browser came back to your callback. `personId` is who is signed in to your platform in this browser, where
     * somebody is. Show the number in this browser, with the label of the chat, and ask to type it into that chat.
     */
    async returned(answer: URLSearchParams, personId: string | undefined): Promise<{ chat: Chat; number: string }> {
      const state = answer.get('state') ?? ''
      const visit = begun.get(state)
      begun.delete(state)
      if (!visit || visit.untilMs < Date.now()) throw new OptInRefused('state is unknown, was used, or is too old')
      if (answer.get('iss') !== gateway) throw new OptInRefused('iss is another authorization server (RFC 9207)')
      const { chat, codeVerifier, dpopJwk } = visit
      if (personId !== undefined && personId !== chat.personId)
        throw new OptInRefused('state is of another person’s chat: the link was forwarded')
      const code = answer.get('code')
      if (code === null) throw new OptInRefused(answer.get('error') ?? 'no code')
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
        throw new OptInRefused('sub is another customer than the one of this chat')
      }
      const number = String(randomInt(100_000, 1_000_000))
      unconfirmed.set(chat.id, { access, refreshToken, number, untilMs: Date.now() + TEN_MINUTES_MS })
      return { chat, number }
    },

    /** 3. Somebody typed a number into the chat. Only now may the tokens be used; a wrong number ends the consent. */
    async confirm(chatId: string, number: string): Promise<Access & { readonly refreshToken: string }> {
      const held = unconfirmed.get(chatId)
      unconfirmed.delete(chatId)
      if (!held) throw new OptInRefused('nothing waits for a number in this chat')
      if (held.number !== number || held.untilMs < Date.now()) {
        await post('/oauth/revoke', { token: held.refreshToken })
        throw new OptInRefused('the number is wrong or too old; start again')
      }
      return { ...held.access, refreshToken: held.refreshToken }
    },
  }
}

async function proof({ kty, crv, x, y, d }: JWK, url: string): Promise<string> {
  const jwk = { kty, crv, x, y } as JWK
  return new SignJWT({ htm: 'POST', htu: url, jti: randomUUID() })
    .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk })
    .setIssuedAt()
    .sign(await importJWK({ ...jwk, d } as JWK, 'ES256'))
}
