import type { Resolvers } from '../../generated/graphql.ts'
import { chain } from '../../kernel/maybe-promise.ts'
import { connectionFromArray, type Connection, type PageArguments } from '../../kernel/pagination.ts'
import { perRequest, requireCustomer } from '../../kernel/request-context.ts'
import type { Banks } from '../banks/index.ts'
import type { AlertView } from './model.ts'
import type { Alerts } from './service.ts'

const idOf = ({ publicId }: AlertView): string => publicId
const NO_ALERTS: readonly AlertView[] = []

/** Alerts and their lists. The subscription is in entrypoints/graphql, which owns the HTTP connections. */
export function alertsResolvers({ alerts, banks }: { alerts: Alerts; banks: Banks }) {
  /** The index of each cached list by account. */
  const accountIndexes = new WeakMap<readonly AlertView[], ReadonlyMap<string, readonly AlertView[]>>()
  function alertsOfAccount(all: readonly AlertView[], accountId: string): readonly AlertView[] {
    let byAccount = accountIndexes.get(all)
    if (!byAccount) accountIndexes.set(all, (byAccount = Map.groupBy(all, ({ alert }) => alert.accountId ?? '')))
    return byAccount.get(accountId) ?? NO_ALERTS
  }
  /** The first pages of each cached list, by size. */
  const pageCache = new WeakMap<readonly AlertView[], Map<number, Connection<AlertView>>>()
  function cachedPage(rows: readonly AlertView[], args: PageArguments): Connection<AlertView> {
    const { first, after, last, before } = args
    if (typeof first !== 'number' || after || before || typeof last === 'number' || rows === NO_ALERTS)
      return connectionFromArray(rows, args, idOf)
    let pagesBySize = pageCache.get(rows)
    if (!pagesBySize) pageCache.set(rows, (pagesBySize = new Map<number, Connection<AlertView>>()))
    let connection = pagesBySize.get(first)
    if (!connection) pagesBySize.set(first, (connection = connectionFromArray(rows, args, idOf)))
    return connection
  }

  const loadAllAlerts = perRequest((context) => alerts.listNewest(requireCustomer(context.caller)))

  return {
    Customer: {
      alerts: async (customer, { filter, ...args }, context) => {
        const caller = requireCustomer(context.caller, customer)
        await alerts.recordSharedRead(caller, context)
        return cachedPage(await alerts.listNewest(caller, filter), args)
      },
      alert: (customer, { id }, context) => alerts.findShared(requireCustomer(context.caller, customer), context, id),
    },
    Account: {
      alerts: (row, { filter, ...args }, context) => {
        const { account } = row
        alerts.recordAccountRead(context, row)
        const all = filter ? alerts.listNewest(requireCustomer(context.caller), filter) : loadAllAlerts(context)
        return chain(all, (rows) => cachedPage(alertsOfAccount(rows, account.id), args))
      },
    },
    Alert: {
      id: idOf,
      type: ({ alert }) => alert.type,
      severity: ({ alert }) => alert.severity,
      requestedAction: ({ alert }) => alert.requestedAction,
      occurredAt: ({ occurredAt }) => occurredAt,
      accountId: ({ publicAccountId }) => publicAccountId,
      bank: ({ bankId }) => banks.requireBank(bankId),
      bankAppUrl: ({ bankId }) => banks.bankAppUrlOf(bankId),
    },
  } satisfies Resolvers
}
