import { html, type Html } from '../../kernel/html.ts'
import type { CustomerScope } from '../../kernel/scopes.ts'
import type { Consent, RevokedBy } from '../../modules/consents/index.ts'

/** The lines that a customer can switch, and the scopes that each stands for. */
export const SHARING_LINES: readonly { name: string; label: string; more: string; scopes: readonly CustomerScope[] }[] =
  [
    {
      name: 'range',
      label: 'Account balances, as a range',
      more: 'Such as “between 400 and 450”. Updated at most every six hours.',
      scopes: ['balances:threshold', 'balances:band'],
    },
    {
      name: 'exact',
      label: 'Account balances, exact, when you ask',
      more: 'The amount itself, while you are writing to them, at most four times in any 24 hours. Frequent exact amounts can reveal single purchases.',
      scopes: ['balances:exact'],
    },
    {
      name: 'alerts',
      label: 'Security alerts',
      more: 'That your bank suspects something, and what to do. Not where, with whom or how much.',
      scopes: ['alerts:read', 'alerts:respond'],
    },
  ]

/** What no customer can share, on every page that says what is shared. */
export const never: Html = html`<p class="never">
  <strong>Purchases and payments: never shared.</strong> This service has no place to hold them.
</p>`

/** A consent with the names that a customer knows. */
export interface SharingCard {
  readonly consent: Consent
  readonly platform: string
  readonly bank: string
}

/** A day in UTC. */
export const day = (at: Date): string => at.toISOString().slice(0, 10)
/** A minute in UTC, without the zone. */
export const minute = (at: Date): string => at.toISOString().slice(0, 16).replace('T', ' ')
const moment = (at: Date): string => `${minute(at).replace(' ', ' at ')} UTC`

type Ended = (names: Omit<SharingCard, 'consent'>, at: string) => string

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
  const { state, endedAt, revokedBy } = consent
  if (!endedAt) return undefined
  if (state === 'EXPIRED')
    return `The time for which you shared ${names.bank} with ${names.platform} was over on ${moment(endedAt)}.`
  return state === 'REVOKED' && revokedBy ? REVOKED_WORDS[revokedBy](names, moment(endedAt)) : undefined
}

/** Names in a sentence, each once. */
export function listed(names: readonly string[]): string {
  const all = [...new Set(names)].sort()
  return all.length < 2 ? all.join('') : `${all.slice(0, -1).join(', ')} and ${all.at(-1)!}`
}
