import { createHmac, hash, randomBytes, type KeyObject } from 'node:crypto'

/** The only source of randomness. */
export interface Randomness {
  bytes(length: number): Buffer
}

const POOL_BYTES = 4_096
let pool = Buffer.alloc(0)

/** The operating system's generator, read in blocks of 4 KiB. No byte is returned twice. */
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

/** A random number from 0 to less than 1. */
export const randomFraction = (randomness: Randomness): number => randomness.bytes(4).readUInt32BE() / 2 ** 32

/** The prefix names the type of an id, so that an id of the wrong type is recognized and refused. */
export type IdPrefix =
  | 'acct'
  | 'alrt'
  | 'answ'
  | 'atpt'
  | 'cert'
  | 'clnt'
  | 'conn'
  | 'cnct'
  | 'cons'
  | 'cred'
  | 'cust'
  | 'dlvr'
  | 'evnt'
  | 'grnt'
  | 'line'
  | 'mail'
  | 'msg'
  | 'outg'
  | 'phrs'
  | 'ntce'
  | 'org'
  | 'rcpt'
  | 'req'
  | 'whep'
  | 'whsc'

/** A new id with 128 random bits, such as `cons_3q2-7wAB...`. */
export const newId = (prefix: IdPrefix, randomness: Randomness): string =>
  `${prefix}_${randomness.bytes(16).toString('base64url')}`

/** SHA-256 of `value`, base64url. Stored in place of secrets that are only compared. */
export const digest = (value: string): string => hash('sha256', value, 'base64url')

/** HMAC-SHA-256 over `parts`, base64url. Each part is prefixed with its length, so different lists never give the same input. */
export const keyedDigest = (key: Uint8Array | KeyObject, ...parts: readonly string[]): string =>
  createHmac('sha256', key)
    .update(parts.map((part) => `${part.length}:${part}`).join(''))
    .digest('base64url')
