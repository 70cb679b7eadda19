import { exportJWK, generateKeyPair, type JWK } from 'jose'
import type { Randomness } from '../../kernel/ids.ts'

/** Secrets that all processes of an installation share. */
export interface OauthSecrets {
  readonly signingKeys: { keys: JWK[] }
  readonly cookieKeys: string[]
  readonly nonceSecret: string
}

/** Generates the secrets at the first start of an installation. */
export async function newOauthSecrets(randomness: Randomness): Promise<OauthSecrets> {
  const { privateKey } = await generateKeyPair('ES256', { extractable: true })
  const kid = randomness.bytes(8).toString('hex')
  return {
    signingKeys: { keys: [{ ...(await exportJWK(privateKey)), kid, alg: 'ES256', use: 'sig' }] },
    cookieKeys: [randomness.bytes(32).toString('base64url')],
    nonceSecret: randomness.bytes(32).toString('base64url'),
  }
}
