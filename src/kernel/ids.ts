import { createHmac, hash, randomBytes, type KeyObject } from 'node:crypto'

/** The only source of randomness. */
export interface Randomness {
  bytes(length: number): Buffer
}

const POOL_BYTES = 4_096
let pool = Buffer.alloc(0)

/** The operating system's generator, asked for a few kilobytes at a time; no byte is given out twice. */
export const systemRandomness: Randomness = {
  bytes(length) {
    if (length > POOL_BYTES) return randomBytes(length)
    if (pool.length < length) pool = randomBytes(POOL_BYTES)
    const taken = Buffer.from(pool.subarray(0, length))
    pool.fill(0, 0, length)
    pool = pool.subarray(length)
    return taken
  },
}

/** Ids say what they are, so that one in a log can be looked up and one in the wrong place is refused. */
export type IdPrefix =
  | 'acct'
  | 'alrt'
  | 'atpt'
  | 'cert'
  | 'clnt'
  | 'conn'
  | 'cnct'
  | 'cons'
  | 'cust'
  | 'dlvr'
  | 'evnt'
  | 'msg'
  | 'mtnc'
  | 'ntce'
  | 'plat'
  | 'rcpt'
  | 'req'
  | 'whep'

/** A new id with 128 random bits, such as `cons_3q2-7wAB...`. */
export const newId = (prefix: IdPrefix, randomness: Randomness): string =>
  `${prefix}_${randomness.bytes(16).toString('base64url')}`

/** SHA-256 of `value`, base64url: what is stored in place of a secret that is only ever compared. */
export const digest = (value: string): string => hash('sha256', value, 'base64url')

/** HMAC-SHA-256 over `parts`, which are joined so that no two different lists give the same input. */
export const keyedDigest = (key: Uint8Array | KeyObject, ...parts: readonly string[]): string =>
  createHmac('sha256', key)
    .update(parts.map((part) => `${part.length}:${part}`).join(''))
    .digest('base64url')
