import { html, type Html } from '../../kernel/html.ts'
import type { CustomerScope } from '../../kernel/scopes.ts'

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
