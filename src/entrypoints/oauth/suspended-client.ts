import { createLocalJWKSet, decodeJwt, jwtVerify } from 'jose'
import { CLOCK_TOLERANCE_SECONDS, type Clock } from '../../kernel/clock.ts'
import type { Clients } from '../../modules/clients/index.ts'

/** The `error_description` of `invalid_client` (RFC 6749, 5.2) for a suspended client. */
export const SUSPENDED_DESCRIPTION = 'the client is suspended; an admin of the gateway can resume it'

/**
 * Whether an assertion is signed with a key of a suspended client. Only the client itself can learn that it is suspended: to the
 * provider, suspended clients do not exist.
 */
export async function isFromSuspendedClient(assertion: unknown, clients: Clients, clock: Clock): Promise<boolean> {
  if (typeof assertion !== 'string') return false
  try {
    const { sub = '' } = decodeJwt(assertion)
    const client = await clients.find(sub)
    if (client?.status !== 'SUSPENDED') return false
    const keys = createLocalJWKSet({ keys: [...client.jwks.keys] as never })
    await jwtVerify(assertion, keys, {
      issuer: sub,
      currentDate: clock.now(),
      clockTolerance: CLOCK_TOLERANCE_SECONDS,
      requiredClaims: ['exp'],
    })
    return true
  } catch {
    return false
  }
}
