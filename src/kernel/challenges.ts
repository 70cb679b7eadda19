import type { GatewayError } from './errors.ts'
import { PROOF_ALGORITHMS } from './public-keys.ts'

/** How a token is shown (RFC 6750 and 9449): the scheme of `Authorization`. */
export type TokenType = 'DPoP' | 'Bearer'

/** Where the metadata of the graph lies, the gateway's one protected resource (RFC 9728, 3.1). */
export const resourceMetadataUrl = (issuer: string): string => `${issuer}/.well-known/oauth-protected-resource/graphql`

const resourceMetadataParameter = (issuer: string): string => `resource_metadata="${resourceMetadataUrl(issuer)}"`
const ALGORITHMS_PARAMETER = `algs="${PROOF_ALGORITHMS.join(' ')}"`

/** The `WWW-Authenticate` of a request without a token: it names no error (RFC 6750, 3.1). */
export const tokenChallenge = (issuer: string): string =>
  `DPoP ${ALGORITHMS_PARAMETER}, ${resourceMetadataParameter(issuer)}`

/** The `WWW-Authenticate` of a token or a proof that is not accepted. */
export const invalidTokenChallenge = ({ code }: GatewayError, issuer: string): string =>
  `DPoP error="${code === 'INVALID_DPOP_PROOF' ? 'invalid_dpop_proof' : 'invalid_token'}", ${ALGORITHMS_PARAMETER}, ${resourceMetadataParameter(issuer)}`

/** The `WWW-Authenticate` of a token that is good, and lacks scopes: `scopes` are those with which the request succeeds. */
export const insufficientScopeChallenge = (tokenType: TokenType, scopes: readonly string[], issuer: string): string =>
  `${tokenType} error="insufficient_scope", scope="${scopes.join(' ')}", ${resourceMetadataParameter(issuer)}`
