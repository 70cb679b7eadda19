import { digest } from '../../kernel/ids.ts'
import type { Change } from '../ledger/index.ts'
import type { Client, Organization } from './model.ts'

/** How each field of a client is written in the ledger, in this order. Keys are named and told apart, never copied. */
const FIELDS: readonly (readonly [field: string, valuesOf: (client: Client) => readonly string[]])[] = [
  ['name', ({ name }) => [name]],
  ['status', ({ status }) => [status]],
  ['tokenBinding', ({ tokenBinding }) => [tokenBinding]],
  ['scopes', ({ scopes }) => scopes],
  ['redirectUris', ({ redirectUris }) => redirectUris],
  ['jwks', ({ jwks }) => jwks.keys.map((key) => `${String(key['kid'])} ${digest(JSON.stringify(key)).slice(0, 12)}`)],
  ['pointsPerMinute', ({ pointsPerMinute }) => [String(pointsPerMinute)]],
  ['pointsPerCustomerPerMinute', ({ pointsPerCustomerPerMinute }) => [String(pointsPerCustomerPerMinute)]],
  ['operationPolicy', ({ operationPolicy }) => [operationPolicy]],
]

/** What changed of a client, each field with its values before and after; all of a new one. */
export const changesOf = (before: Client | undefined, after: Client): Change[] =>
  FIELDS.map(([field, valuesOf]) => ({ field, before: before ? valuesOf(before) : [], after: valuesOf(after) })).filter(
    (change) => JSON.stringify(change.before) !== JSON.stringify(change.after),
  )

/** What changed of an organization; all of a new one. */
export const organizationChangesOf = (before: Organization | undefined, after: Organization): Change[] =>
  (['kind', 'name'] as const)
    .filter((field) => before?.[field] !== after[field])
    .map((field) => ({ field, before: before ? [before[field]] : [], after: [after[field]] }))
