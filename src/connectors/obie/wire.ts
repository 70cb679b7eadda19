import { z } from 'zod'
import { arrayOrSingle } from './quirks.ts'

/**
 * The fields that Guichet reads from an Open Banking bank, under their names in 4.0 and in 3.1.11. It drops nicknames,
 * descriptions, owners and statements.
 */
const id = z.string().min(1).max(128)

/** The response to POST /account-access-consents. */
export const consentResponse = z.object({ Data: z.object({ ConsentId: id, Status: z.string().max(40) }) })

const accountSchema = z.object({
  AccountId: id,
  Status: z.string().max(40).optional(),
  Currency: z.string().max(3).optional(),
  AccountCategory: z.string().max(40).optional(),
  AccountTypeCode: z.string().max(40).optional(),
  /** The 3.1.11 name of AccountCategory. */
  AccountType: z.string().max(40).optional(),
  /** The 3.1.11 name of AccountTypeCode. */
  AccountSubType: z.string().max(40).optional(),
  Account: arrayOrSingle(
    z.object({
      SchemeName: z.string().max(60).optional(),
      Identification: z.string().max(256),
      SecondaryIdentification: z.string().max(256).optional(),
    }),
  ).optional(),
})
/** The fields of an account that are used. */
export type WireAccount = z.output<typeof accountSchema>
/** Parses one account; undefined if it is malformed. */
export const parseWireAccount = (value: unknown): WireAccount | undefined => accountSchema.safeParse(value).data

const links = z.object({ Next: z.string().max(2_048).optional() }).optional()

/** One page of GET /accounts; each account is parsed separately. */
export const accountsResponse = z.object({ Data: z.object({ Account: arrayOrSingle(z.unknown()) }), Links: links })

const moneySchema = z.object({ Amount: z.string().max(40), Currency: z.string().max(3) })
const balanceSchema = z.object({
  AccountId: id,
  CreditDebitIndicator: z.string().max(10),
  Type: z.string().max(40),
  Amount: moneySchema,
  CreditLine: arrayOrSingle(z.object({ Included: z.boolean(), Amount: moneySchema.optional() })).optional(),
})
/** The fields of a balance that are used. */
export type WireBalance = z.output<typeof balanceSchema>
/** Parses one balance; undefined if it is malformed. */
export const parseWireBalance = (value: unknown): WireBalance | undefined => balanceSchema.safeParse(value).data

/** One page of GET /balances or GET /accounts/{id}/balances; each balance is parsed separately. */
export const balancesResponse = z.object({ Data: z.object({ Balance: arrayOrSingle(z.unknown()) }), Links: links })

const subscriptionSchema = z.object({ CallbackUrl: z.string().max(2_048).optional() })
/** The response to GET /event-subscriptions. */
export const subscriptionsResponse = z.object({
  Data: z.object({ EventSubscription: arrayOrSingle(subscriptionSchema).optional() }),
})

/** The response to POST /events: signed events, keyed by `jti`. */
export const eventsResponse = z.object({
  sets: z
    .record(z.string().min(1).max(128), z.string().max(16_384))
    .refine((sets) => Object.keys(sets).length <= MAX_EVENTS, 'more events than requested'),
})
/** The maximum number of events in one poll. */
export const MAX_EVENTS = 50

/** The codes of an error body, in 4.0 and 3.1.11. */
export const errorCodes = z
  .object({ Errors: z.array(z.object({ ErrorCode: z.string().max(64) })).max(20) })
  .transform(({ Errors }) => Errors.map(({ ErrorCode }) => ErrorCode))
