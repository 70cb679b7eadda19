import { html, type Html } from '../../kernel/html.ts'
import { SCOPE_TABLE, type CustomerScope, type CustomerScopeText, type Purpose } from '../../kernel/scopes.ts'
import type { SignInOutline } from '../../modules/banks/index.ts'
import type { Consent, ConsentActor } from '../../modules/consents/index.ts'

const textOf = (scope: CustomerScope): CustomerScopeText => SCOPE_TABLE[scope].customerText

const PURPOSE_TEXTS: Readonly<Record<Purpose, string>> = {
  ANSWER_CUSTOMER: 'to answer you when you ask',
  FRAUD_AND_SECURITY_ALERTS: 'to warn you of fraud and of risks to your accounts',
  ACCOUNT_SERVICE: 'to help you with your accounts where you ask for it',
}

/** The scopes behind each switch. `accounts:read` has no switch, because all other scopes depend on it. */
const SWITCHES: readonly { name: string; scopes: readonly CustomerScope[] }[] = [
  { name: 'range', scopes: ['balances:band', 'balances:threshold'] },
  { name: 'exact', scopes: ['balances:exact'] },
  { name: 'alerts', scopes: ['alerts:read', 'alerts:respond'] },
]

/** The scopes and purposes that a customer agrees to. */
export interface Agreement {
  readonly scopes: readonly CustomerScope[]
  readonly purposes: readonly Purpose[]
}

/** Joins names with commas and “and”, without duplicates. */
export function joinWithAnd(names: readonly string[]): string {
  const unique = [...new Set(names)]
  return unique.length < 2 ? unique.join('') : `${unique.slice(0, -1).join(', ')} and ${unique.at(-1)!}`
}

/** What the platform asks to see, in a sentence. */
export const requestedDataText = (scopes: readonly CustomerScope[]): string =>
  joinWithAnd(scopes.map((scope) => textOf(scope).requested))

/** What `accounts:read` shares; undefined if it was not requested. */
export const accountsText = (scopes: readonly CustomerScope[]): string | undefined =>
  scopes.includes('accounts:read') ? textOf('accounts:read').label : undefined

/** The switches for the requested scopes. */
export const createSwitches = (
  requested: readonly CustomerScope[],
): { name: string; label: string; details: string }[] =>
  SWITCHES.flatMap(({ name, scopes }) => {
    const [first, ...others] = scopes.filter((scope) => requested.includes(scope)).map(textOf)
    if (!first) return []
    return [
      {
        name,
        label: first.label,
        details: [first.details, ...others.map((text) => `${text.label}: ${text.details}`)].join(' '),
      },
    ]
  })

/** The requested scopes that these switches select. Scopes without a switch are always selected. */
export const scopesOfSwitches = (
  requested: readonly CustomerScope[],
  switchNames: readonly string[],
): CustomerScope[] =>
  requested.filter((scope) => {
    const group = SWITCHES.find(({ scopes }) => scopes.includes(scope))
    return !group || switchNames.includes(group.name)
  })

/** What is shared, as a list. */
export const sharedDataTexts = (scopes: readonly CustomerScope[]): string[] =>
  [...new Set(scopes)].map((scope) => textOf(scope).label).map((label) => label[0]!.toUpperCase() + label.slice(1))

/** The purposes, as a list. */
export const purposeTexts = (purposes: readonly Purpose[]): string[] =>
  purposes.map((purpose) => PURPOSE_TEXTS[purpose])

/** States what is never shared. Shown on every page that states what is shared. */
export const neverSharedNotice: Html = html`<p class="never">
  <strong>Purchases and payments: never shared.</strong> This service has no place to hold them.
</p>`

/** A consent with the names of its platform and bank. */
export interface SharingCard {
  readonly consent: Consent
  readonly organizationId: string
  readonly platform: string
  readonly bank: string
}

/** A day in UTC. */
export const formatDay = (at: Date): string => at.toISOString().slice(0, 10)
/** A minute in UTC, without the zone. */
export const formatMinute = (at: Date): string => at.toISOString().slice(0, 16).replace('T', ' ')
const formatDateTime = (at: Date): string => `${formatMinute(at).replace(' ', ' at ')} UTC`

type EndedText = (names: Pick<SharingCard, 'platform' | 'bank'>, at: string) => string

const REVOKED_TEXTS: Readonly<Record<ConsentActor, EndedText>> = {
  CUSTOMER_AT_GATEWAY: ({ platform, bank }, at) => `You stopped sharing ${bank} with ${platform} on ${at}.`,
  CUSTOMER_AT_BANK: ({ platform, bank }, at) => `Sharing ${bank} with ${platform} was stopped at the bank on ${at}.`,
  CLIENT: ({ platform, bank }, at) => `${platform} ended the sharing of ${bank} on ${at}.`,
  BANK: ({ platform, bank }, at) => `${bank} ended the sharing with ${platform} on ${at}.`,
  ADMIN: ({ platform, bank }, at) => `The operator of Guichet ended the sharing of ${bank} with ${platform} on ${at}.`,
  SYSTEM: ({ platform, bank }, at) =>
    `Guichet ended the sharing of ${bank} with ${platform} on ${at}, because ${platform} did not complete the connection or used it in a way that is not allowed.`,
}

/** When a consent ended, and by whom. Undefined unless it was ACTIVE and has ended. */
export function endedText({ consent, ...names }: SharingCard): string | undefined {
  const { status, endedAt, endedBy } = consent
  if (!endedAt) return undefined
  if (status === 'EXPIRED')
    return `The time for which you shared ${names.bank} with ${names.platform} was over on ${formatDateTime(endedAt)}.`
  return status === 'REVOKED' && endedBy ? REVOKED_TEXTS[endedBy](names, formatDateTime(endedAt)) : undefined
}

/** Why a SUSPENDED consent shares nothing, and what can follow. */
export function suspendedText({ consent: { suspendedAt, expiresAt }, platform, bank }: SharingCard): string {
  const since = suspendedAt ? ` since ${formatDateTime(suspendedAt)}` : ''
  return (
    `${bank} has decided not to share with ${platform}, so nothing has been shared${since}. You need not do anything: if ${bank} ` +
    `allows it again before ${formatDay(expiresAt)}, sharing continues as you agreed.`
  )
}

/** What is said of a sign-in before it begins. */
export interface SignInTexts {
  readonly heading: string
  /** What happens, in sentences. */
  readonly explanation: string
  /** The label of the button that begins it. */
  readonly action: string
}

/** The texts for the customer of a bank, or for a person who tests it. */
export function signInTexts({ kind, asksFirst }: SignInOutline, bank: string): SignInTexts {
  const before = asksFirst ? `First, Guichet asks by which name or number ${bank} knows you. ` : ''
  switch (kind) {
    case 'DECOUPLED':
      return {
        heading: `Now ${bank} asks you to confirm in its app`,
        explanation: `${before}You confirm in ${bank}’s app, or by the means that you use there. You do not leave Guichet.`,
        action: 'Continue',
      }
    case 'EMBEDDED':
      return {
        heading: `Now ${bank} asks you to confirm`,
        explanation: `${before}${bank} then sends you a code, which you enter here, or asks you to confirm in its app. You do not leave Guichet.`,
        action: 'Continue',
      }
    default:
      return {
        heading: `Now ${bank} asks you to sign in`,
        explanation: `${before}You are about to leave Guichet for ${bank}’s own pages. There you sign in and choose the accounts.`,
        action: asksFirst ? 'Continue' : `Go to ${bank}`,
      }
  }
}
