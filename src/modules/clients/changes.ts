import { digest } from '../../kernel/ids.ts'
import type { Change } from '../ledger/index.ts'
import type { Client, Platform } from './model.ts'

/** How each field of a client is written in the ledger, in this order. Keys are named and told apart, never copied. */
const FIELDS: readonly (readonly [field: string, valuesOf: (client: Client) => readonly string[]])[] = [
  ['name', ({ name }) => [name]],
  ['status', ({ status }) => [status]],
  ['tokenBinding', ({ tokenBinding }) => [tokenBinding]],
  ['scopes', ({ scopes }) => scopes],
  ['redirectUris', ({ redirectUris }) => redirectUris],
  ['keys', ({ keys }) => keys.keys.map((key) => `${String(key['kid'])} ${digest(JSON.stringify(key)).slice(0, 12)}`)],
  ['quotaPerMinute', ({ quotaPerMinute }) => [String(quotaPerMinute)]],
  ['customerQuotaPerMinute', ({ customerQuotaPerMinute }) => [String(customerQuotaPerMinute)]],
  ['operations', ({ operations }) => [operations]],
]

/** What changed of a client, each field with its values before and after; all of a new one. */
export const changesOf = (before: Client | undefined, after: Client): Change[] =>
  FIELDS.map(([field, valuesOf]) => ({ field, before: before ? valuesOf(before) : [], after: valuesOf(after) })).filter(
    (change) => JSON.stringify(change.before) !== JSON.stringify(change.after),
  )

/** What changed of a platform; all of a new one. */
export const platformChangesOf = (before: Platform | undefined, after: Platform): Change[] =>
  before?.name === after.name ? [] : [{ field: 'name', before: before ? [before.name] : [], after: [after.name] }]
