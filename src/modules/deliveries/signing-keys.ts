import { createBoundedCache } from '../../kernel/cache.ts'
import { MINUTE_MS, type Clock } from '../../kernel/clock.ts'
import { digest } from '../../kernel/ids.ts'
import type { Seal } from '../../storage/seal.ts'
import { importWebhookKeys, type SigningKeys, type WebhookKeyTexts } from './signature.ts'

/** The context of an endpoint's sealed keys. */
export const secretContext = (webhookEndpointId: string) => `webhook-secret:${webhookEndpointId}` as const

/** Unseals the keys of an endpoint. Before there were key pairs, the secret was sealed alone. */
export async function unsealKeys(seal: Seal, webhookEndpointId: string, sealed: string): Promise<WebhookKeyTexts> {
  const value = await seal.unseal(secretContext(webhookEndpointId), sealed)
  return typeof value === 'string' ? { secret: value, privateKey: undefined } : (value as WebhookKeyTexts)
}

/** Unsealed and imported keys, for as long as a series of attempts needs them. */
export interface SigningKeyCache {
  /** The keys of an endpoint, in the order of `sealed`. Throws if one cannot be unsealed. */
  keysOf(webhookEndpointId: string, sealed: readonly string[]): Promise<readonly SigningKeys[]>
}

const TTL_MS = 5 * MINUTE_MS
const MAX_BYTES = 1_048_576
/** Estimated heap of two imported keys. */
const ENTRY_BYTES = 1_024

/** Creates the cache. It is keyed by the sealed text, so that a change of keys in any process needs no invalidation. */
export function createSigningKeyCache(seal: Seal, clock: Clock): SigningKeyCache {
  const cache = createBoundedCache<{ readonly keys: SigningKeys; readonly cachedAtMs: number }>({
    maxBytes: MAX_BYTES,
    bytesOf: () => ENTRY_BYTES,
  })

  async function load(webhookEndpointId: string, sealed: string): Promise<SigningKeys> {
    const key = digest(sealed)
    const nowMs = clock.now().getTime()
    const cached = cache.get(key)
    // The absolute difference, so that a clock that was set back does not prolong the time.
    if (cached && Math.abs(nowMs - cached.cachedAtMs) < TTL_MS) return cached.keys
    const keys = importWebhookKeys(await unsealKeys(seal, webhookEndpointId, sealed))
    cache.set(key, { keys, cachedAtMs: nowMs })
    return keys
  }

  return {
    keysOf: (webhookEndpointId, sealed) => Promise.all(sealed.map((text) => load(webhookEndpointId, text))),
  }
}
