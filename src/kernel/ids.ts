import { createHash, createHmac, randomBytes } from 'node:crypto'

/** The only source of randomness. */
export interface Randomness {
  bytes(length: number): Buffer
}

/** The operating system's generator. */
export const systemRandomness: Randomness = { bytes: (length) => randomBytes(length) }

/** Ids say what they are, so that one in a log can be looked up and one in the wrong place is refused. */
export type IdKind =
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
  | 'plat'
  | 'rcpt'
  | 'req'
  | 'whep'

/** A new id with 128 random bits, such as `cons_3q2-7wAB...`. */
export const newId = (kind: IdKind, randomness: Randomness): string =>
  `${kind}_${randomness.bytes(16).toString('base64url')}`

/** SHA-256 of `value`, base64url: what is stored in place of a secret that is only ever compared. */
export const digest = (value: string): string => createHash('sha256').update(value).digest('base64url')

/** HMAC-SHA-256 over `parts`, which are joined so that no two different lists give the same input. */
export const keyedDigest = (key: Uint8Array, ...parts: readonly string[]): string =>
  createHmac('sha256', key)
    .update(parts.map((part) => `${part.length}:${part}`).join(''))
    .digest('base64url')
