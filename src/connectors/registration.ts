import { z } from 'zod'
import { publicKeySetSchema } from '../kernel/public-keys.ts'

/** The schema of a registered URL, with the outbound address rules. Every URL of a registration uses it. */
export type UrlSchema = z.ZodType<string>

const MAX_EVENT_KEYS = 8

/** Creates the URL schema. `findUrlFault` returns the violated rule, which continues the field's name, or undefined. */
export const createUrlSchema = (findUrlFault: (url: string) => string | undefined): UrlSchema =>
  z.string().superRefine((url, ctx) => {
    const fault = findUrlFault(url)
    const params = URL.parse(url) === null ? {} : { code: 'ADDRESS_NOT_ALLOWED' }
    if (fault !== undefined) ctx.addIssue({ code: 'custom', message: fault, params })
  })

/** Scripts with letters that look alike. */
const LOOKALIKE_SCRIPTS = [/\p{Script=Latin}/u, /\p{Script=Cyrillic}/u, /\p{Script=Greek}/u, /\p{Script=Armenian}/u]
const usesSingleScript = (text: string): boolean => LOOKALIKE_SCRIPTS.filter((script) => script.test(text)).length <= 1

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
  clientId: z.string().regex(/^[\x21-\x7e]{1,128}$/, '1 to 128 visible ASCII characters'),
  /** Whether the bank requires the gateway's certificate on every connection; tokens are then bound to it (RFC 8705). */
  mutualTls: z.boolean().optional(),
  events: z.strictObject({
    issuer: z.string().min(1).max(512),
    keys: publicKeySetSchema(MAX_EVENT_KEYS),
  }),
})
