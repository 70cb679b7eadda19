import { errors, type KoaContextWithOIDC } from 'oidc-provider'
import { CLOCK_TOLERANCE_SECONDS, type Clock } from '../../kernel/clock.ts'
import { keyFaults } from '../../kernel/public-keys.ts'
import { decodePart } from './unverified-jwt.ts'

/** The lifetime of an access token, in seconds. */
export const ACCESS_TOKEN_LIFETIME_S = 300
/** The maximum lifetime of a client assertion, in seconds. The profile sets no limit. */
export const ASSERTION_LIFETIME_S = 300

/**
 * Checks the rules for client assertions (RFC 7523) that the provider does not, at every endpoint where a client
 * authenticates: `aud` is the issuer as one string, `iat` is present, and `exp` is at most five minutes after `iat`. The
 * provider has already verified the signature, `iss`, `sub`, `exp`, `nbf` and the presence of `jti`. Throws `invalid_client`
 * with the claim and its rule.
 */
export function checkClientAssertion(claims: Readonly<Record<string, unknown>>, issuer: string, clock: Clock): void {
  const { aud, iat, exp } = claims
  if (aud !== issuer) throw invalidAssertion(`aud must be the issuer as one string, ${issuer}`)
  if (typeof iat !== 'number') throw invalidAssertion('iat must be a number: the time of issue in seconds')
  if (iat > nowInSeconds(clock) + CLOCK_TOLERANCE_SECONDS)
    throw invalidAssertion(`iat must be at most ${CLOCK_TOLERANCE_SECONDS} s ahead of the server's clock`)
  // With the rule for iat, exp is never more than five minutes and the tolerance ahead of our clock.
  if (typeof exp !== 'number' || exp <= iat || exp - iat > ASSERTION_LIFETIME_S)
    throw invalidAssertion(`exp must be later than iat, by at most ${ASSERTION_LIFETIME_S} s`)
}

/**
 * Rejects a DPoP proof (RFC 9449) whose `iat` is ahead of our clock, or whose key the key policy does not accept. The provider
 * allows `iat` to be 300 s ahead, or any time with a nonce. Tokens are bound to the key, so proofs at the GraphQL API need no
 * further check of it. Throws `invalid_dpop_proof` with the rule; malformed proofs are left to the provider.
 */
export function checkDpopProof(ctx: KoaContextWithOIDC, clock: Clock): void {
  const proof = ctx.get('DPoP')
  const iat = decodePart(proof, 1)['iat']
  if (typeof iat === 'number' && iat > nowInSeconds(clock) + CLOCK_TOLERANCE_SECONDS)
    throw new errors.InvalidDpopProof(
      `DPoP proof iat must be at most ${CLOCK_TOLERANCE_SECONDS} s ahead of the server's clock`,
    )
  const { jwk } = decodePart(proof, 0)
  const [fault] = jwk === undefined ? [] : keyFaults(jwk)
  if (fault) throw new errors.InvalidDpopProof(`DPoP proof ${['jwk', ...fault.path].join('.')}: ${fault.message}`)
}

const nowInSeconds = (clock: Clock): number => Math.floor(clock.now().getTime() / 1_000)

function invalidAssertion(rule: string): errors.InvalidClientAuth {
  const error = new errors.InvalidClientAuth(rule)
  error.error_description = `client_assertion: ${rule}`
  return error
}
