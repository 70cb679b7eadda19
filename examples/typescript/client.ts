// A client of the GraphQL API in one file, to copy. It signs each request with the key that its token is bound to (DPoP, RFC 9449),
// and states that the customer is present. It needs `jose` and nothing of Guichet.
import { createHash, randomUUID } from 'node:crypto'
import { importJWK, SignJWT, type JWK } from 'jose'

/** What `npx guichet sandbox token --customer ada --json` prints, or what opt-in.ts returns. */
export interface Access {
  readonly accessToken: string
  readonly clientId: string
  /** Private key that your client is registered with. */
  readonly clientJwk: JWK
  /** Private key that the token is bound to. */
  readonly dpopJwk: JWK
  /** Subject of the customer: `customer.id`, or `sub` of the ID token. */
  readonly customer: string
}

/** The first error of a response, with the code of docs/ERRORS.md. */
export class GuichetError extends Error {
  readonly code: string
  readonly requestId: string
  constructor(code: string, message: string, requestId: string) {
    super(`${code}: ${message}`)
    this.code = code
    this.requestId = requestId
  }
}

interface GraphqlResponse<T> {
  readonly data?: T | null
  readonly errors?: readonly { message: string; extensions: { code: string; requestId: string } }[]
}

/** Creates a client that sends operations for one customer. */
export function createGuichetClient(gateway: string, access: Access) {
  const url = `${gateway}/graphql`

  async function createProof(): Promise<string> {
    const { kty, crv, x, y } = access.dpopJwk
    const ath = createHash('sha256').update(access.accessToken).digest('base64url')
    return new SignJWT({ htm: 'POST', htu: url, jti: randomUUID(), ath })
      .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk: { kty, crv, x, y } as JWK })
      .setIssuedAt()
      .sign(await importJWK(access.dpopJwk, 'ES256'))
  }

  async function createPresenceStatement(messageSentAt: Date): Promise<string> {
    return new SignJWT({})
      .setProtectedHeader({ alg: 'ES256', typ: 'customer-present+jwt', kid: access.clientJwk.kid! })
      .setIssuer(access.clientId)
      .setSubject(access.customer)
      .setAudience(gateway)
      .setIssuedAt(messageSentAt)
      .sign(await importJWK(access.clientJwk, 'ES256'))
  }

  return {
    /**
     * Sends an operation and returns its data. `messageSentAt` is when the customer sent the message that you answer; without it
     * exact balances are not disclosed. Throws `GuichetError`.
     */
    async query<Query, Variables>(operation: string, variables: Variables, messageSentAt?: Date): Promise<Query> {
      const response = await fetch(url, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          accept: 'application/json',
          authorization: `DPoP ${access.accessToken}`,
          dpop: await createProof(),
          ...(messageSentAt && { 'guichet-customer-present': await createPresenceStatement(messageSentAt) }),
        },
        body: JSON.stringify({ query: operation, variables }),
      })
      const { data, errors } = (await response.json()) as GraphqlResponse<Query>
      const [error] = errors ?? []
      if (error) throw new GuichetError(error.extensions.code, error.message, error.extensions.requestId)
      if (!data) throw new Error(`HTTP status ${String(response.status)} without data`)
      return data
    },
  }
}
