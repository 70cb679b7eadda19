import { z } from 'zod'

/** The fields that Guichet reads of a NextGenPSD2 bank. Owners, free names, change times and all links but one have no place here. */
const id = z.string().min(1).max(120)
const text = z.string().max(64)
const link = z.object({ href: z.string().max(2_048) }).optional()

/** The answer to POST /v1/consents: where the customer goes on is a link, or the authorization server (OAuth SCA). */
export const consentResponse = z.object({
  consentStatus: text,
  consentId: id,
  _links: z.object({ scaRedirect: link, scaOAuth: link }).optional(),
})
/** The answer to GET /v1/consents/{id}/status. */
export const consentStatusResponse = z.object({ consentStatus: text })
/** The states of a consent that it does not come back from (1.3.11, 14.19). */
export const ENDED_STATUSES: ReadonlySet<string> = new Set(['rejected', 'revokedByPsu', 'expired', 'terminatedByTpp'])
/** A notification of the Resource Status Notification Service, of a consent. */
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
/** An account or card account as it is read. */
export type WireAccount = z.output<typeof accountSchema>
/** One account, or nothing where it is not one. */
export const parseWireAccount = (value: unknown): WireAccount | undefined => accountSchema.safeParse(value).data

/** The answer to GET /v1/accounts; each account is read on its own. */
export const accountsResponse = z.object({ accounts: z.array(z.unknown()).max(5_000) })
/** The answer to GET /v1/card-accounts. */
export const cardAccountsResponse = z.object({ cardAccounts: z.array(z.unknown()).max(5_000) })

const balanceSchema = z.object({
  balanceAmount: z.object({ currency: text, amount: text }),
  balanceType: text,
  creditLimitIncluded: z.boolean().optional(),
})

/** Each balance is read on its own, so that one that cannot be read costs only itself. */
export const balancesResponse = z.object({
  balances: z.array(z.unknown()).max(500),
  debitAccounting: z.boolean().optional(),
})
/** A balances answer as it is read. */
export type BalancesResponse = z.output<typeof balancesResponse>
/** One balance, or nothing where it is not one. */
export const parseWireBalance = (value: unknown): z.output<typeof balanceSchema> | undefined =>
  balanceSchema.safeParse(value).data

const codeSchema = z.object({ code: text })
/** The codes of an error body in either of its shapes: `tppMessages`, bare or as a list, and RFC 7807 (1.3.11, 4.13). */
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
  .transform((all) => all.map((one) => one.code))
