import type { Resolvers } from '../../generated/graphql.ts'
import { pageOf, type Connection, type PageArguments } from '../../kernel/connection.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { perRequest, type CustomerCaller, type RequestContext } from '../../kernel/request.ts'
import type { Banks } from '../banks/index.ts'
import type { OpenedAlert } from './model.ts'
import type { Alerts } from './service.ts'

const idOf = ({ publicId }: OpenedAlert): string => publicId
const NONE: readonly OpenedAlert[] = []

/** Alert and the lists of them. Its subscription is the entrypoint's, which knows the connection that it goes out on. */
export function alertsResolvers({ alerts, banks }: { alerts: Alerts; banks: Banks }) {
  /** A list by account, sorted out once for as long as it is remembered. */
  const sorted = new WeakMap<readonly OpenedAlert[], ReadonlyMap<string, readonly OpenedAlert[]>>()
  function ofAccount(all: readonly OpenedAlert[], accountId: string): readonly OpenedAlert[] {
    let byAccount = sorted.get(all)
    if (!byAccount) sorted.set(all, (byAccount = Map.groupBy(all, ({ alert }) => alert.accountId)))
    return byAccount.get(accountId) ?? NONE
  }
  /** First pages of a list, made once for as long as it is remembered. */
  const pages = new WeakMap<readonly OpenedAlert[], Map<number, Connection<OpenedAlert>>>()
  function page(rows: readonly OpenedAlert[], args: PageArguments): Connection<OpenedAlert> {
    const { first, after, last, before } = args
    if (typeof first !== 'number' || after || before || typeof last === 'number' || rows === NONE)
      return pageOf(rows, args, idOf)
    let known = pages.get(rows)
    if (!known) pages.set(rows, (known = new Map<number, Connection<OpenedAlert>>()))
    let connection = known.get(first)
    if (!connection) known.set(first, (connection = pageOf(rows, args, idOf)))
    return connection
  }

  const everything = perRequest((context) => alerts.newest(customerOf(context)))

  return {
    Customer: {
      alerts: async (caller, { filter, ...args }, context) => {
        await alerts.noteReads(caller, context)
        return page(await alerts.newest(caller, filter), args)
      },
    },
    Account: {
      alerts: ({ account, grants }, { filter, ...args }, context) => {
        alerts.noteRead(context, grants, account.id)
        const all = filter ? alerts.newest(customerOf(context), filter) : everything(context)
        const show = (rows: readonly OpenedAlert[]) => page(ofAccount(rows, account.id), args)
        return all instanceof Promise ? all.then(show) : show(all)
      },
    },
    Alert: {
      id: idOf,
      type: ({ alert }) => alert.type,
      severity: ({ alert }) => alert.severity,
      ask: ({ alert }) => alert.ask,
      occurredAt: ({ occurredAt }) => occurredAt,
      accountId: ({ publicAccountId }) => publicAccountId,
      bank: ({ bankId }) => banks.knownBank(bankId),
    },
  } satisfies Resolvers
}

function customerOf({ caller }: RequestContext): CustomerCaller {
  if (caller.kind !== 'CUSTOMER') throw new GatewayError('FORBIDDEN')
  return caller
}
