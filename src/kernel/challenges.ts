import type { GatewayError } from './errors.ts'
import { PROOF_ALGORITHMS } from './public-keys.ts'

/** The scheme of `Authorization` that a token is sent with (RFC 6750, RFC 9449). */
export type TokenType = 'DPoP' | 'Bearer'

/** The metadata URL of `/graphql`, the gateway's one protected resource (RFC 9728, 3.1). */
export const resourceMetadataUrl = (issuer: string): string => `${issuer}/.well-known/oauth-protected-resource/graphql`

const resourceMetadataParameter = (issuer: string): string => `resource_metadata="${resourceMetadataUrl(issuer)}"`
const ALGORITHMS_PARAMETER = `algs="${PROOF_ALGORITHMS.join(' ')}"`

/** The `WWW-Authenticate` value for a request without a token; it names no error (RFC 6750, 3.1). */
export const tokenChallenge = (issuer: string): string =>
  `DPoP ${ALGORITHMS_PARAMETER}, ${resourceMetadataParameter(issuer)}`

/** The `WWW-Authenticate` value for a rejected token or DPoP proof. */
export const invalidTokenChallenge = ({ code }: GatewayError, issuer: string): string =>
  `DPoP error="${code === 'INVALID_DPOP_PROOF' ? 'invalid_dpop_proof' : 'invalid_token'}", ${ALGORITHMS_PARAMETER}, ${resourceMetadataParameter(issuer)}`

/** The `WWW-Authenticate` value for a valid token that lacks scopes; with `scopes`, the request would succeed. */
export const insufficientScopeChallenge = (tokenType: TokenType, scopes: readonly string[], issuer: string): string =>
  `${tokenType} error="insufficient_scope", scope="${scopes.join(' ')}", ${resourceMetadataParameter(issuer)}`
