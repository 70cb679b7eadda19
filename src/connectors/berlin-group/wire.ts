import { z } from 'zod'
import {
  consentTokenId,
  container,
  createEntryParser,
  flag,
  opaqueId,
  optionalMember,
  requiredEntryList,
} from '../wire-members.ts'

/** The fields that Guichet reads from a NextGenPSD2 bank. It drops owners, free-text names, change times and most links. */
const text = z.string().max(64)
const word = optionalMember(text)
const link = optionalMember(z.object({ href: optionalMember(z.string().max(8_192)) }))

/** How the authorisation of a consent goes on: members of the consent and of its authorisations (1.3.11, 14). */
const authorisation = {
  authorisationId: optionalMember(opaqueId),
  scaStatus: word,
  scaMethods: optionalMember(z.array(z.unknown()).max(20)),
  chosenScaMethod: optionalMember(z.object({ authenticationType: word })),
  challengeData: optionalMember(
    z.object({
      data: optionalMember(z.array(z.unknown()).max(20)),
      otpMaxLength: optionalMember(z.coerce.number().int().min(1).max(64)),
      otpFormat: word,
    }),
  ),
  _links: optionalMember(
    container({
      scaRedirect: link,
      scaOAuth: link,
      scaStatus: link,
      startAuthorisation: link,
      startAuthorisationWithPsuIdentification: link,
      startAuthorisationWithPsuAuthentication: link,
      startAuthorisationWithEncryptedPsuAuthentication: link,
      updatePsuAuthentication: link,
      updateEncryptedPsuAuthentication: link,
      selectAuthenticationMethod: link,
    }),
  ),
}
/** The response to POST /v1/consents. The sign-in page is a link, or at the authorization server (OAuth SCA). */
export const consentResponse = z.object({ consentId: consentTokenId, ...authorisation })
/** The response to a new or updated authorisation, and its status. */
export const authorisationResponse = z.object(authorisation)
/** How the authorisation of a consent goes on. */
export type AuthorisationResponse = z.output<typeof authorisationResponse>
/** A method by which the customer can confirm. The bank's own words for it are not read. */
export const scaMethod = z.object({ authenticationType: text, authenticationMethodId: opaqueId })
/** The response to GET /v1/consents/{id}/status. Some banks repeat the consent id. */
export const consentStatusResponse = z.object({ consentStatus: text, consentId: optionalMember(consentTokenId) })
/** The final states of a consent (1.3.11, 14.19). */
export const ENDED_STATUSES: ReadonlySet<string> = new Set(['rejected', 'revokedByPsu', 'expired', 'terminatedByTpp'])
/** A consent notification of the Resource Status Notification Service. */
export const statusNotification = z.object({ consentId: consentTokenId, consentStatus: text })

const accountSchema = z.object({
  /** Optional in the standard: the link to the balances has an id as well. */
  resourceId: optionalMember(opaqueId),
  iban: word,
  bban: word,
  maskedPan: word,
  currency: word,
  cashAccountType: word,
  status: word,
  usage: word,
  /** Only with `withBalance`. */
  balances: optionalMember(requiredEntryList),
  _links: optionalMember(container({ balances: link })),
})
/** The fields of an account or card account that are used. */
export type WireAccount = z.output<typeof accountSchema>
/** Parses one account; undefined if it is malformed. */
export const parseWireAccount = createEntryParser(accountSchema)

/** The response to GET /v1/accounts; each account is parsed separately. */
export const accountsResponse = z.object({ accounts: requiredEntryList })
/** The response to GET /v1/card-accounts. */
export const cardAccountsResponse = z.object({ cardAccounts: requiredEntryList })

const balanceSchema = z.object({
  balanceAmount: z.object({ currency: text, amount: text }),
  balanceType: text,
  creditLimitIncluded: optionalMember(flag),
  /** These two decide between several balances of one kind, and are not used for anything else. */
  referenceDate: word,
  lastChangeDateTime: word,
})

/** The response with an account's balances; each is parsed separately, so that a malformed one does not affect others. */
export const balancesResponse = z.object({
  balances: requiredEntryList,
  debitAccounting: optionalMember(flag),
})
/** The parsed response with an account's balances. */
export type BalancesResponse = z.output<typeof balancesResponse>
/** Parses one balance; undefined if it is malformed. */
export const parseWireBalance = createEntryParser(balanceSchema)

const misplacedFlag = z.object({ debitAccounting: flag })
/** Parses the flag of a card account within the list of balances; undefined for anything else. */
export const parseMisplacedFlag = (value: unknown): boolean | undefined =>
  misplacedFlag.safeParse(value).data?.debitAccounting
