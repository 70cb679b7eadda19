import type { Resolvers } from '../../generated/graphql.ts'
import { parseTimeRange } from '../../kernel/time-range.ts'
import { readerOf, type AuditLog } from './audit-log.ts'

/** The resolvers of the audit log. */
export function ledgerResolvers({ auditLog }: { auditLog: AuditLog }) {
  return {
    Query: {
      auditLog: (_parent, { filter, orderBy, ...page }, { caller }) => {
        const { occurred, ...rest } = filter ?? {}
        return auditLog.page(
          readerOf(caller),
          { ...rest, ...parseTimeRange(occurred) },
          orderBy?.direction ?? 'DESC',
          page,
        )
      },
    },
    AuditLogEntry: {
      occurredAt: ({ occurredAt }) => occurredAt.toISOString(),
      changes: ({ changes }) => [...(changes ?? [])],
    },
  } satisfies Resolvers
}
