import { z } from 'zod'
import { parseCertificates } from '../kernel/certificate.ts'
import { alertResponseMembers } from './alert-response-rules.ts'
import { eventMembers } from './event-rules.ts'
import { oauthMembers } from './oauth-profile.ts'
import type { UrlSchema } from './url-schema.ts'

const MAX_TRUST_ANCHORS = 8

/** Scripts with letters that look alike. */
const LOOKALIKE_SCRIPTS = [/\p{Script=Latin}/u, /\p{Script=Cyrillic}/u, /\p{Script=Greek}/u, /\p{Script=Armenian}/u]
const usesSingleScript = (text: string): boolean => LOOKALIKE_SCRIPTS.filter((script) => script.test(text)).length <= 1

/** A certificate authority in PEM. */
const trustAnchor = z
  .string()
  .max(16_384)
  .refine((pem) => parseCertificates(pem)?.length === 1, 'must be one certificate in PEM')
  .refine((pem) => parseCertificates(pem)?.[0]?.ca !== false, 'must be the certificate of an authority (CA)')

const originSchema = (urlSchema: UrlSchema) =>
  urlSchema.refine((url) => URL.parse(url)?.origin === url, 'must be an origin: scheme, host and port without a path')

/** The members of every standard's registration; each standard adds its own. */
export const commonRegistration = (urlSchema: UrlSchema) => ({
  bank: z.strictObject({
    id: z
      .string()
      .regex(/^[a-z][a-z0-9-]{1,38}$/, 'a lower-case letter, then 1 to 38 lower-case letters, digits or hyphens'),
    name: z
      .string()
      .min(1)
      .max(60)
      .regex(/^[\p{L}\p{N} .&'-]+$/u, "only letters, digits, spaces and . & ' -")
      .refine(usesSingleScript, 'must use letters of only one script'),
    country: z.string().regex(/^[A-Z]{2}$/, 'an ISO 3166 code of two capital letters'),
  }),
  authorizationServer: urlSchema,
  /** Further origins of the authorization server's endpoints or the bank's sign-in pages. */
  authorizationOrigins: z.array(originSchema(urlSchema)).max(8).optional(),
  apiBase: urlSchema,
  /** The bank's own app or web page, to which customers are referred. */
  bankAppUrl: urlSchema.optional(),
  /** The bank's test interface: sign-ins without a browser, faults and events on request (docs/ADD-A-BANK.md). */
  testInterface: urlSchema.optional(),
  /** The deadline of a read, in milliseconds; 1,400 by default. */
  readTimeoutMs: z.int().min(200).max(10_000).optional(),
  /** Absent until the bank assigns one, or if the certificate identifies the gateway. */
  clientId: z
    .string()
    .regex(/^[\x21-\x7e]{1,128}$/, '1 to 128 visible ASCII characters')
    .optional(),
  /** Whether the bank requires the gateway's certificate on every connection; tokens are then bound to it (RFC 8705). */
  mutualTls: z.boolean().optional(),
  /** Who issues the gateway's certificates. */
  certificates: z
    .strictObject({
      transport: z.enum(['SELF_SIGNED', 'ISSUED']).optional(),
      signing: z.enum(['NONE', 'ISSUED']).optional(),
      identifyClient: z.boolean().optional(),
    })
    .optional(),
  /** Certificate authorities that are trusted for this bank besides the public ones. */
  trustAnchors: z.array(trustAnchor).max(MAX_TRUST_ANCHORS).optional(),
  /** How this bank differs from the standard's use of OAuth. */
  oauth: oauthMembers(urlSchema).optional(),
  /** Absent if the bank sends no events. */
  events: eventMembers(urlSchema).optional(),
  /** Absent if the bank takes no answers to its alerts. */
  alertResponses: alertResponseMembers(urlSchema).optional(),
})
