import DataLoader from 'dataloader'
import type { Resolvers } from '../../generated/graphql.ts'
import { pageOf } from '../../kernel/connection.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { perRequest, type CustomerCaller, type RequestContext } from '../../kernel/request.ts'
import type { Banks } from '../banks/index.ts'
import type { OpenedAlert } from './model.ts'
import type { Alerts } from './service.ts'

const idOf = ({ publicId }: OpenedAlert): string => publicId

/** Alert and the lists of them. Its subscription is the entrypoint's, which knows the connection that it goes out on. */
export function alertsResolvers({ alerts, banks }: { alerts: Alerts; banks: Banks }) {
  const ofAccount = perRequest(
    (context) =>
      new DataLoader(async (accountIds: readonly string[]) => {
        const caller = customerOf(context)
        await alerts.recordReads(caller, context, accountIds)
        const byAccount = new Map<string, OpenedAlert[]>()
        for (const row of await alerts.newest(caller)) {
          const { accountId } = row.alert
          const known = byAccount.get(accountId)
          if (known) known.push(row)
          else byAccount.set(accountId, [row])
        }
        return accountIds.map((id) => byAccount.get(id) ?? [])
      }),
  )

  return {
    Viewer: {
      alerts: async (caller, { filter, ...page }, context) => {
        await alerts.recordReads(caller, context)
        return pageOf(await alerts.newest(caller, filter ?? {}), page, idOf)
      },
    },
    Account: {
      alerts: async ({ account }, { filter, ...page }, context) => {
        if (!filter) return pageOf(await ofAccount(context).load(account.id), page, idOf)
        const caller = customerOf(context)
        await alerts.recordReads(caller, context, [account.id])
        const rows = await alerts.newest(caller, filter)
        return pageOf(
          rows.filter(({ alert }) => alert.accountId === account.id),
          page,
          idOf,
        )
      },
    },
    Alert: {
      id: idOf,
      type: ({ alert }) => alert.type,
      severity: ({ alert }) => alert.severity,
      ask: ({ alert }) => alert.ask,
      occurredAt: ({ alert }) => alert.occurredAt.toISOString(),
      accountId: ({ publicAccountId }) => publicAccountId,
      bank: ({ bankId }) => banks.knownBank(bankId),
    },
  } satisfies Resolvers
}

function customerOf({ caller }: RequestContext): CustomerCaller {
  if (caller.kind !== 'CUSTOMER') throw new GatewayError('FORBIDDEN')
  return caller
}
