import { defineCommand, defineStream, type CommandContext } from '../command.ts'
import { queryField, requestClientToken } from '../graph.ts'
import { positiveInteger, SINCE, text, textList, textWithDefault, UNTIL, type ValuesOf } from '../inputs.ts'
import { readClientFile } from '../key-files.ts'
import { table } from '../view.ts'

const FIELDS =
  'id action occurredAt clientId subjectId consentId requestId detail purposes changes { field before after }'
const QUERY = `query ($first: Int!, $after: Cursor, $filter: AuditLogFilter, $direction: OrderDirection!) {
  auditLog(first: $first, after: $after, filter: $filter, orderBy: { field: OCCURRED_AT, direction: $direction }) {
    nodes { ${FIELDS} } pageInfo { hasNextPage endCursor } } }`
const PAGE_SIZE = 100
const DEFAULT_LIMIT = 20

const FILTER = {
  since: SINCE,
  until: UNTIL,
  actions: textList('--action <action>', 'only entries of this action, such as CLIENT_REGISTERED'),
  client: text('--client <client-id>', 'only what this client did'),
  subject: text('--subject <id>', 'only what was done to this object'),
  as: textWithDefault('--as <client>', 'a client with ledger:read, by its name or key file', 'admin'),
}

interface Page {
  readonly nodes: readonly unknown[]
  readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string | null }
}

/** The audit log: who read or changed what. */
export const LEDGER_COMMANDS = [
  defineCommand({
    name: 'ledger list',
    description: 'List the newest entries of the audit log: who did what, with the values before and after.',
    options: {
      limit: positiveInteger('--limit <number>', 'how many (default: 20); for more: guichet ledger export', PAGE_SIZE),
      ...FILTER,
    },
    examples: ['guichet ledger list --limit 50', 'guichet ledger list --subject <client id>'],
    json: `[{ ${FIELDS} }]`,
    view: (entries, terminal) => entryTable((entries as Entry[]).map(withChangesAsText), terminal),
    async run(context, { limit = DEFAULT_LIMIT, ...filter }) {
      const { nodes } = await fetchPage(context, filter, { direction: 'DESC', first: limit, after: null })
      return nodes
    },
  }),
  defineStream({
    name: 'ledger export',
    description: 'Print all entries, oldest first, as JSON Lines: one JSON document per line.',
    options: FILTER,
    examples: ['guichet ledger export --since -24h > ledger.jsonl'],
    json: `[{ ${FIELDS} }]`,
    async *stream(context, filter) {
      let after: string | null = null
      do {
        const page: Page = await fetchPage(context, filter, { direction: 'ASC', first: PAGE_SIZE, after })
        yield* page.nodes
        after = page.pageInfo.hasNextPage ? page.pageInfo.endCursor : null
      } while (after !== null)
    },
  }),
]

interface Entry {
  readonly changes: readonly {
    readonly field: string
    readonly before: readonly string[]
    readonly after: readonly string[]
  }[]
}

const entryTable = table({
  OCCURRED: 'occurredAt',
  ACTION: 'action',
  CLIENT: 'clientId',
  SUBJECT: 'subjectId',
  CONSENT: 'consentId',
  DETAIL: 'detail',
  CHANGES: 'changes',
})

const withChangesAsText = (entry: Entry) => ({
  ...entry,
  changes: entry.changes
    .map(({ field, before, after }) => `${field}: ${before.join(' ') || 'none'} → ${after.join(' ') || 'none'}`)
    .join('; '),
})

async function fetchPage(
  context: CommandContext,
  { since, until, actions, client, subject, as }: ValuesOf<typeof FILTER>,
  page: { readonly direction: 'ASC' | 'DESC'; readonly first: number; readonly after: string | null },
): Promise<Page> {
  const filter = {
    ...(actions && { actions }),
    ...(client !== undefined && { clientIds: [client] }),
    ...(subject !== undefined && { subjectIds: [subject] }),
    ...((since ?? until) !== undefined && { occurred: { since: since ?? null, until: until ?? null } }),
  }
  // Tokens live for minutes, so a long export requests a new one for each page.
  const isAdmin = as === 'admin' || readClientFile(context, as).scopes?.includes('clients:manage') === true
  const token = await requestClientToken(context, as, isAdmin ? 'ledger:read clients:manage' : 'ledger:read')
  return (await queryField(context, token, QUERY, 'auditLog', { ...page, filter })) as Page
}
