import { createCipheriv, createDecipheriv } from 'node:crypto'
import type { Seal } from '../../storage/seal.ts'

/**
 * Converts sequence numbers of ledger entries to opaque IDs. Plain numbers would show an organization how many entries others
 * have between two of its own. An ID is one encrypted block of AES (8 zero bytes and the number): 22 characters in base64url.
 */
export interface EntryIdCodec {
  encode(sequence: bigint): string
  /** The sequence number of an ID; undefined for any other text. */
  decode(encodedId: string): bigint | undefined
}

const ALGORITHM = 'aes-128-ecb'
const KEY_BYTES = 16
const ENCODED_ID = /^[\w-]{22}$/

/** Creates the codec with a key that all processes of an installation derive from the same secret. */
export function createEntryIdCodec(seal: Pick<Seal, 'digest'>): EntryIdCodec {
  const key = Buffer.from(seal.digest('audit-log-entry'), 'base64url').subarray(0, KEY_BYTES)
  return {
    encode(sequence) {
      const block = Buffer.alloc(16)
      block.writeBigInt64BE(sequence, 8)
      // A single block needs neither chaining nor padding.
      const cipher = createCipheriv(ALGORITHM, key, null).setAutoPadding(false)
      return Buffer.concat([cipher.update(block), cipher.final()]).toString('base64url')
    },
    decode(encodedId) {
      const block = Buffer.from(encodedId, 'base64url')
      if (!ENCODED_ID.test(encodedId) || block.length !== 16) return undefined
      const decipher = createDecipheriv(ALGORITHM, key, null).setAutoPadding(false)
      const plaintext = Buffer.concat([decipher.update(block), decipher.final()])
      return plaintext.readBigInt64BE(0) === 0n ? plaintext.readBigInt64BE(8) : undefined
    },
  }
}
