import type { Resolvers } from '../../generated/graphql.ts'
import type { Banks } from '../banks/index.ts'

/** Alert. Its subscription is the entrypoint's, which knows the connection that it goes out on. */
export function alertsResolvers({ banks }: { banks: Banks }) {
  return {
    Alert: {
      id: ({ publicId }) => publicId,
      type: ({ alert }) => alert.type,
      severity: ({ alert }) => alert.severity,
      ask: ({ alert }) => alert.ask,
      occurredAt: ({ alert }) => alert.occurredAt.toISOString(),
      accountId: ({ publicAccountId }) => publicAccountId,
      bank: async ({ bankId }) => (await banks.bank(bankId))!,
    },
  } satisfies Resolvers
}
