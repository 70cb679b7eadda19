import { z } from 'zod'

/** The fields that Guichet reads from a NextGenPSD2 bank. It drops owners, free-text names, change times and most links. */
const id = z.string().min(1).max(120)
const text = z.string().max(64)
const link = z.object({ href: z.string().max(2_048) }).optional()

/** The response to POST /v1/consents. The sign-in page is a link, or at the authorization server (OAuth SCA). */
export const consentResponse = z.object({
  consentStatus: text,
  consentId: id,
  _links: z.object({ scaRedirect: link, scaOAuth: link }).optional(),
})
/** The response to GET /v1/consents/{id}/status. */
export const consentStatusResponse = z.object({ consentStatus: text })
/** The final states of a consent (1.3.11, 14.19). */
export const ENDED_STATUSES: ReadonlySet<string> = new Set(['rejected', 'revokedByPsu', 'expired', 'terminatedByTpp'])
/** A consent notification of the Resource Status Notification Service. */
export const statusNotification = z.object({ consentId: id, consentStatus: text })

const accountSchema = z.object({
  resourceId: id,
  iban: text.optional(),
  bban: text.optional(),
  maskedPan: text.optional(),
  currency: text.optional(),
  cashAccountType: text.optional(),
  status: text.optional(),
  usage: text.optional(),
  _links: z.object({ balances: link }).optional(),
})
/** The fields of an account or card account that are used. */
export type WireAccount = z.output<typeof accountSchema>
/** Parses one account; undefined if it is malformed. */
export const parseWireAccount = (value: unknown): WireAccount | undefined => accountSchema.safeParse(value).data

/** The response to GET /v1/accounts; each account is parsed separately. */
export const accountsResponse = z.object({ accounts: z.array(z.unknown()).max(5_000) })
/** The response to GET /v1/card-accounts. */
export const cardAccountsResponse = z.object({ cardAccounts: z.array(z.unknown()).max(5_000) })

const balanceSchema = z.object({
  balanceAmount: z.object({ currency: text, amount: text }),
  balanceType: text,
  creditLimitIncluded: z.boolean().optional(),
})

/** The response with an account's balances; each is parsed separately, so that a malformed one does not affect others. */
export const balancesResponse = z.object({
  balances: z.array(z.unknown()).max(500),
  debitAccounting: z.boolean().optional(),
})
/** The parsed response with an account's balances. */
export type BalancesResponse = z.output<typeof balancesResponse>
/** Parses one balance; undefined if it is malformed. */
export const parseWireBalance = (value: unknown): z.output<typeof balanceSchema> | undefined =>
  balanceSchema.safeParse(value).data

const codeSchema = z.object({ code: text })
/** The codes of an error body in each of its shapes: `tppMessages`, a bare list, and RFC 7807 (1.3.11, 4.13). */
export const errorCodes = z
  .union([
    z.object({ tppMessages: z.array(codeSchema).max(20) }).transform(({ tppMessages }) => tppMessages),
    z
      .object({ code: text.optional(), additionalErrors: z.array(codeSchema).max(20).optional() })
      .transform(({ code: first, additionalErrors = [] }) => [
        ...(first ? [{ code: first }] : []),
        ...additionalErrors,
      ]),
    z.array(codeSchema).max(20),
  ])
  .transform((messages) => messages.map(({ code }) => code))
