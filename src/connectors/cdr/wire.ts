import { z } from 'zod'

/** The fields that Guichet reads from a CDR bank. It drops nicknames, display names and vendor extensions. */
const id = z.string().min(1).max(128)
const text = z.string().max(64)

const accountSchema = z.object({
  accountId: id,
  productCategory: text.optional(),
  openStatus: text.optional(),
  maskedNumber: text.optional(),
})
/** The fields of an account that are used. */
export type WireAccount = z.output<typeof accountSchema>
/** Parses one account; undefined if it is malformed. */
export const parseWireAccount = (value: unknown): WireAccount | undefined => accountSchema.safeParse(value).data

const links = z.object({ next: z.string().max(2_048).optional() }).optional()
/** One page of GET /banking/accounts (version 3); each account is parsed separately. */
export const accountsResponse = z.object({ data: z.object({ accounts: z.array(z.unknown()).max(1_000) }), links })

const purse = z.object({ amount: text, currency: text.optional() })
const balanceSchema = z.object({
  accountId: id,
  currentBalance: text.optional().catch(''),
  availableBalance: text.optional().catch(''),
  creditLimit: text.optional().catch(undefined),
  currency: text.optional(),
  purses: z.array(purse).max(100).optional().catch(undefined),
})
/** The fields of an account's balances that are used. */
export type WireBalance = z.output<typeof balanceSchema>
/** Parses one account's balances; undefined if they are malformed. */
export const parseWireBalance = (value: unknown): WireBalance | undefined => balanceSchema.safeParse(value).data

/** One page of GET /banking/accounts/balances (version 2); each entry is parsed separately. */
export const balancesResponse = z.object({ data: z.object({ balances: z.array(z.unknown()).max(1_000) }), links })
/** The response to GET /banking/accounts/{id}/balance (version 1). */
export const balanceResponse = z.object({ data: balanceSchema })

const error = z.object({ code: z.string().max(256), meta: z.object({ urn: z.string().max(256) }).optional() })
/** The codes of an error body, without the standard's prefix. A vendor code has the standard one in `meta.urn`. */
export const errorCodes = z
  .object({ errors: z.array(error).max(20) })
  .transform(({ errors }) =>
    errors.map(({ code, meta }) => (meta?.urn ?? code).replace(/^urn:au-cds:error:cds-\w+:/, '')),
  )
