import { z } from 'zod'
import { ALERT_ANSWER_VALUES, type AlertAnswer } from '../kernel/alert-vocabulary.ts'
import { scopeNames } from './event-rules.ts'
import type { UrlSchema } from './url-schema.ts'

/** The members of `alertResponses` in a registration: where a bank receives its customers' responses, and which it takes. */
export const alertResponseMembers = (urlSchema: UrlSchema) =>
  z.strictObject({
    /** Where the bank receives Security Event Tokens (RFC 8935). */
    url: urlSchema,
    /** The responses that the bank takes. With IT_WAS_ME, it must report when the customer has seen the detail in its own app. */
    accepts: z.array(z.enum(ALERT_ANSWER_VALUES)).min(1).max(ALERT_ANSWER_VALUES.length),
    /** The `aud` claim; the issuer of the bank's events if absent. */
    audience: z
      .string()
      .max(512)
      .regex(/^[\x21-\x7e]+$/, 'the text of the `aud` claim without spaces')
      .optional(),
    /** The scope of the token that is sent along. Absent if the signature alone identifies the gateway. */
    scope: scopeNames.optional(),
  })

/** Where a bank receives its customers' responses, and which it takes. */
export type AlertResponseRules = z.output<ReturnType<typeof alertResponseMembers>>

/** A customer's answer to an alert. Every ID is the bank's own. */
export interface CustomerAnswer {
  /** Identifies the answer: the same in every attempt. */
  readonly id: string
  readonly answer: AlertAnswer
  /** When the customer responded, ISO 8601. */
  readonly respondedAt: string
  /** The `jti` of the event that the alert came with. */
  readonly eventId: string
  /** The bank's reference of the account, as in `BankAccount.ref`. Absent if the alert is about no account. */
  readonly accountRef?: string | undefined
  /** The bank-side consent of the customer who answers. Absent if it has ended. */
  readonly consentRef?: string | undefined
  /** The person, as in `BankAccess.customerRef`. */
  readonly customerRef?: string | undefined
}

/**
 * Sends an answer to the bank. REJECTED: the bank will not take it, also later. Throws, so that it is sent again, if the bank cannot
 * be reached or refuses for a reason that can be corrected, such as a key that it has not fetched yet.
 */
export type SendAlertResponse = (answer: CustomerAnswer) => Promise<'ACCEPTED' | 'REJECTED'>
