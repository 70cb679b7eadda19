import { z } from 'zod'
import { GatewayError } from '../../kernel/errors.ts'
import { parseBankJson } from '../../kernel/wire.ts'
import {
  amountMember,
  createEntryParser,
  flag,
  opaqueId,
  optionalMember,
  requiredEntryList,
  type Entry,
} from '../wire-members.ts'
import { unwrapAccount } from './quirks.ts'

/**
 * The fields that Guichet reads from an FDX bank. It drops the transactions, bills, payments and free text that accounts may
 * contain. Numbers keep their JSON text.
 */
const text = z.string().max(64)
const word = optionalMember(text)

const accountSchema = z.preprocess(
  unwrapAccount,
  z.object({
    accountId: opaqueId,
    accountCategory: word,
    accountType: word,
    accountNumberDisplay: word,
    status: word,
    lineOfBusiness: word,
    currency: optionalMember(z.object({ currencyCode: word })),
    balanceType: word,
    debitAccounting: optionalMember(flag),
    currentBalance: amountMember,
    availableBalance: amountMember,
    openingDayBalance: amountMember,
    availableCredit: amountMember,
    creditLine: word,
    principalBalance: amountMember,
    error: optionalMember(z.object({ code: text })),
  }),
)
/** The fields of an account that are used, with its balances. */
export type WireAccount = z.output<typeof accountSchema>
/** Parses one account, flat or wrapped; undefined if it is malformed. */
export const parseWireAccount = createEntryParser(accountSchema)

/** One page of GET /accounts. The cursor is `nextOffset` up to 5.x and `nextPageKey` since 6.x. */
export const accountsResponse = z.object({
  accounts: requiredEntryList,
  page: optionalMember(z.object({ nextOffset: z.unknown().optional(), nextPageKey: z.unknown().optional() })),
})

/** Parses the response to GET /accounts/{id}: the account, flat or wrapped. Throws `BANK_RESPONSE_INVALID`. */
export function parseAccountResponse({ text }: { readonly text: string }): Entry<WireAccount> {
  const entry = parseWireAccount(parseBankJson(z.unknown(), text))
  if (!entry) throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: 'no account' })
  return entry
}

/** The fields of a notification that are used: type, severity, subject and time. */
export const notificationSchema = z.object({
  notificationId: z.string().min(1).max(256),
  type: text,
  sentOn: word,
  severity: word,
  notificationPayload: optionalMember(z.object({ id: optionalMember(opaqueId), idType: word })),
})
