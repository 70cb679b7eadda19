import { createHmac, createPrivateKey, createSecretKey, generateKeyPairSync, sign, type KeyObject } from 'node:crypto'

/** The keys of an endpoint as text, in the format of Standard Webhooks 1.0. */
export interface WebhookKeyTexts {
  /** The shared secret: `whsec_` and base64 of 32 random bytes. */
  readonly secret: string
  /** The private Ed25519 key: `whsk_` and base64 of the 32 bytes of RFC 8032 and the public key. Absent if there is no key pair. */
  readonly privateKey: string | undefined
}

/** Keys that sign. */
export interface SigningKeys {
  readonly secret: KeyObject
  /** Absent for endpoints from before there were key pairs. */
  readonly privateKey: KeyObject | undefined
}

const SEED_BYTES = 32
/** The DER before the private key in PKCS #8 (RFC 8410, 7). */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex')

/** Generates the keys of an endpoint. The public key is `whpk_` and base64 of its 32 bytes. */
export function generateWebhookKeys(random: Buffer): WebhookKeyTexts & { readonly publicKey: string } {
  const { privateKey } = generateKeyPairSync('ed25519')
  const { d = '', x = '' } = privateKey.export({ format: 'jwk' })
  const [seed, publicBytes] = [Buffer.from(d, 'base64url'), Buffer.from(x, 'base64url')]
  return {
    secret: `whsec_${random.toString('base64')}`,
    privateKey: `whsk_${Buffer.concat([seed, publicBytes]).toString('base64')}`,
    publicKey: `whpk_${publicBytes.toString('base64')}`,
  }
}

/** Imports keys. */
export const importWebhookKeys = ({ secret, privateKey }: WebhookKeyTexts): SigningKeys => ({
  secret: createSecretKey(decode(secret, 'whsec_')),
  privateKey: privateKey === undefined ? undefined : importPrivateKey(privateKey),
})

function importPrivateKey(text: string): KeyObject {
  const seed = decode(text, 'whsk_').subarray(0, SEED_BYTES)
  return createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, seed]), format: 'der', type: 'pkcs8' })
}

const decode = (text: string, prefix: string): Buffer => Buffer.from(text.slice(prefix.length), 'base64')

/**
 * The headers of one attempt (Standard Webhooks 1.0). `id` is the same for every attempt; `at` and the signatures are not. Each of the
 * keys adds a signature `v1` (HMAC-SHA-256) and one `v1a` (Ed25519).
 */
export function webhookHeaders(
  keys: readonly SigningKeys[],
  id: string,
  at: Date,
  body: string,
): Record<string, string> {
  const timestamp = String(Math.floor(at.getTime() / 1_000))
  const content = Buffer.from(`${id}.${timestamp}.${body}`)
  const signatures = keys.flatMap(({ secret, privateKey }) => [
    `v1,${createHmac('sha256', secret).update(content).digest('base64')}`,
    ...(privateKey ? [`v1a,${sign(null, content, privateKey).toString('base64')}`] : []),
  ])
  return { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signatures.join(' ') }
}
