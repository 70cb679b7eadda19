import { z } from 'zod'

/** The fields that Guichet reads of a NextGenPSD2 bank. Links, owners, free names and change times have no place here. */
const id = z.string().min(1).max(120)
const text = z.string().max(64)

/** The answer to POST /v1/consents. */
export const consentAnswer = z.object({ consentStatus: text, consentId: id })
/** The answer to GET /v1/consents/{id}/status. */
export const consentStatusAnswer = z.object({ consentStatus: text })

const account = z.object({
  resourceId: id,
  iban: text.optional(),
  bban: text.optional(),
  maskedPan: text.optional(),
  currency: text.optional(),
  cashAccountType: text.optional(),
  status: text.optional(),
  usage: text.optional(),
})
/** An account or card account as it is read. */
export type WireAccount = z.output<typeof account>

/** The answer to GET /v1/accounts. */
export const accountsAnswer = z.object({ accounts: z.array(account).max(5_000) })
/** The answer to GET /v1/card-accounts. */
export const cardAccountsAnswer = z.object({ cardAccounts: z.array(account).max(5_000) })

const balance = z.object({
  balanceAmount: z.object({ currency: text, amount: text }),
  balanceType: text,
  creditLimitIncluded: z.boolean().optional(),
})

/** Each balance is read on its own, so that one that cannot be read costs only itself. */
export const balancesAnswer = z.object({
  balances: z.array(z.unknown()).max(500),
  debitAccounting: z.boolean().optional(),
})
/** A balances answer as it is read. */
export type BalancesAnswer = z.output<typeof balancesAnswer>
/** One balance, or nothing where it is not one. */
export const readBalance = (value: unknown): z.output<typeof balance> | undefined => balance.safeParse(value).data
