import type { Scope } from '../../kernel/scopes.ts'
import type { Client } from './model.ts'

/**
 * The scope that at least one usable client must always have: with it, a client can give itself or another every other scope,
 * resume a suspended client and register a new one. Nothing else can undo its loss.
 */
export const ROOT_SCOPE: Scope = 'clients:manage'

/** The minimum points per minute with which an admin can list and change clients. */
export const ADMIN_QUOTA_MIN = 1_000

/** The requirements for a client that can administer clients, by field. */
type Requirement = 'clientId' | 'scopes' | 'operationPolicy' | 'pointsPerMinute' | 'tokenBinding' | 'jwks'

/** The first field whose requirement the client does not meet; undefined if it can administer clients. */
function findUnmetRequirement(client: Client, isBearerAllowed: boolean): Requirement | undefined {
  if (client.status !== 'ACTIVE') return 'clientId'
  if (!client.scopes.includes(ROOT_SCOPE)) return 'scopes'
  // A client that may send only registered operations cannot register the first one.
  if (client.operationPolicy !== 'ANY') return 'operationPolicy'
  if (client.pointsPerMinute < ADMIN_QUOTA_MIN) return 'pointsPerMinute'
  if (client.tokenBinding === 'BEARER' && !isBearerAllowed) return 'tokenBinding'
  // Nobody may have the private part of a key that was never used.
  if (client.authenticatedKids.length === 0) return 'jwks'
  return undefined
}

/** Whether the client can undo any change of clients now. */
export const canAdminister = (client: Client, isBearerAllowed: boolean): boolean =>
  findUnmetRequirement(client, isBearerAllowed) === undefined

/** The field whose change prevents the client from administering; undefined if it still can or never could. */
export const findLostRequirement = (
  before: Client,
  after: Client,
  isBearerAllowed: boolean,
): Requirement | undefined =>
  canAdminister(before, isBearerAllowed) ? findUnmetRequirement(after, isBearerAllowed) : undefined

/** The keys with which the client has authenticated and that `jwks` still contains, with the same material and `kid`. */
export function keepAuthenticatedKids(client: Client, jwks: Client['jwks']): string[] {
  const materialByKid = new Map(client.jwks.keys.map((key) => [key['kid'], keyMaterialOf(key)]))
  return jwks.keys
    .filter((key) => materialByKid.get(key['kid']) === keyMaterialOf(key))
    .map((key) => String(key['kid']))
    .filter((kid) => client.authenticatedKids.includes(kid))
}

/** The members that identify a public key, without its `kid` (RFC 7638). */
const keyMaterialOf = ({ kty, crv, x, y, n, e }: Record<string, unknown>): string =>
  JSON.stringify([kty, crv, x, y, n, e])
