/** Kinds whose ID is itself a bearer secret. They are stored by digest, so that a stolen table grants no access. */
export const SECRET_KINDS = new Set([
  'AccessToken',
  'RefreshToken',
  'AuthorizationCode',
  'ClientCredentials',
  'PushedAuthorizationRequest',
  'Session',
  'Interaction',
])
/** Kinds that grant access by themselves and are cached by the guard of each process. */
export const TOKEN_KINDS = new Set(['AccessToken', 'ClientCredentials'])
/**
 * Kinds that the library reads when a request begins and rewrites when it ends. If another request deletes one meanwhile, its
 * row stays as a tombstone, marked as consumed, for longer than any request takes.
 */
export const REWRITABLE_KINDS = new Set(['Session', 'Interaction'])
