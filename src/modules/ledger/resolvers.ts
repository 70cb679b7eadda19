import type { Resolvers } from '../../generated/graphql.ts'
import { readerOf, type AuditLog } from './audit-log.ts'

/** The audit log. */
export function ledgerResolvers({ auditLog }: { auditLog: AuditLog }) {
  return {
    Query: {
      auditLog: (_parent, { filter, orderBy, ...page }, { caller }) => {
        const { occurred, ...rest } = filter ?? {}
        const range = { since: parseInstant(occurred?.since), until: parseInstant(occurred?.until) }
        return auditLog.page(readerOf(caller), { ...rest, ...range }, orderBy?.direction ?? 'DESC', page)
      },
    },
    AuditLogEntry: {
      action: ({ kind }) => kind,
      occurredAt: ({ occurredAt }) => occurredAt.toISOString(),
      changes: ({ changes }) => [...(changes ?? [])],
    },
  } satisfies Resolvers
}

const parseInstant = (text: string | null | undefined): Date | undefined =>
  text === null || text === undefined ? undefined : new Date(text)
