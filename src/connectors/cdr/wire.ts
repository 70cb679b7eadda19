import { z } from 'zod'

/** The fields that Guichet reads of a CDR bank. Nicknames, display names and vendor extensions have no place here. */
const id = z.string().min(1).max(128)
const text = z.string().max(64)

const accountSchema = z.object({
  accountId: id,
  productCategory: text.optional(),
  openStatus: text.optional(),
  maskedNumber: text.optional(),
})
/** An account as it is read. */
export type WireAccount = z.output<typeof accountSchema>
/** One account, or nothing where it is not one. */
export const parseWireAccount = (value: unknown): WireAccount | undefined => accountSchema.safeParse(value).data

const links = z.object({ next: z.string().max(2_048).optional() }).optional()
/** One page of GET /banking/accounts (3); each account is read on its own. */
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
/** An account's balances as they are read. */
export type WireBalance = z.output<typeof balanceSchema>
/** One account's balances, or nothing where they are none. */
export const parseWireBalance = (value: unknown): WireBalance | undefined => balanceSchema.safeParse(value).data

/** One page of GET /banking/accounts/balances (2); each entry is read on its own. */
export const balancesResponse = z.object({ data: z.object({ balances: z.array(z.unknown()).max(1_000) }), links })
/** The answer to GET /banking/accounts/{id}/balance (1). */
export const balanceResponse = z.object({ data: balanceSchema })

const error = z.object({ code: z.string().max(256), meta: z.object({ urn: z.string().max(256) }).optional() })
/** The codes of an error body, without the standard's prefix; a vendor's own code carries the standard's in `meta.urn`. */
export const errorCodes = z
  .object({ errors: z.array(error).max(20) })
  .transform(({ errors }) =>
    errors.map(({ code, meta }) => (meta?.urn ?? code).replace(/^urn:au-cds:error:cds-\w+:/, '')),
  )
