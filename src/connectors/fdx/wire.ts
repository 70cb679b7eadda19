import { z } from 'zod'
import { unwrapAccount } from './quirks.ts'

/**
 * The fields that Guichet reads from an FDX bank. It drops the transactions, bills, payments and free text that accounts may
 * contain. Numbers keep their JSON text.
 */
const id = z.string().min(1).max(128)
const text = z.string().max(64)
/** The number as the bank wrote it. Anything else becomes an empty string, which is not a valid amount. */
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
/** The fields of an account that are used, with its balances. */
export type WireAccount = z.output<typeof accountSchema>
/** Parses one account; undefined if it is malformed. */
export const parseWireAccount = (value: unknown): WireAccount | undefined => accountSchema.safeParse(value).data

const cursorSchema = z.string().max(512)
/** One page of GET /accounts. The cursor is `nextOffset` up to 5.x and `nextPageKey` since 6.x. */
export const accountsResponse = z.object({
  accounts: z.array(z.unknown()).max(5_000),
  page: z.object({ nextOffset: cursorSchema.optional(), nextPageKey: cursorSchema.optional() }).nullish(),
})

/** The response to GET /accounts/{id}: the account, flat or wrapped. */
export const accountResponse = accountSchema

/** The FDX code of an error body; it differs from the HTTP status. */
export const errorCodes = z.object({ code: z.union([z.number(), text]) }).transform(({ code }) => [String(code)])

/** The fields of a notification that are used: type, subject and time. */
export const notificationSchema = z.object({
  notificationId: z.string().min(1).max(256),
  type: text,
  sentOn: text.optional(),
  notificationPayload: z.object({ id: id.optional(), idType: text.optional() }).optional(),
})
