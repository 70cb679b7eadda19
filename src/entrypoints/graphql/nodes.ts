import type { Resolvers } from '../../generated/graphql.ts'
import { GatewayError } from '../../kernel/errors.ts'
import type { RequestContext } from '../../kernel/request.ts'
import type { Scope } from '../../kernel/scopes.ts'
import type { Services } from './services.ts'

const MAX_AT_A_TIME = 50

type Found = object | null | undefined

/** Where an id leads: the type of its object, and how a caller's own is found by it. */
interface NodeKind {
  readonly typeName: string
  readonly find: (id: string, context: RequestContext) => Found | Promise<Found>
}

/**
 * What each kind of id leads to. Each looks among what is the caller's own, the same way whether the id is another's or
 * nobody's, so that the two cannot be told apart.
 */
function kindsOf({ accounts, alerts, banks, clients, consents, deliveries }: Services): Record<string, NodeKind> {
  const holds = ({ caller }: RequestContext, ...scopes: Scope[]): boolean =>
    scopes.some((one) => caller.scopes.has(one))
  const ownId = ({ caller }: RequestContext): string => (caller.kind === 'CLIENT' ? caller.clientId : '')
  return {
    account: {
      typeName: 'Account',
      find: async (id, context) =>
        context.caller.kind === 'CUSTOMER' && holds(context, 'accounts:read')
          ? only(await accounts.list(context.caller, context), ({ publicId }) => publicId === id)
          : null,
    },
    alert: {
      typeName: 'Alert',
      async find(id, context) {
        if (context.caller.kind !== 'CUSTOMER' || !holds(context, 'alerts:read')) return null
        await alerts.noteReads(context.caller, context)
        return only(await alerts.newest(context.caller), ({ publicId }) => publicId === id)
      },
    },
    cons: { typeName: 'Consent', find: (id, { caller }) => consents.ofCaller(caller, id) },
    whep: { typeName: 'WebhookEndpoint', find: (id, context) => deliveries.endpoint(ownId(context), id) },
    dlvr: { typeName: 'Delivery', find: (id, context) => deliveries.delivery(ownId(context), id) },
    cnct: {
      typeName: 'Connector',
      async find(id, context) {
        const connector = await banks.connector(id)
        return connector?.clientId === ownId(context) || holds(context, 'banks:manage') ? connector : null
      },
    },
    clnt: {
      typeName: 'Client',
      find: (id, context) => (holds(context, 'clients:manage') ? clients.find(id) : null),
    },
    plat: {
      typeName: 'Platform',
      find: (id, context) => (holds(context, 'platforms:manage', 'clients:manage') ? clients.platform(id) : null),
    },
    bank: { typeName: 'Bank', find: async (id) => only(await banks.live(), (bank) => bank.id === id) },
  }
}

/** Goes through all of them, found or not. */
function only<T>(items: readonly T[], isIt: (item: T) => boolean): T | undefined {
  let found: T | undefined
  for (const item of items) if (isIt(item)) found = item
  return found
}

/** `node` and `nodes`. */
export function nodeResolvers(services: Services) {
  const kinds = kindsOf(services)
  async function find(id: string, context: RequestContext): Promise<object | null> {
    const prefix = /^([a-z]+)_/.exec(id)?.[1] ?? 'bank'
    const kind: NodeKind | undefined = Object.hasOwn(kinds, prefix) ? kinds[prefix] : undefined
    const found = await kind?.find(id, context)
    return found ? { ...found, __typename: kind!.typeName } : null
  }
  return {
    Query: {
      node: (_parent, { id }, context) => find(id, context) as never,
      nodes: (_parent, { ids }, context) => {
        if (ids.length > MAX_AT_A_TIME) throw new GatewayError('INVALID_INPUT', { path: ['ids'] })
        return ids.map((id) => find(id, context)) as never
      },
    },
    Node: { __resolveType: (node) => (node as unknown as { __typename: 'Account' }).__typename },
  } satisfies Resolvers
}
