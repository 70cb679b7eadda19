// A client of the graph in one file, to copy: it signs each request with the key that its token is bound to (DPoP), and
// states that the customer is present where they are. It needs `jose` and nothing of Guichet.
import { createHash, randomUUID } from 'node:crypto'
import { importJWK, SignJWT, type JWK } from 'jose'

/** What `npx guichet sandbox token --customer ada --json` prints; in your own platform, what your sign-in brought. */
export interface Access {
  readonly accessToken: string
  readonly clientId: string
  /** The key that your client is registered with, private. */
  readonly clientJwk: JWK
  /** The key that the token is bound to, private. */
  readonly dpopJwk: JWK
  /** Your name for the customer: `customer.id`, or `sub` of the id token. */
  readonly customer: string
}

/** What was refused, in the gateway's own code. */
export class GuichetError extends Error {
  readonly code: string
  readonly requestId: string
  constructor(code: string, message: string, requestId: string) {
    super(`${code}: ${message}`)
    this.code = code
    this.requestId = requestId
  }
}

interface Answer<T> {
  readonly data?: T | null
  readonly errors?: readonly { message: string; extensions: { code: string; requestId: string } }[]
}

/** Asks as one customer. `messageAt` is when their message came, where they are writing to you: amounts need it. */
export function guichetClient(gateway: string, access: Access) {
  const url = `${gateway}/graphql`

  async function proof(): Promise<string> {
    const { kty, crv, x, y } = access.dpopJwk
    const ath = createHash('sha256').update(access.accessToken).digest('base64url')
    return new SignJWT({ htm: 'POST', htu: url, jti: randomUUID(), ath })
      .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk: { kty, crv, x, y } as JWK })
      .setIssuedAt()
      .sign(await importJWK(access.dpopJwk, 'ES256'))
  }

  async function presence(messageAt: Date): Promise<string> {
    return new SignJWT({})
      .setProtectedHeader({ alg: 'ES256', typ: 'customer-present+jwt', kid: access.clientJwk.kid! })
      .setIssuer(access.clientId)
      .setSubject(access.customer)
      .setAudience(gateway)
      .setIssuedAt(messageAt)
      .sign(await importJWK(access.clientJwk, 'ES256'))
  }

  return {
    async ask<Query, Variables>(query: string, variables: Variables, messageAt?: Date): Promise<Query> {
      const response = await fetch(url, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          accept: 'application/json',
          authorization: `DPoP ${access.accessToken}`,
          dpop: await proof(),
          ...(messageAt && { 'guichet-customer-present': await presence(messageAt) }),
        },
        body: JSON.stringify({ query, variables }),
      })
      const { data, errors } = (await response.json()) as Answer<Query>
      const [error] = errors ?? []
      if (error) throw new GuichetError(error.extensions.code, error.message, error.extensions.requestId)
      if (!data) throw new Error(`HTTP ${String(response.status)} without an answer`)
      return data
    },
  }
}
