import { createPrivateKey, generateKeyPairSync, sign } from 'node:crypto'
import type { JsonWebKey } from 'node:crypto'
import type { Randomness } from '../../kernel/ids.ts'

/** A signing key as a JSON Web Key with its private part. */
export interface EventSigningKey extends JsonWebKey {
  readonly kid: string
}

/** An event for one client. */
export interface SecurityEvent {
  /** Identifies the event: the same in every attempt. */
  readonly id: string
  /** The client. */
  readonly audience: string
  /** The `sub` of the customer, if the event is about one. */
  readonly subject: string | undefined
  /** Such as `alert.received`. */
  readonly type: string
  readonly at: Date
  readonly payload: object
}

/** Signs events of the gateway as Security Event Tokens. */
export interface EventSigner {
  /** Returns a compact JWS (RFC 8417) with exactly one event. */
  sign(event: SecurityEvent): string
}

/** Generates the key that signs events, at the first start of an installation. */
export function generateEventKey(randomness: Randomness): EventSigningKey {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return { ...privateKey.export({ format: 'jwk' }), kid: `events-${randomness.bytes(8).toString('hex')}` }
}

/** The public part of the key, as the gateway publishes it. */
export const publicEventKey = ({ kty, crv, x, y, kid }: EventSigningKey) => ({
  kty,
  crv,
  x,
  y,
  kid,
  alg: 'ES256',
  use: 'sig',
})

/** The URI of a type of event, such as `urn:guichet:events:alert-received`. */
const eventUri = (type: string): string => `urn:guichet:events:${type.replaceAll('.', '-')}`

/** Creates the signer. Its key signs nothing else, so that no event can pass as an ID token or another JWT (RFC 8417, 4.5). */
export function createEventSigner(issuer: string, key: EventSigningKey): EventSigner {
  const privateKey = createPrivateKey({ key, format: 'jwk' })
  const header = encode({ alg: 'ES256', typ: 'secevent+jwt', kid: key.kid })
  return {
    sign({ id, audience, subject, type, at, payload }) {
      const claims = {
        iss: issuer,
        aud: audience,
        iat: Math.floor(at.getTime() / 1_000),
        jti: id,
        // RFC 9493, 3.2.4.
        ...(subject !== undefined && { sub_id: { format: 'iss_sub', iss: issuer, sub: subject } }),
        events: { [eventUri(type)]: payload },
      }
      const content = `${header}.${encode(claims)}`
      const signature = sign('sha256', Buffer.from(content), { key: privateKey, dsaEncoding: 'ieee-p1363' })
      return `${content}.${signature.toString('base64url')}`
    },
  }
}

const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
