import { isIP } from 'node:net'
import { createLocalJWKSet, jwtVerify, type JWTPayload } from 'jose'
import { bytesOfData, createCache } from '../../kernel/cache.ts'
import type { HttpRequest } from '../../kernel/http.ts'
import { digest } from '../../kernel/ids.ts'
import { SIGNING_ALGORITHMS, verificationKeys } from '../../kernel/public-keys.ts'
import type { Attendance, Caller, StatedCustomer } from '../../kernel/request.ts'
import type { World } from '../../kernel/world.ts'
import type { Client, Clients } from '../../modules/clients/index.ts'
import type { Consents } from '../../modules/consents/index.ts'

/** What a client's statement is checked against. */
export interface PresenceDependencies {
  readonly clients: Clients
  readonly consents: Consents
  readonly world: World
  readonly issuer: string
}

/** Where a client states that the customer is present. */
export const PRESENCE_HEADER = 'guichet-customer-present'
/** How old the customer's message may be, in seconds. */
export const PRESENCE_WINDOW_S = 60
const CLOCK_TOLERANCE_S = 5
type KeySet = ReturnType<typeof createLocalJWKSet>

const MAX_BYTES = 2_048
const REMEMBERED_BYTES = 4_194_304

/**
 * Whether the client has shown that its customer is present: a JWT of type `customer-present+jwt`, signed with one of
 * the client's registered keys, with `iss` the client, `sub` the client's name for the customer, `aud` the gateway and
 * `iat` the time of the customer's message, at most 60 s ago. The same statement serves for every request about the
 * message; how often an amount is told is counted elsewhere. `customer_ip` and `customer_user_agent` may say where the
 * message came from: banks are told of the customer's presence with that, and never without.
 */
export function createPresence({ clients, consents, world, issuer }: PresenceDependencies) {
  const imported = new WeakMap<Client, KeySet>()
  /** Statements that were found good, with the second until which they are. */
  const good = createCache<{ readonly untilS: number; readonly attendance: Attendance }>({
    maxBytes: REMEMBERED_BYTES,
    maxBytesPerOwner: REMEMBERED_BYTES / 4,
    bytesOf: bytesOfData,
  })

  /** Imported once, for as long as the client stays as it is. */
  function keysOf(client: Client): KeySet {
    let keys = imported.get(client)
    if (!keys) imported.set(client, (keys = createLocalJWKSet(verificationKeys(client.keys))))
    return keys
  }

  async function check(statement: string, caller: Caller & { kind: 'CUSTOMER' }): Promise<Attendance> {
    const client = await clients.find(caller.clientId)
    if (!client || statement.length > MAX_BYTES) return NOT_PROVEN
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
      const saidS = payload.iat ?? 0
      if (saidS > nowS + CLOCK_TOLERANCE_S) return NOT_PROVEN
      if (nowS - saidS > PRESENCE_WINDOW_S) return ABSENT
      const attendance: Attendance = { presence: 'PRESENT', customer: statedIn(payload) }
      good.set(keyOf(statement, caller), { untilS: saidS + PRESENCE_WINDOW_S, attendance }, client.id)
      return attendance
    } catch {
      return NOT_PROVEN
    }
  }

  return (request: HttpRequest, caller: Caller): Attendance | Promise<Attendance> => {
    const statement = request.headers[PRESENCE_HEADER]
    if (caller.kind !== 'CUSTOMER' || typeof statement !== 'string') return ABSENT
    const known = good.get(keyOf(statement, caller))
    if (known && world.clock.now().getTime() <= known.untilS * 1_000) return known.attendance
    return check(statement, caller)
  }
}

const ABSENT: Attendance = { presence: 'CUSTOMER_PRESENCE_REQUIRED', customer: null }
const NOT_PROVEN: Attendance = { presence: 'INVALID_PRESENCE_STATEMENT', customer: null }

function statedIn({ customer_ip: ip, customer_user_agent: userAgent }: JWTPayload): StatedCustomer | null {
  if (typeof ip !== 'string' || isIP(ip) === 0) return null
  const said = typeof userAgent === 'string' && /^[\x20-\x7e]{1,256}$/.test(userAgent)
  return { ip, userAgent: said ? userAgent : null }
}

const keyOf = (statement: string, { clientId, customerId }: Caller & { kind: 'CUSTOMER' }): string =>
  digest(`${clientId}/${customerId}/${statement}`)
