import type { Resolvers } from '../../generated/graphql.ts'
import { createRequestLoader } from '../../kernel/batch.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { requireCustomer, type RequestContext } from '../../kernel/request-context.ts'
import { withUserErrors } from '../../kernel/user-errors.ts'
import type { BalanceLine } from './balance-line.ts'
import type { Accounts } from './service.ts'

/** Finds a line of the caller's client and customer. Compares all of them, so that the duration does not depend on the result. */
export async function findOwnLine(
  accounts: Accounts,
  context: RequestContext,
  id: string,
): Promise<BalanceLine | undefined> {
  const caller = requireCustomer(context.caller)
  const rows = await accounts.list(caller, context)
  const lines = await accounts.lines.find(
    caller.clientId,
    rows.map(({ account }) => account.id),
  )
  let found: BalanceLine | undefined
  for (const line of lines) if (line.id === id) found = line
  return found
}

/** Resolvers of the lines that customers draw. A client sees those that were drawn for it. */
export function balanceLineResolvers({ accounts }: { accounts: Accounts }) {
  const loadLines = createRequestLoader<readonly BalanceLine[]>(
    async (accountIds, context) => {
      const lines = await accounts.lines.find(requireCustomer(context.caller).clientId, accountIds)
      return accountIds.map((id) => lines.filter(({ accountId }) => accountId === id))
    },
    { isCached: false },
  )

  return {
    Account: {
      balanceLines: ({ account }, _args, context) => loadLines(account.id, context),
    },
    BalanceLine: {
      id: ({ id }) => id,
    },
    Mutation: {
      createBalanceLine: (_parent, { input: { accountId, type, ...input } }, context) =>
        withUserErrors(
          async () => {
            const rows = await accounts.list(requireCustomer(context.caller), context)
            const row = rows.find(({ publicId }) => publicId === accountId)
            if (!row) throw new GatewayError('NOT_FOUND', { path: ['accountId'] })
            return {
              balanceLine: await accounts.lines.create(row, { ...input, type: type ?? 'INTERIM_AVAILABLE' }, context),
            }
          },
          { balanceLine: null },
        ),
      deleteBalanceLine: (_parent, { input: { balanceLineId } }, context) =>
        withUserErrors(
          async () => {
            const line = await findOwnLine(accounts, context, balanceLineId)
            const isDeleted = line && (await accounts.lines.delete(requireCustomer(context.caller), line))
            if (!isDeleted) throw new GatewayError('NOT_FOUND', { path: ['balanceLineId'] })
            return { deletedId: balanceLineId }
          },
          { deletedId: null },
        ),
    },
  } satisfies Resolvers
}
