import { html, type Html } from '../../kernel/html.ts'
import type { CustomerScope, Purpose } from '../../kernel/scopes.ts'
import type { Consent, RevokedBy } from '../../modules/consents/index.ts'

/** What one scope means, in the customer's words. */
interface ScopeWords {
  /** What the platform asks to see. */
  readonly asks: string
  readonly label: string
  /** What that means, as a sentence. */
  readonly more: string
}

const SCOPE_WORDS: Readonly<Record<CustomerScope, ScopeWords>> = {
  'accounts:read': {
    asks: 'your accounts',
    label: 'the kind and name of each account and the last digits of its number',
    more: '',
  },
  'balances:band': {
    asks: 'your balances',
    label: 'Account balances, as a range',
    more: 'Such as “between 400 and 450”. Updated at most every six hours.',
  },
  'balances:threshold': {
    asks: 'your balances',
    label: 'Whether a balance is at least an amount',
    more: 'The answer is “at least that” or “not certain”, at most six times in any 24 hours.',
  },
  'balances:exact': {
    asks: 'your balances',
    label: 'Account balances, exact, when you ask',
    more: 'The amount itself, while you are writing to them, at most four times in any 24 hours. Frequent exact amounts can reveal single purchases.',
  },
  'alerts:read': {
    asks: 'security alerts',
    label: 'Security alerts',
    more: 'That your bank suspects something, and what to do. Not where, with whom or how much.',
  },
  'alerts:respond': {
    asks: 'your answers to security alerts',
    label: 'Your answers to security alerts',
    more: 'What you answer to an alert in the chat.',
  },
}

const PURPOSE_WORDS: Readonly<Record<Purpose, string>> = {
  ANSWER_CUSTOMER: 'to answer you when you ask',
  FRAUD_AND_SECURITY_ALERTS: 'to warn you of fraud and of risks to your accounts',
  ACCOUNT_SERVICE: 'to help you with your accounts where you ask for it',
}

/** What the customer switches on by one switch. Without a switch: the accounts, which everything else belongs to. */
const SWITCHES: readonly { name: string; scopes: readonly CustomerScope[] }[] = [
  { name: 'range', scopes: ['balances:band', 'balances:threshold'] },
  { name: 'exact', scopes: ['balances:exact'] },
  { name: 'alerts', scopes: ['alerts:read', 'alerts:respond'] },
]

/** What a customer agrees to, of what was requested. */
export interface Agreed {
  readonly scopes: readonly CustomerScope[]
  readonly purposes: readonly Purpose[]
}

/** Names in a sentence, each once. */
export function listed(names: readonly string[]): string {
  const all = [...new Set(names)]
  return all.length < 2 ? all.join('') : `${all.slice(0, -1).join(', ')} and ${all.at(-1)!}`
}

/** What the platform asks to see, in a sentence. */
export const asksWords = (scopes: readonly CustomerScope[]): string =>
  listed(scopes.map((scope) => SCOPE_WORDS[scope].asks))

/** What the accounts themselves show; undefined where they were not requested. */
export const accountsWords = (scopes: readonly CustomerScope[]): string | undefined =>
  scopes.includes('accounts:read') ? SCOPE_WORDS['accounts:read'].label : undefined

/** The switches for what was requested, and only for that. */
export const switchesFor = (requested: readonly CustomerScope[]): { name: string; label: string; more: string }[] =>
  SWITCHES.flatMap(({ name, scopes }) => {
    const [first, ...others] = scopes.filter((scope) => requested.includes(scope)).map((scope) => SCOPE_WORDS[scope])
    if (!first) return []
    return [
      { name, label: first.label, more: [first.more, ...others.map((one) => `${one.label}: ${one.more}`)].join(' ') },
    ]
  })

/** The scopes of what was requested that the customer agrees to by these switches. */
export const switchedOn = (requested: readonly CustomerScope[], switched: readonly string[]): CustomerScope[] =>
  requested.filter((scope) => {
    const by = SWITCHES.find(({ scopes }) => scopes.includes(scope))
    return !by || switched.includes(by.name)
  })

/** What is shared, as a list. */
export const sharedWords = (scopes: readonly CustomerScope[]): string[] =>
  [...new Set(scopes)].map((scope) => SCOPE_WORDS[scope].label).map((label) => label[0]!.toUpperCase() + label.slice(1))

/** What for, as a list. */
export const purposeWords = (purposes: readonly Purpose[]): string[] =>
  purposes.map((purpose) => PURPOSE_WORDS[purpose])

/** What no customer can share, on every page that says what is shared. */
export const never: Html = html`<p class="never">
  <strong>Purchases and payments: never shared.</strong> This service has no place to hold them.
</p>`

/** A consent with the names that a customer knows. */
export interface SharingCard {
  readonly consent: Consent
  readonly platformId: string
  readonly platform: string
  readonly bank: string
}

/** A day in UTC. */
export const day = (at: Date): string => at.toISOString().slice(0, 10)
/** A minute in UTC, without the zone. */
export const minute = (at: Date): string => at.toISOString().slice(0, 16).replace('T', ' ')
const moment = (at: Date): string => `${minute(at).replace(' ', ' at ')} UTC`

type Ended = (names: Pick<SharingCard, 'platform' | 'bank'>, at: string) => string

const REVOKED_WORDS: Readonly<Record<RevokedBy, Ended>> = {
  CUSTOMER_AT_GATEWAY: ({ platform, bank }, at) => `You stopped sharing ${bank} with ${platform} on ${at}.`,
  CUSTOMER_AT_BANK: ({ platform, bank }, at) => `Sharing ${bank} with ${platform} was stopped at the bank on ${at}.`,
  CLIENT: ({ platform, bank }, at) => `${platform} ended the sharing of ${bank} on ${at}.`,
  ADMIN: ({ platform, bank }, at) => `The operator of Guichet ended the sharing of ${bank} with ${platform} on ${at}.`,
  SYSTEM: ({ platform, bank }, at) =>
    `Guichet ended the sharing of ${bank} with ${platform} on ${at}, because ${platform} did not complete the connection.`,
}

/** When a consent ended, and by whom. Undefined where it has not ended after it was ACTIVE. */
export function endedWords({ consent, ...names }: SharingCard): string | undefined {
  const { status: state, endedAt, revokedBy } = consent
  if (!endedAt) return undefined
  if (state === 'EXPIRED')
    return `The time for which you shared ${names.bank} with ${names.platform} was over on ${moment(endedAt)}.`
  return state === 'REVOKED' && revokedBy ? REVOKED_WORDS[revokedBy](names, moment(endedAt)) : undefined
}
