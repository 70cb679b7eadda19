import { digest } from '../../kernel/ids.ts'
import type { Change } from '../ledger/index.ts'
import type { Client, Organization } from './model.ts'

/** The format of each field of a client in the ledger, in this order. Keys and addresses are identified by a digest. */
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
  // The ledger keeps entries for years, and the address may be that of a person.
  ['contactEmail', ({ contactEmail }) => (contactEmail === null ? [] : [digest(contactEmail).slice(0, 12)])],
]

/** The changed fields of a client with their values before and after; all fields of a new client. */
export const changesOf = (before: Client | undefined, after: Client): Change[] =>
  FIELDS.map(([field, valuesOf]) => ({ field, before: before ? valuesOf(before) : [], after: valuesOf(after) })).filter(
    (change) => JSON.stringify(change.before) !== JSON.stringify(change.after),
  )

/** The changed fields of an organization; all fields of a new one. */
export const organizationChangesOf = (before: Organization | undefined, after: Organization): Change[] =>
  (['kind', 'name'] as const)
    .filter((field) => before?.[field] !== after[field])
    .map((field) => ({ field, before: before ? [before[field]] : [], after: [after[field]] }))
