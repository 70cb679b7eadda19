import { isIP } from 'node:net'
import { createLocalJWKSet, jwtVerify, type JWTPayload } from 'jose'
import { bytesOfData, createBoundedCache } from '../../kernel/cache.ts'
import type { HttpRequest } from '../../kernel/http.ts'
import { digest } from '../../kernel/ids.ts'
import { SIGNING_ALGORITHMS, toVerificationKeys } from '../../kernel/public-keys.ts'
import type { CustomerPresence, Caller, PresentCustomer } from '../../kernel/request-context.ts'
import type { World } from '../../kernel/world.ts'
import type { Client, Clients } from '../../modules/clients/index.ts'
import type { Consents } from '../../modules/consents/index.ts'

/** Dependencies of presence statements. */
export interface PresenceDependencies {
  readonly clients: Clients
  readonly consents: Consents
  readonly world: World
  readonly issuer: string
}

/** The request header that holds a client's presence statement. */
export const PRESENCE_HEADER = 'guichet-customer-present'
/** The maximum age of the customer's message, in seconds. */
export const PRESENCE_MAX_AGE_S = 60
const CLOCK_TOLERANCE_S = 5
type KeySet = ReturnType<typeof createLocalJWKSet>

const MAX_STATEMENT_BYTES = 2_048
const CACHE_MAX_BYTES = 4_194_304

/**
 * Checks the statement by which a client shows that its customer is present: a JWT of type `customer-present+jwt`, signed with
 * one of the client's registered keys, with `iss` the client, `sub` the client's subject for the customer, `aud` the gateway
 * and `iat` the time of the customer's message, at most 60 s ago. One statement is valid for all requests about the message;
 * disclosure limits are counted elsewhere. Banks learn of the customer's presence only if the statement has `customer_ip`;
 * `customer_user_agent` is optional.
 */
export function createPresence({ clients, consents, world, issuer }: PresenceDependencies) {
  const keySets = new WeakMap<Client, KeySet>()
  /** Verified statements, with the Unix time in seconds until which they are valid. */
  const verifiedStatements = createBoundedCache<{
    readonly validUntilS: number
    readonly customerPresence: CustomerPresence
  }>({
    maxBytes: CACHE_MAX_BYTES,
    maxBytesPerOwner: CACHE_MAX_BYTES / 4,
    bytesOf: bytesOfData,
  })

  /** Imports a client's keys once for each version of the client. */
  function keysOf(client: Client): KeySet {
    let keys = keySets.get(client)
    if (!keys) keySets.set(client, (keys = createLocalJWKSet(toVerificationKeys(client.jwks))))
    return keys
  }

  async function verifyStatement(statement: string, caller: Caller & { kind: 'CUSTOMER' }): Promise<CustomerPresence> {
    const client = await clients.find(caller.clientId)
    if (!client || statement.length > MAX_STATEMENT_BYTES) return NOT_PROVEN
    const now = world.clock.now()
    try {
      const { payload } = await jwtVerify(statement, keysOf(client), {
        typ: 'customer-present+jwt',
        algorithms: [...SIGNING_ALGORITHMS],
        issuer: client.id,
        subject: consents.subjectOf(client.id, caller.customerId),
        audience: issuer,
        requiredClaims: ['iat'],
        currentDate: now,
      })
      const nowS = Math.floor(now.getTime() / 1_000)
      const issuedAtS = payload.iat ?? 0
      if (issuedAtS > nowS + CLOCK_TOLERANCE_S) return NOT_PROVEN
      if (nowS - issuedAtS > PRESENCE_MAX_AGE_S) return ABSENT
      const customerPresence: CustomerPresence = { presence: 'PRESENT', customer: parseStatedCustomer(payload) }
      verifiedStatements.set(
        cacheKeyOf(statement, caller),
        { validUntilS: issuedAtS + PRESENCE_MAX_AGE_S, customerPresence },
        client.id,
      )
      return customerPresence
    } catch {
      return NOT_PROVEN
    }
  }

  return (request: HttpRequest, caller: Caller): CustomerPresence | Promise<CustomerPresence> => {
    const statement = request.headers[PRESENCE_HEADER]
    if (caller.kind !== 'CUSTOMER' || typeof statement !== 'string') return ABSENT
    const cached = verifiedStatements.get(cacheKeyOf(statement, caller))
    if (cached && world.clock.now().getTime() <= cached.validUntilS * 1_000) return cached.customerPresence
    return verifyStatement(statement, caller)
  }
}

const ABSENT: CustomerPresence = { presence: 'CUSTOMER_PRESENCE_REQUIRED', customer: null }
const NOT_PROVEN: CustomerPresence = { presence: 'INVALID_PRESENCE_STATEMENT', customer: null }

function parseStatedCustomer({ customer_ip: ip, customer_user_agent: userAgent }: JWTPayload): PresentCustomer | null {
  if (typeof ip !== 'string' || isIP(ip) === 0) return null
  const isUserAgentValid = typeof userAgent === 'string' && /^[\x20-\x7e]{1,256}$/.test(userAgent)
  return { ip, userAgent: isUserAgentValid ? userAgent : null }
}

const cacheKeyOf = (statement: string, { clientId, customerId }: Caller & { kind: 'CUSTOMER' }): string =>
  digest(`${clientId}/${customerId}/${statement}`)
