import type { Resolvers } from '../../generated/graphql.ts'
import type { AlertAnswer } from '../../kernel/alert-vocabulary.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { chain } from '../../kernel/maybe-promise.ts'
import { connectionFromArray, type Connection, type PageArguments } from '../../kernel/pagination.ts'
import { perRequest, requireCustomer, type RequestContext } from '../../kernel/request-context.ts'
import { withUserErrors } from '../../kernel/user-errors.ts'
import { requireOwnership, type Banks } from '../banks/index.ts'
import type { AlertView } from './model.ts'
import type { Alerts } from './service.ts'
import { textsOf } from './texts/catalogue.ts'

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

  const loadPhrase = perRequest(({ caller }) => alerts.phrases.find(requireCustomer(caller)))
  const availableResponses = (view: AlertView, { caller }: RequestContext): readonly AlertAnswer[] =>
    caller.scopes.has('alerts:respond') ? alerts.availableResponses(view) : []

  return {
    Customer: {
      antiPhishingPhrase: (customer, _args, { caller }) => alerts.phrases.find(requireCustomer(caller, customer)),
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
    Mutation: {
      setAntiPhishingPhrase: (_parent, { input: { phrase } }, { caller, presence }) =>
        withUserErrors(
          async () => {
            const customer = requireCustomer(caller)
            if (presence !== 'PRESENT') throw new GatewayError(presence)
            await alerts.phrases.set(customer, phrase ?? null)
            return { customer }
          },
          { customer: null },
        ),
      markAlertsRead: (_parent, { input: { alertIds } }, context) =>
        withUserErrors(
          async () => {
            const caller = requireCustomer(context.caller)
            const marked = await alerts.markRead(caller, alertIds)
            await alerts.recordSharedRead(caller, context)
            return { alerts: marked }
          },
          { alerts: [] },
        ),
      respondToAlert: (_parent, { input }, context) =>
        withUserErrors(
          async () => {
            const caller = requireCustomer(context.caller)
            await alerts.respond(caller, context, input)
            return { alert: await alerts.findShared(caller, context, input.alertId) }
          },
          { alert: null },
        ),
      publishAlert: (_parent, { input: { connectorId, subject, occurredAt, ...input } }, { caller }) =>
        withUserErrors(
          async () => {
            await requireOwnership(banks, caller, connectorId)
            const { severity, requestedAction, respondBy, ...rest } = input
            const { eventId, isDuplicate } = await alerts.publish({
              ...rest,
              ...subject,
              connectorId,
              severity: severity ?? 'WARNING',
              requestedAction: requestedAction ?? 'REVIEW_WITH_BANK',
              occurredAt: new Date(occurredAt),
              respondBy: respondBy ? new Date(respondBy) : null,
            })
            return { eventId, duplicate: isDuplicate }
          },
          { eventId: null, duplicate: null },
        ),
    },
    Alert: {
      id: idOf,
      type: ({ alert }) => alert.type,
      severity: ({ alert }) => alert.severity,
      requestedAction: ({ alert }) => alert.requestedAction,
      occurredAt: ({ occurredAt }) => occurredAt,
      accountId: ({ publicAccountId }) => publicAccountId,
      balanceLineId: ({ alert }) => alert.balanceLine?.id ?? null,
      balanceLineDirection: ({ alert }) => alert.balanceLine?.direction ?? null,
      readAt: ({ readAt }) => readAt?.toISOString() ?? null,
      bank: ({ bankId }) => banks.requireBank(bankId),
      bankAppUrl: ({ bankId }) => banks.bankAppUrlOf(bankId),
      responseOptions: (view, _args, context) => availableResponses(view, context),
      texts: async (view, { language }, context) => {
        const bank = await banks.requireBank(view.bankId)
        const texts = textsOf(view.alert, availableResponses(view, context), bank.name, language)
        return { ...texts, phrase: await loadPhrase(context) }
      },
      respondBy: ({ alert }) => alert.question?.respondBy.toISOString() ?? null,
      response: ({ responses, grant }) => responses.findLast(({ clientId }) => clientId === grant.clientId) ?? null,
    },
    AlertResponse: {
      respondedAt: ({ createdAt }) => createdAt.toISOString(),
    },
  } satisfies Resolvers
}
