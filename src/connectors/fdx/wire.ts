import { z } from 'zod'
import { unwrapAccount } from './quirks.ts'

/**
 * The fields that Guichet reads of an FDX bank. Its accounts may hold transactions, bills, payments and free text: they
 * have no place here. Numbers arrive as the text that they were written in.
 */
const id = z.string().min(1).max(128)
const text = z.string().max(64)
/** As the bank wrote the number; anything else becomes what no amount is. */
const amountSchema = z.string().max(64).catch('').optional()

const accountSchema = z.preprocess(
  unwrapAccount,
  z.object({
    accountId: id,
    accountCategory: text.optional(),
    accountType: text.optional(),
    accountNumberDisplay: text.optional(),
    status: text.optional(),
    lineOfBusiness: text.optional().catch(undefined),
    currency: z.object({ currencyCode: z.string().max(8).optional() }).optional(),
    balanceType: text.optional(),
    currentBalance: amountSchema,
    availableBalance: amountSchema,
    openingDayBalance: amountSchema,
    availableCredit: amountSchema,
    creditLine: amountSchema,
    principalBalance: amountSchema,
    error: z.object({ code: text }).optional(),
  }),
)
/** An account, with its balances, as it is read. */
export type WireAccount = z.output<typeof accountSchema>
/** One account, or nothing where it is not one. */
export const parseWireAccount = (value: unknown): WireAccount | undefined => accountSchema.safeParse(value).data

const cursorSchema = z.string().max(512)
/** One page of GET /accounts; `nextOffset` until 5.x, `nextPageKey` since 6.x. */
export const accountsResponse = z.object({
  accounts: z.array(z.unknown()).max(5_000),
  page: z.object({ nextOffset: cursorSchema.optional(), nextPageKey: cursorSchema.optional() }).nullish(),
})

/** The answer to GET /accounts/{id}: the account itself, flat or wrapped. */
export const accountResponse = accountSchema

/** The code of an error body: a number of FDX's own, which is not the HTTP status. */
export const errorCodes = z.object({ code: z.union([z.number(), text]) }).transform(({ code }) => [String(code)])

/** A notification as it is read: what kind, about what, and when it was sent. */
export const notificationSchema = z.object({
  notificationId: z.string().min(1).max(256),
  type: text,
  sentOn: text.optional(),
  notificationPayload: z.object({ id: id.optional(), idType: text.optional() }).optional(),
})
