import {
  queryField,
  requireOption,
  parsePositiveInteger,
  requestClientToken,
  parseTime,
  type Command,
  type Options,
  type CommandContext,
} from './command.ts'
import { UsageError } from './errors.ts'
import { readClientFile } from './sandbox.ts'

const FIELDS =
  'id action occurredAt clientId subjectId consentId requestId detail purposes changes { field before after }'
const QUERY = `query ($first: Int!, $after: Cursor, $filter: AuditLogFilter, $direction: OrderDirection!) {
  auditLog(first: $first, after: $after, filter: $filter, orderBy: { field: OCCURRED_AT, direction: $direction }) {
    nodes { ${FIELDS} } pageInfo { hasNextPage endCursor } } }`
const FILTER_OPTIONS =
  '[--since <time>] [--until <time>] [--action <action>]… [--client <client id>] [--subject <id>] [--as <client>]'
const PAGE_SIZE = 100
const DEFAULT_LIMIT = '20'

interface Page {
  readonly nodes: readonly unknown[]
  readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string | null }
}

/** The commands that read the audit log: who read or changed what. */
export const LEDGER_COMMANDS: Readonly<Record<string, Command>> = {
  'ledger list': {
    usage: `ledger list [--limit <number>] ${FILTER_OPTIONS}`,
    description: 'the newest entries of the audit log: who read or changed what, with what was before and after',
    async run(context, _args, options) {
      const limit = parsePositiveInteger('--limit', options.limit ?? DEFAULT_LIMIT)
      if (limit > PAGE_SIZE) throw new UsageError(`--limit is at most ${PAGE_SIZE}; for more: guichet ledger export`)
      const { nodes } = await fetchPage(context, options, 'DESC', limit, null)
      return nodes
    },
  },
  'ledger export': {
    usage: `ledger export ${FILTER_OPTIONS}`,
    description: 'all entries, the oldest first, as JSON Lines: one JSON document a line, whole or not at all',
    async run(context, _args, options) {
      let after: string | null = null
      for (;;) {
        const { nodes, pageInfo }: Page = await fetchPage(context, options, 'ASC', PAGE_SIZE, after)
        for (const entry of nodes) await writeLine(`${JSON.stringify(entry)}\n`)
        if (!pageInfo.hasNextPage) return undefined
        after = requireOption(pageInfo.endCursor ?? undefined, 'a further page')
      }
    },
  },
}

async function fetchPage(
  context: CommandContext,
  options: Options,
  direction: 'ASC' | 'DESC',
  first: number,
  after: string | null,
): Promise<Page> {
  const { since, until, action, client, subject, as = 'admin' } = options
  const filter = {
    ...(action && { actions: action }),
    ...(client !== undefined && { clientIds: [client] }),
    ...(subject !== undefined && { subjectIds: [subject] }),
    ...((since !== undefined || until !== undefined) && {
      occurred: {
        since: since === undefined ? null : parseTime(since),
        until: until === undefined ? null : parseTime(until),
      },
    }),
  }
  // Tokens live for minutes; a long export asks for a new one with each page.
  const isAdmin = as === 'admin' || readClientFile(context, as).scopes?.includes('clients:manage') === true
  const token = await requestClientToken(context, as, isAdmin ? 'ledger:read clients:manage' : 'ledger:read')
  return (await queryField(context, token, QUERY, 'auditLog', { first, after, filter, direction })) as Page
}

/** Waits for whoever reads the output, so that a long log is never in memory as a whole. */
const writeLine = (line: string): Promise<void> =>
  new Promise((resolve, reject) => process.stdout.write(line, (error) => (error ? reject(error) : resolve())))
