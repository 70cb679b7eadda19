import type { Scope } from '../../kernel/scopes.ts'
import type { Client } from './model.ts'

/**
 * The one scope that must always have a usable holder: with it a client can give itself or another every other scope,
 * resume a suspended client and register a new one. Nothing else can undo its loss.
 */
export const ROOT_SCOPE: Scope = 'clients:manage'

/** Below this many points a minute an admin could not pay for listing and changing clients. */
export const ADMIN_QUOTA_MIN = 1_000

/** What a client must be in order to count as an admin who can undo a change, by the field that decides it. */
type Requirement = 'clientId' | 'scopes' | 'operationPolicy' | 'pointsPerMinute' | 'tokenBinding' | 'jwks'

/** The first field for which the client cannot administer clients; nothing where it can. */
function findUnmetRequirement(client: Client, isBearerAllowed: boolean): Requirement | undefined {
  if (client.status !== 'ACTIVE') return 'clientId'
  if (!client.scopes.includes(ROOT_SCOPE)) return 'scopes'
  // A client that may send registered operations only cannot register the first one either.
  if (client.operationPolicy !== 'ANY') return 'operationPolicy'
  if (client.pointsPerMinute < ADMIN_QUOTA_MIN) return 'pointsPerMinute'
  if (client.tokenBinding === 'BEARER' && !isBearerAllowed) return 'tokenBinding'
  // A key that never authenticated may be one that nobody holds.
  if (client.authenticatedKids.length === 0) return 'jwks'
  return undefined
}

/** Whether the client can undo any change of clients, as it is: somebody holds a key of it. */
export const canAdminister = (client: Client, isBearerAllowed: boolean): boolean =>
  findUnmetRequirement(client, isBearerAllowed) === undefined

/** The field by which a change takes away a client's ability to administer; nothing where it keeps it or never had it. */
export const findLostRequirement = (
  before: Client,
  after: Client,
  isBearerAllowed: boolean,
): Requirement | undefined =>
  canAdminister(before, isBearerAllowed) ? findUnmetRequirement(after, isBearerAllowed) : undefined

/** Of the keys that the client has authenticated with, those that `jwks` still has: the same material under the same name. */
export function keepAuthenticatedKids(client: Client, jwks: Client['jwks']): string[] {
  const materialByKid = new Map(client.jwks.keys.map((key) => [key['kid'], keyMaterialOf(key)]))
  return jwks.keys
    .filter((key) => materialByKid.get(key['kid']) === keyMaterialOf(key))
    .map((key) => String(key['kid']))
    .filter((kid) => client.authenticatedKids.includes(kid))
}

/** What tells one public key from another, whatever it is called (the members of RFC 7638). */
const keyMaterialOf = ({ kty, crv, x, y, n, e }: Record<string, unknown>): string =>
  JSON.stringify([kty, crv, x, y, n, e])
