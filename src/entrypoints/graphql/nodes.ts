import type { Resolvers } from '../../generated/graphql.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { perRequest, type Caller, type CustomerCaller, type RequestContext } from '../../kernel/request.ts'
import type { Scope } from '../../kernel/scopes.ts'
import { readerOf } from '../../modules/ledger/index.ts'
import type { Services } from './services.ts'

const MAX_AT_A_TIME = 50

type Found = object | null | undefined

/** Where an id leads: the type of its object, and how a caller's own is found by it. */
interface NodeKind {
  readonly typeName: string
  /** What follows the prefix in every id of this kind. */
  readonly form: RegExp
  /** Whether a caller can have any such object at all: where not, nothing is looked up. */
  readonly isFor: (caller: Caller) => boolean
  readonly find: (id: string, context: RequestContext) => Found | Promise<Found>
}

/** 128 random bits, and a digest of 256. */
const RANDOM = /^[\w-]{22}$/
const DIGEST = /^[\w-]{43}$/
const BANK = /^[a-z][a-z0-9-]{1,38}$/

const holds =
  (...scopes: Scope[]) =>
  (caller: Caller): boolean =>
    scopes.some((one) => caller.scopes.has(one))
const isCustomerWith =
  (scope: Scope) =>
  (caller: Caller): boolean =>
    caller.kind === 'CUSTOMER' && caller.scopes.has(scope)
const isClient = (caller: Caller): boolean => caller.kind === 'CLIENT'
const ownId = ({ caller }: RequestContext): string => (caller.kind === 'CLIENT' ? caller.clientId : '')

/**
 * What each kind of id leads to. Each looks among what is the caller's own, the same way whether the id is another's or
 * nobody's, so that the two cannot be told apart. Lists are read once for all ids of a request.
 */
function kindsOf({
  accounts,
  alerts,
  auditLog,
  banks,
  clients,
  consents,
  deliveries,
}: Services): Record<string, NodeKind> {
  const accountsOf = perRequest((context) => accounts.list(context.caller as CustomerCaller, context))
  const alertsOf = perRequest(async (context) => {
    await alerts.noteReads(context.caller as CustomerCaller, context)
    return alerts.newest(context.caller as CustomerCaller)
  })
  const liveBanks = perRequest(() => banks.live())
  const mayManageBanks = holds('banks:manage')
  return {
    account: {
      typeName: 'Account',
      form: DIGEST,
      isFor: isCustomerWith('accounts:read'),
      find: async (id, context) => only(await accountsOf(context), ({ publicId }) => publicId === id),
    },
    alert: {
      typeName: 'Alert',
      form: DIGEST,
      isFor: isCustomerWith('alerts:read'),
      find: async (id, context) => only(await alertsOf(context), ({ publicId }) => publicId === id),
    },
    cons: {
      typeName: 'Consent',
      form: RANDOM,
      isFor: ({ kind }) => kind !== 'ANONYMOUS',
      find: (id, { caller }) => consents.ofCaller(caller, id),
    },
    whep: {
      typeName: 'WebhookEndpoint',
      form: RANDOM,
      isFor: isClient,
      find: (id, context) => deliveries.endpoint(ownId(context), id),
    },
    dlvr: {
      typeName: 'Delivery',
      form: RANDOM,
      isFor: isClient,
      find: (id, context) => deliveries.delivery(ownId(context), id),
    },
    cnct: {
      typeName: 'Connector',
      form: RANDOM,
      isFor: (caller) => isClient(caller) || mayManageBanks(caller),
      async find(id, context) {
        const connector = await banks.connector(id)
        return connector?.clientId === ownId(context) || mayManageBanks(context.caller) ? connector : null
      },
    },
    ldgr: {
      typeName: 'AuditLogEntry',
      form: RANDOM,
      isFor: (caller) => isClient(caller) && caller.scopes.has('ledger:read'),
      find: (id, { caller }) => auditLog.find(readerOf(caller), id),
    },
    clnt: { typeName: 'Client', form: RANDOM, isFor: holds('clients:manage'), find: (id) => clients.find(id) },
    plat: {
      typeName: 'Platform',
      form: RANDOM,
      isFor: holds('platforms:manage', 'clients:manage'),
      find: (id) => clients.platform(id),
    },
    bank: {
      typeName: 'Bank',
      form: BANK,
      isFor: () => true,
      find: async (id, context) => only(await liveBanks(context), (bank) => bank.id === id),
    },
  }
}

/** The prefix of an id and what follows it; a bank's has no prefix. */
function partsOf(id: string): [prefix: string, rest: string] {
  const [, prefix = 'bank', rest = id] = /^([a-z]{1,10})_(.*)$/.exec(id) ?? []
  return [prefix, rest]
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
    const [prefix, rest] = partsOf(id)
    const kind: NodeKind | undefined = Object.hasOwn(kinds, prefix) ? kinds[prefix] : undefined
    if (!kind?.form.test(rest) || !kind.isFor(context.caller)) return null
    const found = await kind.find(id, context)
    return found ? { ...found, __typename: kind.typeName } : null
  }
  return {
    Query: {
      node: (_parent, { id }, context) => find(id, context) as never,
      nodes: (_parent, { ids }, context) => {
        if (ids.length > MAX_AT_A_TIME)
          throw new GatewayError('INVALID_INPUT', {
            faults: [{ path: ['ids'], message: `\`ids\` must hold at most ${MAX_AT_A_TIME} IDs.` }],
          })
        return ids.map((id) => find(id, context)) as never
      },
    },
    Node: { __resolveType: (node) => (node as unknown as { __typename: 'Account' }).__typename },
  } satisfies Resolvers
}
