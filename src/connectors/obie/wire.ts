import { z } from 'zod'
import { arrayOrSingle } from './quirks.ts'

/** The fields that Guichet reads of an Open Banking bank, by their 4.0 names and by those of 3.1.11. Nicknames, descriptions, owners and statements have no place here. */
const id = z.string().min(1).max(128)

/** The answer to POST /account-access-consents. */
export const consentResponse = z.object({ Data: z.object({ ConsentId: id, Status: z.string().max(40) }) })

const accountSchema = z.object({
  AccountId: id,
  Status: z.string().max(40).optional(),
  Currency: z.string().max(3).optional(),
  AccountCategory: z.string().max(40).optional(),
  AccountTypeCode: z.string().max(40).optional(),
  /** 3.1.11: what 4.0 calls AccountCategory. */
  AccountType: z.string().max(40).optional(),
  /** 3.1.11: what 4.0 calls AccountTypeCode. */
  AccountSubType: z.string().max(40).optional(),
  Account: arrayOrSingle(
    z.object({
      SchemeName: z.string().max(60).optional(),
      Identification: z.string().max(256),
      SecondaryIdentification: z.string().max(256).optional(),
    }),
  ).optional(),
})
/** An account as it is read. */
export type WireAccount = z.output<typeof accountSchema>
/** One account, or nothing where it is not one. */
export const parseWireAccount = (value: unknown): WireAccount | undefined => accountSchema.safeParse(value).data

const links = z.object({ Next: z.string().max(2_048).optional() }).optional()

/** One page of GET /accounts; each account is read on its own. */
export const accountsResponse = z.object({ Data: z.object({ Account: arrayOrSingle(z.unknown()) }), Links: links })

const moneySchema = z.object({ Amount: z.string().max(40), Currency: z.string().max(3) })
const balanceSchema = z.object({
  AccountId: id,
  CreditDebitIndicator: z.string().max(10),
  Type: z.string().max(40),
  Amount: moneySchema,
  CreditLine: arrayOrSingle(z.object({ Included: z.boolean(), Amount: moneySchema.optional() })).optional(),
})
/** A balance as it is read. */
export type WireBalance = z.output<typeof balanceSchema>
/** One balance, or nothing where it is not one. */
export const parseWireBalance = (value: unknown): WireBalance | undefined => balanceSchema.safeParse(value).data

/** One page of GET /balances or GET /accounts/{id}/balances; each balance is read on its own. */
export const balancesResponse = z.object({ Data: z.object({ Balance: arrayOrSingle(z.unknown()) }), Links: links })

const subscriptionSchema = z.object({ CallbackUrl: z.string().max(2_048).optional() })
/** The answer to GET /event-subscriptions. */
export const subscriptionsResponse = z.object({
  Data: z.object({ EventSubscription: arrayOrSingle(subscriptionSchema).optional() }),
})

/** The answer to POST /events: signed events, each by its `jti`. */
export const eventsResponse = z.object({
  sets: z
    .record(z.string().min(1).max(128), z.string().max(16_384))
    .refine((sets) => Object.keys(sets).length <= MAX_EVENTS, 'too many at once'),
})
/** So many are asked for at once. */
export const MAX_EVENTS = 50

/** The codes of an error body, 4.0 and 3.1.11 alike. */
export const errorCodes = z
  .object({ Errors: z.array(z.object({ ErrorCode: z.string().max(64) })).max(20) })
  .transform(({ Errors }) => Errors.map(({ ErrorCode }) => ErrorCode))
