import { z } from 'zod'
import { publicKeySetSchema } from '../kernel/public-keys.ts'
import type { UrlSchema } from './url-schema.ts'

const MAX_EVENT_KEYS = 8
const MAX_EVENTS_PER_TOKEN = 16
const MAX_CLOCK_TOLERANCE_S = 300
const MAX_CLIENT_CERTIFICATES = 8
/** 32 bytes in base64url. The last character has only four bits. */
const THUMBPRINT = /^[\w-]{42}[AEIMQUYcgkosw048]$/
/** RFC 6749, 3.3. */
const SCOPE = /^[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*$/
/** The scope of a token of the gateway's own. */
export const scopeNames = z.string().max(512).regex(SCOPE, 'scope names that single spaces separate')

/** The `typ` headers that a registration can accept (RFC 8417, 2.3; RFC 7515, 4.1.9). ABSENT is a token without one. */
export const TOKEN_TYPES = ['secevent+jwt', 'JOSE', 'JWT', 'ABSENT'] as const
/** A `typ` header of event tokens. */
export type TokenType = (typeof TOKEN_TYPES)[number]

/** How a bank's event tokens (RFC 8417) are made. Every standard has a complete default. */
export interface EventRules {
  readonly tokenTypes: readonly TokenType[]
  /** The `aud` claim: the gateway's URL for the events, its client id at the bank, or a text that the bank puts there. */
  readonly audience: string
  /**
   * The header parameters that `crit` may name (RFC 7515, 4.1.11): none, or the three of Open Banking ("Message Signing"), which
   * are then verified.
   */
  readonly criticalHeaders: 'NONE' | 'OPEN_BANKING'
  /** The organisation id that the `iss` header parameter of Open Banking must have; any if absent. */
  readonly headerIssuer?: string | undefined
  /** The domain that the `tan` header parameter of Open Banking must have. */
  readonly trustAnchor: string
  readonly maxEventsPerToken: number
  /** Whether tokens may be signed with RS256, which is outside the policy for keys. */
  readonly acceptsRs256: boolean
  /** How much the bank's clock may be ahead. */
  readonly clockToleranceSeconds: number
}

/** The rules of the Shared Signals Framework (6.1 to 7), for standards that have none of their own. */
export const STRICT_EVENT_RULES: EventRules = {
  tokenTypes: ['secevent+jwt'],
  audience: 'EVENTS_URL',
  criticalHeaders: 'NONE',
  trustAnchor: 'openbanking.org.uk',
  maxEventsPerToken: 1,
  acceptsRs256: false,
  clockToleranceSeconds: 60,
}

/** The domain of a directory, as a trust anchor. */
export const directoryDomain = z
  .string()
  .max(253)
  .regex(/^[a-z0-9-]+(\.[a-z0-9-]+)+$/, 'a domain name in lower case')

/** The members of `events` in a registration. `registrationFaults` has the rules between them. */
export const eventMembers = (urlSchema: UrlSchema) =>
  z
    .strictObject({
      tokenTypes: z.array(z.enum(TOKEN_TYPES)).min(1).max(TOKEN_TYPES.length),
      audience: z
        .string()
        .max(512)
        .regex(/^[\x21-\x7e]+$/, 'EVENTS_URL, CLIENT_ID, or the text of the `aud` claim without spaces'),
      criticalHeaders: z.enum(['NONE', 'OPEN_BANKING']),
      headerIssuer: z.string().min(1).max(256),
      trustAnchor: directoryDomain,
      maxEventsPerToken: z.int().min(1).max(MAX_EVENTS_PER_TOKEN),
      acceptsRs256: z.boolean(),
      clockToleranceSeconds: z.int().min(0).max(MAX_CLOCK_TOLERANCE_S),
    })
    .partial()
    .extend({
      issuer: z.string().min(1).max(512),
      /** The public keys themselves. */
      keys: publicKeySetSchema(MAX_EVENT_KEYS).optional(),
      /** Where the bank or its directory publishes the keys (RFC 7517, 5). */
      keysUrl: urlSchema.optional(),
      /** Where the bank keeps events for the gateway until they are polled (RFC 8936). */
      pollUrl: urlSchema.optional(),
      /** Present if the bank has stream control (Shared Signals Framework 1.0, 8). */
      stream: z
        .strictObject({
          /** Where its configuration is; the well-known address of the issuer if absent. */
          configurationUrl: urlSchema.optional(),
        })
        .optional(),
      /** The scope of the token with which the gateway polls and controls the stream; that of its other tokens of its own if absent. */
      scope: scopeNames.optional(),
    })

/**
 * The thumbprints of the certificates with which the bank sends events that have no signature (`x5t#S256`, RFC 8705, 3.1). Only for
 * standards with such events.
 */
export const pinnedClientCertificates = z
  .array(
    z.string().regex(THUMBPRINT, 'the SHA-256 thumbprint of a certificate in base64url without padding: `x5t#S256`'),
  )
  .min(1)
  .max(MAX_CLIENT_CERTIFICATES)

/** Who sends a bank's events, how they are authenticated, and how this bank differs from its standard. */
export type EventSender = z.output<ReturnType<typeof eventMembers>> & {
  readonly clientCertificates?: z.output<typeof pinnedClientCertificates> | undefined
}

/** How much the clock of a sender may be ahead, for events that are no tokens. */
export const clockToleranceSecondsOf = ({
  clockToleranceSeconds,
}: Pick<EventSender, 'clockToleranceSeconds'>): number =>
  clockToleranceSeconds ?? STRICT_EVENT_RULES.clockToleranceSeconds

/** The members that a registration states over the standard's defaults. */
export const resolveEventRules = (defaults: EventRules, stated: Partial<EventSender>): EventRules => ({
  ...defaults,
  ...(Object.fromEntries(Object.entries(stated).filter(([, value]) => value !== undefined)) as Partial<EventRules>),
})
