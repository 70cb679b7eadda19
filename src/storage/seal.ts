import { CompactEncrypt, compactDecrypt } from 'jose'
import { keyedDigest } from '../kernel/ids.ts'

/** What a sealed value belongs to, such as `connection:conn_...`; it opens under the same words only. */
export type SealContext = `${string}:${string}`

/** Keeps secrets unreadable in the database, in dumps and in backups. */
export interface Seal {
  /** A JWE (dir, A256GCM) whose header names the key and the context. */
  seal(context: SealContext, value: unknown): Promise<string>
  /** Throws where the value was changed, belongs elsewhere, or its key is not here. */
  open(context: SealContext, sealed: string): Promise<unknown>
  /** A digest that only holders of the key can make, for looking up what must not be readable. */
  digest(...parts: readonly string[]): string
  /** What every value begins with that is sealed with the newest key. */
  readonly prefix: string
  /** The key that digests are made with where no other is given: derived from the oldest key. */
  readonly derivedDigestKey: string
}

/** A 256-bit key and the id under which sealed values name it. */
export interface SealingKey {
  readonly id: string
  readonly bytes: Uint8Array
}

/**
 * Seals with the first key and opens with any. Digests must never change, or nothing would be found again: their key is
 * derived from the oldest key once, and given as `digestKey` ever after.
 */
export function createSeal(keys: readonly [SealingKey, ...SealingKey[]], digestKeyText?: string): Seal {
  const byId = new Map(keys.map((key) => [key.id, key.bytes]))
  const derivedDigestKey = keyedDigest(keys.at(-1)!.bytes, 'digest')
  const digestKey = Buffer.from(digestKeyText ?? derivedDigestKey, 'base64url')
  const header = Buffer.from(`{"alg":"dir","enc":"A256GCM","kid":"${keys[0].id}"`)
  return {
    derivedDigestKey,
    // Base64 in whole groups of three bytes, whatever follows.
    prefix: header.subarray(0, header.length - (header.length % 3)).toString('base64url'),
    seal: (context, value) =>
      new CompactEncrypt(Buffer.from(JSON.stringify(value)))
        .setProtectedHeader({ alg: 'dir', enc: 'A256GCM', kid: keys[0].id, ctx: context, crit: ['ctx'] })
        .encrypt(keys[0].bytes, { crit: { ctx: true } }),
    async open(context, sealed) {
      const { plaintext, protectedHeader } = await compactDecrypt(
        sealed,
        (header) => {
          const key = byId.get(header.kid ?? '')
          if (!key) throw new Error('sealed with a key that is not here')
          return key
        },
        { crit: { ctx: true }, keyManagementAlgorithms: ['dir'], contentEncryptionAlgorithms: ['A256GCM'] },
      )
      if (protectedHeader['ctx'] !== context) throw new Error('sealed for something else')
      return JSON.parse(Buffer.from(plaintext).toString('utf8')) as unknown
    },
    digest: (...parts) => keyedDigest(digestKey, ...parts),
  }
}
