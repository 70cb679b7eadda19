import { generateKeyPairSync, randomUUID, type KeyObject } from 'node:crypto'
import { SignJWT } from 'jose'
import { STANDARDS, type StandardId } from '../../src/connectors/index.ts'
import { eventTools } from './event-tools.ts'
import { ADDRESS, EXAMPLES } from './standards.ts'

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
/** Where the token is sent, and its audience. */
export const EVENTS_URL = 'https://gateway.example/bank-events/cnct_1'
/** The event type of a security alert. */
export const ALERT = 'urn:guichet:events:security-alert'
/** Now, as a NumericDate. */
export const nowSeconds = (): number => Math.floor(Date.now() / 1_000)
/** A security alert. */
export const alert = () => ({ account: 'a1', type: 'CARD_SECURITY', occurred_at: nowSeconds() })

/** What a test changes in a token of a bank. */
export interface TokenChoice {
  readonly standard?: StandardId
  /** Members of `events` in the registration. */
  readonly members?: Record<string, unknown>
  readonly header?: Record<string, unknown>
  readonly claims?: Record<string, unknown>
  readonly key?: KeyObject
  readonly clientId?: string | undefined
  /** Whether the token waited in a queue. */
  readonly isPolled?: boolean
}

/** Reads a token of a bank, with what the test changes. */
export async function readToken({
  standard = 'OBIE',
  members,
  header,
  claims,
  key = privateKey,
  isPolled = false,
  ...choice
}: TokenChoice = {}) {
  const registration = STANDARDS[standard].registration(ADDRESS).parse({
    ...EXAMPLES[standard].registration,
    clientId: 'clientId' in choice ? choice.clientId : 'guichet-at-bank',
    events: {
      issuer: 'https://bank.example',
      keys: { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'e' }] },
      ...members,
    },
  })
  const protectedHeader = { alg: 'ES256', kid: 'e', typ: 'secevent+jwt', ...header }
  const crit = Array.isArray(protectedHeader['crit' as never]) ? (protectedHeader['crit' as never] as string[]) : []
  const body = await new SignJWT({
    iss: 'https://bank.example',
    aud: EVENTS_URL,
    jti: randomUUID(),
    iat: nowSeconds(),
    events: { [ALERT]: alert() },
    ...claims,
  })
    .setProtectedHeader(protectedHeader)
    .sign(key, { crit: Object.fromEntries(crit.map((name) => [name, true])) })
  const received = {
    contentType: 'application/jwt',
    headers: {},
    body,
    url: EVENTS_URL,
    audience: EVENTS_URL,
    isPolled,
  }
  return STANDARDS[standard].readEvent(received, registration, eventTools())
}
