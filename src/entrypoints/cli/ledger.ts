import { ask, needed, numberOf, own, timeOf, type Command, type Options, type Terminal } from './command.ts'
import { Usage } from './refusal.ts'
import { clientFile } from './sandbox.ts'

const FIELDS =
  'id action occurredAt clientId subjectId consentId requestId detail purposes changes { field before after }'
const QUERY = `query ($first: Int!, $after: Cursor, $filter: AuditLogFilter, $direction: OrderDirection!) {
  auditLog(first: $first, after: $after, filter: $filter, orderBy: { field: OCCURRED_AT, direction: $direction }) {
    nodes { ${FIELDS} } pageInfo { hasNextPage endCursor } } }`
const FILTERS =
  '[--since <time>] [--until <time>] [--action <action>]… [--client <client id>] [--subject <id>] [--as <client>]'
const PAGE_SIZE = 100
const USUAL_LIMIT = '20'

interface Page {
  readonly nodes: readonly unknown[]
  readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string | null }
}

/** The commands that read the audit log: who read or changed what. */
export const LEDGER_COMMANDS: Readonly<Record<string, Command>> = {
  'ledger list': {
    usage: `ledger list [--limit <number>] ${FILTERS}`,
    does: 'the newest entries of the audit log: who read or changed what, with what was before and after',
    async run(terminal, _words, options) {
      const limit = numberOf('--limit', options.limit ?? USUAL_LIMIT)
      if (limit > PAGE_SIZE) throw new Usage(`--limit is at most ${PAGE_SIZE}; for more: guichet ledger export`)
      const { nodes } = await pageOf(terminal, options, 'DESC', limit, null)
      return nodes
    },
  },
  'ledger export': {
    usage: `ledger export ${FILTERS}`,
    does: 'all entries, the oldest first, as JSON Lines: one JSON document a line, whole or not at all',
    async run(terminal, _words, options) {
      let after: string | null = null
      for (;;) {
        const { nodes, pageInfo }: Page = await pageOf(terminal, options, 'ASC', PAGE_SIZE, after)
        for (const entry of nodes) await written(`${JSON.stringify(entry)}\n`)
        if (!pageInfo.hasNextPage) return undefined
        after = needed(pageInfo.endCursor ?? undefined, 'a further page')
      }
    },
  },
}

async function pageOf(
  terminal: Terminal,
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
        since: since === undefined ? null : timeOf(since),
        until: until === undefined ? null : timeOf(until),
      },
    }),
  }
  // Tokens live for minutes; a long export asks for a new one with each page.
  const isAdmin = as === 'admin' || clientFile(terminal, as).scopes?.includes('clients:manage') === true
  const token = await own(terminal, as, isAdmin ? 'ledger:read clients:manage' : 'ledger:read')
  return (await ask(terminal, token, QUERY, 'auditLog', { first, after, filter, direction })) as Page
}

/** Waits for whoever reads the output, so that a long log is never in memory as a whole. */
const written = (line: string): Promise<void> =>
  new Promise((resolve, reject) => process.stdout.write(line, (error) => (error ? reject(error) : resolve())))
