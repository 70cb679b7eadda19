import { GatewayError } from '../kernel/errors.ts'
import type { BankAccess, PresentCustomer } from './access.ts'

/** The state that must be stored, sealed, until the sign-in continues. */
export interface PendingSignIn {
  /** The bank's consent id; empty if there is none yet. */
  readonly consentRef: string
  readonly state: string
  readonly codeVerifier: string
  readonly nonce: string
  /** The bank's link to the metadata of its authorization server, if the profile follows such links. */
  readonly metadataUrl?: string | undefined
  /** The tokens that the bank issued before its consent is valid. */
  readonly access?: BankAccess | undefined
  /** What the standard needs for the next step. Only the standard reads it. */
  readonly progress?: unknown
}

/**
 * What a bank needs to know of the customer before it lets them sign in. The list is closed, and it has no password: a customer
 * enters a password only on pages of the bank.
 */
export type SignInField =
  /** What identifies the customer at the bank, such as a customer number. */
  | { readonly name: 'PSU_ID'; readonly label: CustomerIdLabel }
  /** Which of the bank's interfaces the customer uses, such as that of one of its brands. */
  | { readonly name: 'PSU_ID_TYPE'; readonly choices: readonly SignInChoice[] }
  /** The account to share, where the bank has no page to choose accounts. */
  | { readonly name: 'IBAN' }
  /** How the customer confirms. */
  | { readonly name: 'SCA_METHOD'; readonly choices: readonly SignInChoice[] }
  /** The code that the customer gets by the method. `challenge` is what a code generator must be given. */
  | {
      readonly name: 'ONE_TIME_CODE'
      readonly maxLength: number
      readonly isNumeric: boolean
      readonly challenge?: string | undefined
    }
/** The name of a field. */
export type SignInFieldName = SignInField['name']

/** What banks call the customer's identifier. */
export const CUSTOMER_ID_LABELS = [
  'USER_NAME',
  'CUSTOMER_NUMBER',
  'CONTRACT_NUMBER',
  'ACCOUNT_NUMBER',
  'EMAIL_ADDRESS',
  'NATIONAL_ID',
] as const
/** What a bank calls the customer's identifier. */
export type CustomerIdLabel = (typeof CUSTOMER_ID_LABELS)[number]

/** One of several choices. The label is never a text of the bank's responses. */
export interface SignInChoice {
  readonly value: string
  readonly label: string
}

/** Who a sign-in waits for: the customer, the bank after the customer's agreement, or the bank before its sign-in page. */
export type WaitsFor = 'CUSTOMER' | 'BANK' | 'SIGN_IN_PAGE'

/** A step after which the sign-in continues. */
export type OpenSignInStep =
  /** The customer continues at the bank's own pages. */
  | { readonly kind: 'REDIRECT'; readonly url: string; readonly pending: PendingSignIn }
  /** The customer fills in a form of the gateway. */
  | {
      readonly kind: 'ASK'
      readonly fields: readonly SignInField[]
      /** Whether the same was asked before, and the bank or the gateway did not accept the values. */
      readonly isRepeated: boolean
      readonly pending: PendingSignIn
    }
  /** The customer confirms in the bank's app, or the bank completes the consent, or gets ready for the sign-in. */
  | {
      readonly kind: 'WAIT'
      readonly waitsFor: WaitsFor
      readonly pollAfterSeconds: number
      /** When the sign-in ends without success, ISO 8601, UTC. */
      readonly expiresAt: string
      readonly pending: PendingSignIn
    }

/** A step of a sign-in. */
export type SignInStep = OpenSignInStep | { readonly kind: 'COMPLETE'; readonly access: BankAccess }

/** How a sign-in continues. */
export type SignInInput = { readonly customer: PresentCustomer } & (
  | /** The bank's callback, with its parameters. */ { readonly kind: 'CALLBACK'; readonly url: URL }
  | { readonly kind: 'FORM'; readonly values: SignInValues }
  /** Whether the bank has got on. */
  | { readonly kind: 'POLL' }
)

/** The values that the customer entered, by field. */
export type SignInValues = Readonly<Partial<Record<SignInFieldName, string>>>

/** The callback of a sign-in that has only redirects. */
export function requireCallback(input: SignInInput): URL {
  if (input.kind !== 'CALLBACK')
    throw new GatewayError('INTERNAL', { internalMessage: 'the sign-in continues only by a callback' })
  return input.url
}

/** How the customer agrees at a bank; the terms are those of the Berlin Group (1.3.11, 5). */
export type SignInKind = 'OAUTH' | 'OAUTH_PRE_STEP' | 'REDIRECT' | 'DECOUPLED' | 'EMBEDDED'
