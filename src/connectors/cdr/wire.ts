import { z } from 'zod'
import { amountMember, container, createEntryParser, entryList, opaqueId, optionalMember } from '../wire-members.ts'

/** The fields that Guichet reads from a CDR bank. It drops nicknames, display names and vendor extensions. */
const text = z.string().max(64)
const word = optionalMember(text)

const accountSchema = z.object({
  accountId: opaqueId,
  productCategory: word,
  openStatus: word,
  maskedNumber: word,
})
/** Parses one account; undefined if it is malformed. */
export const parseWireAccount = createEntryParser(accountSchema)

const links = optionalMember(container({ next: z.unknown().optional() }))
/** One page of GET /banking/accounts (version 3); each account is parsed separately. */
export const accountsResponse = z.object({ data: container({ accounts: entryList }), links })

const purse = z.object({ amount: text, currency: word })
const balanceSchema = z.object({
  accountId: opaqueId,
  currentBalance: amountMember,
  availableBalance: amountMember,
  creditLimit: word,
  currency: word,
  purses: optionalMember(entryList.pipe(z.array(optionalMember(purse)))),
})
/** The fields of an account's balances that are used. */
export type WireBalance = z.output<typeof balanceSchema>
/** Parses one account's balances; undefined if they are malformed. */
export const parseWireBalance = createEntryParser(balanceSchema)

/** One page of GET /banking/accounts/balances (version 2); each entry is parsed separately. */
export const balancesResponse = z.object({ data: container({ balances: entryList }), links })
/** The response to GET /banking/accounts/{id}/balance (version 1); the entry is parsed separately. */
export const balanceResponse = z.object({ data: z.looseObject({}).nullable() })
