import { z } from 'zod'
import { container, createEntryParser, entryList, flag, opaqueId, optionalMember } from '../wire-members.ts'

/**
 * The fields that Guichet reads from an Open Banking bank, under their names in 4.0 and in 3.1.11. It drops nicknames,
 * descriptions, owners and statements.
 */
const text = z.string().max(256)
const word = optionalMember(z.string().max(64))

/** The response to POST /account-access-consents and GET /account-access-consents/{id}. */
export const consentResponse = z.object({ Data: z.object({ ConsentId: opaqueId, Status: word }) })

const identification = z.object({
  SchemeName: optionalMember(text),
  Identification: text,
  SecondaryIdentification: optionalMember(text),
})
const accountSchema = z.object({
  AccountId: opaqueId,
  Status: word,
  Currency: word,
  AccountCategory: word,
  AccountTypeCode: word,
  /** The 3.1.11 name of AccountCategory. */
  AccountType: word,
  /** The 3.1.11 name of AccountTypeCode. */
  AccountSubType: word,
  Account: optionalMember(entryList.pipe(z.array(optionalMember(identification)))),
})
/** The fields of an account that are used. */
export type WireAccount = z.output<typeof accountSchema>
/** Parses one account; undefined if it is malformed. */
export const parseWireAccount = createEntryParser(accountSchema)

const links = optionalMember(container({ Next: z.unknown().optional() }))

/** One page of GET /accounts; each account is parsed separately. */
export const accountsResponse = z.object({ Data: container({ Account: entryList }), Links: links })

const moneySchema = z.object({ Amount: z.string().max(64), Currency: z.string().max(64) })
const balanceSchema = z.object({
  AccountId: opaqueId,
  CreditDebitIndicator: z.string().max(64),
  Type: z.string().max(64),
  /** Decides between several balances of one kind, and is not used for anything else. */
  DateTime: word,
  Amount: moneySchema,
  CreditLine: optionalMember(
    entryList.pipe(z.array(z.object({ Included: flag, Amount: optionalMember(moneySchema) }))),
  ),
})
/** The fields of a balance that are used. */
export type WireBalance = z.output<typeof balanceSchema>
/** Parses one balance; undefined if it is malformed. */
export const parseWireBalance = createEntryParser(balanceSchema)

/** One page of GET /balances or GET /accounts/{id}/balances; each balance is parsed separately. */
export const balancesResponse = z.object({ Data: container({ Balance: entryList }), Links: links })

const subscriptionSchema = z.object({ CallbackUrl: optionalMember(z.string().max(2_048)) })
/** The response to GET /event-subscriptions. */
export const subscriptionsResponse = z.object({
  Data: container({ EventSubscription: entryList.pipe(z.array(optionalMember(subscriptionSchema))) }),
})
