import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject } from 'node:crypto'
import { keyedDigest, systemRandomness } from '../kernel/ids.ts'

/** What a sealed value belongs to, such as `connection:conn_...`; it opens under the same words only. */
export type SealContext = `${string}:${string}`

/** Keeps secrets unreadable in the database, in dumps and in backups. */
export interface Seal {
  /** A JWE (dir, A256GCM) whose header names the key and the context. */
  seal(context: SealContext, value: unknown): Promise<string>
  /** Throws where the value was changed, belongs elsewhere, or its key is not here. */
  unseal(context: SealContext, sealed: string): Promise<unknown>
  /** A digest that only holders of the key can make, for looking up what must not be readable. */
  digest(...parts: readonly string[]): string
  /** What every value begins with that is sealed with the newest key. */
  readonly newestKeyPrefix: string
  /** Whether there are keys that open and do not seal any more. */
  readonly hasOlderKeys: boolean
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
  // Taken in once: for each use anew it costs more than the use.
  const byId = new Map(keys.map((key) => [key.id, createSecretKey(key.bytes)]))
  const derivedDigestKey = keyedDigest(keys.at(-1)!.bytes, 'digest')
  const digestKey = createSecretKey(digestKeyText ?? derivedDigestKey, 'base64url')
  const header = Buffer.from(`{"alg":"dir","enc":"A256GCM","kid":"${keys[0].id}"`)
  return {
    derivedDigestKey,
    hasOlderKeys: keys.length > 1,
    // Base64 in whole groups of three bytes, whatever follows.
    newestKeyPrefix: header.subarray(0, header.length - (header.length % 3)).toString('base64url'),
    seal: (context, value) =>
      Promise.resolve(encryptJwe(keys[0].id, byId.get(keys[0].id)!, context, JSON.stringify(value))),
    // eslint-disable-next-line @typescript-eslint/require-await -- what it throws is a rejection
    async unseal(context, sealed) {
      const { header, plaintext } = decryptJwe(sealed, byId)
      if (header['ctx'] !== context) throw new Error('sealed for something else')
      return JSON.parse(plaintext) as unknown
    },
    digest: (...parts) => keyedDigest(digestKey, ...parts),
  }
}

/** What is to be opened was sealed with a key that is not among ours. */
export class UnknownKeyError extends Error {
  constructor() {
    super('sealed with a key that is not here')
    this.name = 'UnknownKeyError'
  }
}

const IV_BYTES = 12
const TAG_BYTES = 16

/**
 * A JWE in compact form (RFC 7516, 7.1) with direct encryption by AES-GCM. Written out here because twenty balances are
 * sealed for one answer, and the library takes ten times as long for each; the library opens it in a test, and the other
 * way round.
 */
function encryptJwe(id: string, key: KeyObject, context: SealContext, plaintext: string): string {
  const header = Buffer.from(
    JSON.stringify({ alg: 'dir', enc: 'A256GCM', kid: id, ctx: context, crit: ['ctx'] }),
  ).toString('base64url')
  const iv = systemRandomness.bytes(IV_BYTES)
  const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(Buffer.from(header))
  const ciphertext = Buffer.concat([cipher.update(plaintext, 'utf8'), cipher.final()]).toString('base64url')
  return `${header}..${iv.toString('base64url')}.${ciphertext}.${cipher.getAuthTag().toString('base64url')}`
}

/** Throws where anything of it was changed, or is not as `sealed` makes it. */
function decryptJwe(
  text: string,
  keys: ReadonlyMap<string, KeyObject>,
): { header: Record<string, unknown>; plaintext: string } {
  const [protectedHeader = '', encryptedKey, iv = '', ciphertext = '', tag = '', extraPart] = text.split('.')
  const header = JSON.parse(Buffer.from(protectedHeader, 'base64url').toString()) as Record<string, unknown>
  const { alg, enc, crit, kid } = header
  if (encryptedKey !== '' || extraPart !== undefined || alg !== 'dir' || enc !== 'A256GCM' || String(crit) !== 'ctx')
    throw new Error('not sealed by us')
  const key = keys.get(String(kid))
  if (!key) throw new UnknownKeyError()
  const [nonce, authTag] = [Buffer.from(iv, 'base64url'), Buffer.from(tag, 'base64url')]
  if (nonce.length !== IV_BYTES || authTag.length !== TAG_BYTES) throw new Error('not sealed by us')
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES })
  decipher.setAAD(Buffer.from(protectedHeader)).setAuthTag(authTag)
  return {
    header,
    plaintext: Buffer.concat([decipher.update(Buffer.from(ciphertext, 'base64url')), decipher.final()]).toString(
      'utf8',
    ),
  }
}
