import { z } from 'zod'
import { publicKeySet } from '../kernel/public-keys.ts'

/** An address; which ones may be registered at all is for the outbound rules to say. */
export const httpUrl = z.url({ protocol: /^https?$/ }).max(2_048)

const MAX_EVENT_KEYS = 8

/** What a bank partner states of a bank in every standard; each standard adds its own to it. */
export const commonRegistration = {
  bank: z.strictObject({
    id: z.string().regex(/^[a-z][a-z0-9-]{1,38}$/, 'lower-case letters, digits and hyphens'),
    name: z
      .string()
      .min(1)
      .max(60)
      .regex(/^[\p{L}\p{N} .&'-]+$/u, "letters, digits and . & ' - only"),
    country: z.string().regex(/^[A-Z]{2}$/, 'an ISO 3166 code'),
  }),
  authorizationServer: httpUrl,
  apiBase: httpUrl,
  /** The bank's own app or page, where its customers go on by themselves. */
  handoff: httpUrl.optional(),
  /** Where the bank lets itself be tested: sign-ins without a browser, faults and events on request (docs/ADD-A-BANK.md). */
  testInterface: httpUrl.optional(),
  /** How long a read may take, in milliseconds; 1,400 where nothing is said. */
  deadlineMs: z.int().min(200).max(10_000).optional(),
  clientId: z.string().regex(/^[\x21-\x7e]{1,128}$/),
  /** Whether the bank wants the gateway's certificate on every connection; tokens are bound to it then (RFC 8705). */
  mutualTls: z.boolean().optional(),
  events: z.strictObject({
    issuer: z.string().min(1).max(512),
    keys: publicKeySet(MAX_EVENT_KEYS),
  }),
}
