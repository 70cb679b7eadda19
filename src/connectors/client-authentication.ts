import { importJWK, type CryptoKey } from 'jose'
import * as oauth from 'oauth4webapi'
import { GatewayError } from '../kernel/errors.ts'
import type { ConnectorTools } from './connector.ts'
import type { OauthProfile } from './oauth-profile.ts'

/** The gateway's private signing key for a bank, with its `kid`, in the form of the OAuth library. */
export async function signingKeyOf({ credentials }: Pick<ConnectorTools, 'credentials'>): Promise<{
  readonly key: CryptoKey
  readonly kid: string
}> {
  const { signingKey } = credentials
  const key = await importJWK({ ...signingKey }, signingKey.alg ?? 'ES256')
  if (key instanceof Uint8Array)
    throw new GatewayError('INTERNAL', { internalMessage: 'connector key is not asymmetric' })
  return { key, kid: signingKey.kid }
}

/** Names the algorithm of an Ed25519 key `EdDSA`, which banks know, and not `Ed25519` (RFC 9864). */
export function nameAlgorithm(header: { alg?: unknown }): void {
  if (header.alg === 'Ed25519') header.alg = 'EdDSA'
}

/** The client authentication of a profile. Throws `BANK_REFUSED` if it needs a secret and the gateway has none. */
export async function createClientAuthentication(
  profile: OauthProfile,
  tools: Pick<ConnectorTools, 'credentials'>,
): Promise<oauth.ClientAuth> {
  switch (profile.clientAuthentication) {
    case 'private_key_jwt':
      return createAssertionAuthentication(profile, await signingKeyOf(tools))
    case 'tls_client_auth':
    case 'self_signed_tls_client_auth':
      return oauth.TlsClientAuth()
    case 'client_secret_basic':
      return oauth.ClientSecretBasic(requireSecret(tools))
    case 'client_secret_post':
      return oauth.ClientSecretPost(requireSecret(tools))
    case 'none':
      return oauth.None()
  }
}

/** A single-use assertion (RFC 7523, 3) for the issuer, or for the token endpoint where a bank expects it. */
const createAssertionAuthentication =
  ({ assertionAudience }: OauthProfile, key: oauth.PrivateKey): oauth.ClientAuth =>
  (server, client, body, headers) => {
    const authenticate = oauth.PrivateKeyJwt(key, {
      [oauth.modifyAssertion](header, payload) {
        nameAlgorithm(header)
        if (assertionAudience === 'TOKEN_ENDPOINT') payload['aud'] = server.token_endpoint!
      },
    })
    return authenticate(server, client, body, headers)
  }

function requireSecret({ credentials: { clientSecret } }: Pick<ConnectorTools, 'credentials'>): string {
  if (clientSecret === undefined)
    throw new GatewayError('BANK_REFUSED', { internalMessage: 'no client secret is stored for this bank' })
  return clientSecret
}
