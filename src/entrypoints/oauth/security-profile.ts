import { errors, type KoaContextWithOIDC } from 'oidc-provider'
import { CLOCK_TOLERANCE_SECONDS, type Clock } from '../../kernel/clock.ts'
import { keyFaults } from '../../kernel/public-keys.ts'
import { decodePart } from './unverified-jwt.ts'

/** How long a client assertion may be valid, in seconds. Our own rule: the profile names no limit. */
export const ASSERTION_LIFETIME_S = 300

/**
 * The rules for client assertions (RFC 7523) that the provider leaves open, at every endpoint where a client
 * authenticates: `aud` is the issuer and nothing else, `iat` is present, and the assertion lives for at most five
 * minutes. The provider has verified the signature, `iss`, `sub`, `exp`, `nbf` and the presence of `jti` before.
 * Throws `invalid_client` with the claim and what it must be.
 */
export function checkClientAssertion(claims: Readonly<Record<string, unknown>>, issuer: string, clock: Clock): void {
  const { aud, iat, exp } = claims
  if (aud !== issuer) throw invalidAssertion(`aud must be the issuer as one string, ${issuer}`)
  if (typeof iat !== 'number') throw invalidAssertion('iat must be a number: the second of issue')
  if (iat > nowInSeconds(clock) + CLOCK_TOLERANCE_SECONDS)
    throw invalidAssertion(`iat must be at most ${CLOCK_TOLERANCE_SECONDS} s ahead of the server's clock`)
  // With the rule for iat, exp is never more than five minutes and the tolerance ahead of our clock.
  if (typeof exp !== 'number' || exp <= iat || exp - iat > ASSERTION_LIFETIME_S)
    throw invalidAssertion(`exp must be later than iat, by at most ${ASSERTION_LIFETIME_S} s`)
}

/**
 * Refuses a DPoP proof (RFC 9449) that was issued in the future, or with a key that the key policy does not accept. The
 * provider accepts 300 s, and any time at all beside a nonce; a token is bound to the key, so that proofs at the graph need
 * no look at it again. Throws `invalid_dpop_proof` with the rule; what is not a proof at all is left to the provider.
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
