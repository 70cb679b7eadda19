import { CompactSign } from 'jose'
import { z } from 'zod'
import { signingKeyOf } from './client-authentication.ts'
import type { ConnectorTools } from './connector.ts'
import { directoryDomain } from './event-rules.ts'
import type { GatewayAlgorithm } from './oauth-profile.ts'

/** When a message was signed, in seconds since 1970. */
export const IAT = 'http://openbanking.org.uk/iat'
/** The organisation that signed it. */
export const ISS = 'http://openbanking.org.uk/iss'
/** The domain of the directory that publishes the key. */
export const TAN = 'http://openbanking.org.uk/tan'
/** The critical header parameters of Open Banking ("Message Signing"); each must be in the protected header. */
export const OPEN_BANKING_PARAMETERS: Readonly<Record<string, boolean>> = { [IAT]: true, [ISS]: true, [TAN]: true }

/** Who signs messages to the bank, in a registration. */
export const messageSigningRules = z.strictObject({
  /** `{organisation id}/{software id}` of a directory, or the subject of another certificate. */
  issuer: z
    .string()
    .max(256)
    .regex(/^[\w.=,+ -]+(\/[\w.-]+)?$/, 'two ids with a slash between them, or a distinguished name'),
  /** The domain of the directory that publishes the signing key. */
  trustAnchor: directoryDomain.default('openbanking.org.uk'),
})
/** Who signs messages to the bank. */
export type MessageSigningRules = z.output<typeof messageSigningRules>

/**
 * The `x-jws-signature` of a request body: a JWS with a detached payload (RFC 7515, appendix F) and the header of Read/Write
 * 3.1.11 and 4.0, "Message Signing". There is no `b64`, as since 3.1.4.
 */
export async function signMessage(
  body: string,
  { issuer, trustAnchor }: MessageSigningRules,
  algorithm: GatewayAlgorithm,
  tools: Pick<ConnectorTools, 'clock' | 'credentials'>,
): Promise<string> {
  const { key, kid } = await signingKeyOf(tools)
  const header = {
    alg: algorithm,
    kid,
    typ: 'JOSE',
    cty: 'application/json',
    [IAT]: Math.floor(tools.clock.now().getTime() / 1_000),
    [ISS]: issuer,
    [TAN]: trustAnchor,
    crit: [IAT, ISS, TAN],
  }
  const signed = await new CompactSign(Buffer.from(body))
    .setProtectedHeader(header)
    .sign(key, { crit: OPEN_BANKING_PARAMETERS })
  const [protectedHeader, , signature] = signed.split('.')
  return `${protectedHeader}..${signature}`
}
