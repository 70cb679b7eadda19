import { z } from 'zod'
import { publicKeySetSchema } from '../kernel/public-keys.ts'

/** A URL that may be registered, as the outbound rules say. A standard declares each of its URLs by it. */
export type UrlSchema = z.ZodType<string>

const MAX_EVENT_KEYS = 8

/** The schema of URLs whose faults `faultOf` tells, as rules that read on from the name of the field. */
export const createUrlSchema = (findUrlFault: (url: string) => string | undefined): UrlSchema =>
  z.string().superRefine((url, ctx) => {
    const fault = findUrlFault(url)
    const params = URL.parse(url) === null ? {} : { code: 'ADDRESS_NOT_ALLOWED' }
    if (fault !== undefined) ctx.addIssue({ code: 'custom', message: fault, params })
  })

/** Scripts whose letters look like each other's. */
const LOOKALIKE_SCRIPTS = [/\p{Script=Latin}/u, /\p{Script=Cyrillic}/u, /\p{Script=Greek}/u, /\p{Script=Armenian}/u]
const usesSingleScript = (text: string): boolean => LOOKALIKE_SCRIPTS.filter((script) => script.test(text)).length <= 1

const originSchema = (urlSchema: UrlSchema) =>
  urlSchema.refine((url) => URL.parse(url)?.origin === url, 'must be an origin: scheme, host and port, and no path')

/** What a bank partner states of a bank in every standard; each standard adds its own to it. */
export const commonRegistration = (urlSchema: UrlSchema) => ({
  bank: z.strictObject({
    id: z.string().regex(/^[a-z][a-z0-9-]{1,38}$/, 'a letter, then 1 to 38 lower-case letters, digits or hyphens'),
    name: z
      .string()
      .min(1)
      .max(60)
      .regex(/^[\p{L}\p{N} .&'-]+$/u, "letters, digits, spaces and . & ' - only")
      .refine(usesSingleScript, 'must have letters of one script'),
    country: z.string().regex(/^[A-Z]{2}$/, 'an ISO 3166 code of two capital letters'),
  }),
  authorizationServer: urlSchema,
  /** Further origins of the bank on which its authorization server has endpoints, or the bank its sign-in pages. */
  authorizationOrigins: z.array(originSchema(urlSchema)).max(8).optional(),
  apiBase: urlSchema,
  /** The bank's own app or page, where its customers go on by themselves. */
  bankAppUrl: urlSchema.optional(),
  /** Where the bank lets itself be tested: sign-ins without a browser, faults and events on request (docs/ADD-A-BANK.md). */
  testInterface: urlSchema.optional(),
  /** How long a read may take, in milliseconds; 1,400 where nothing is said. */
  readTimeoutMs: z.int().min(200).max(10_000).optional(),
  clientId: z.string().regex(/^[\x21-\x7e]{1,128}$/, '1 to 128 visible ASCII characters'),
  /** Whether the bank wants the gateway's certificate on every connection; tokens are bound to it then (RFC 8705). */
  mutualTls: z.boolean().optional(),
  events: z.strictObject({
    issuer: z.string().min(1).max(512),
    keys: publicKeySetSchema(MAX_EVENT_KEYS),
  }),
})
