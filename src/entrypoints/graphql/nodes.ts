import type { Resolvers } from '../../generated/graphql.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { perRequest, type Caller, type CustomerCaller, type RequestContext } from '../../kernel/request-context.ts'
import type { Scope } from '../../kernel/scopes.ts'
import { findOwnLine } from '../../modules/accounts/index.ts'
import { findVisibleClient, findVisibleOrganization } from '../../modules/clients/index.ts'
import { readerOf } from '../../modules/ledger/index.ts'
import type { Services } from './services.ts'

const MAX_IDS = 50

type Found = object | null | undefined

/** A kind of id: the type of its objects, and how the caller's object with an id is found. */
interface NodeType {
  readonly typeName: string
  /** The form of an id after its prefix. */
  readonly idPattern: RegExp
  /** Whether the caller can see objects of this kind at all. If not, nothing is looked up. */
  readonly canSee: (caller: Caller) => boolean
  readonly find: (id: string, context: RequestContext) => Found | Promise<Found>
}

/** 128 random bits, and a digest of 256. */
const RANDOM_ID = /^[\w-]{22}$/
const DIGEST_ID = /^[\w-]{43}$/
/** The short name of a bank, or of a client of the sandbox. */
const SHORT_NAME = /^[a-z][a-z0-9-]{1,38}$/
/** The kinds whose ids can have no prefix. */
const WITHOUT_PREFIX: ReadonlySet<string> = new Set(['bank', 'client'])

const hasAnyScope =
  (...scopes: Scope[]) =>
  (caller: Caller): boolean =>
    scopes.some((scope) => caller.scopes.has(scope))
const isCustomerWith =
  (scope: Scope) =>
  (caller: Caller): boolean =>
    caller.kind === 'CUSTOMER' && caller.scopes.has(scope)
const isSignedIn = ({ kind }: Caller): boolean => kind !== 'ANONYMOUS'
const isClient = (caller: Caller): boolean => caller.kind === 'CLIENT'
const ownClientId = ({ caller }: RequestContext): string => (caller.kind === 'CLIENT' ? caller.clientId : '')

/**
 * The kinds of ids, by prefix. Each searches only objects that the caller may see, and takes the same steps for an id of another
 * caller as for an unknown one, so that the two cannot be distinguished. Lists are read once per request.
 */
function createNodeTypes({
  accounts,
  alerts,
  auditLog,
  banks,
  clients,
  consents,
  deliveries,
}: Services): Record<string, NodeType> {
  const loadAccounts = perRequest((context) => accounts.list(context.caller as CustomerCaller, context))
  const loadAlerts = perRequest(async (context) => {
    await alerts.recordSharedRead(context.caller as CustomerCaller, context)
    return alerts.listNewest(context.caller as CustomerCaller)
  })
  const loadActiveBanks = perRequest(() => banks.activeBanks())
  const canManageBanks = hasAnyScope('banks:manage')
  const isPartnerOrAdmin = (caller: Caller): boolean => isClient(caller) || canManageBanks(caller)
  async function findOwnConnector(id: string, context: RequestContext) {
    const connector = await banks.findConnector(id)
    return connector?.clientId === ownClientId(context) || canManageBanks(context.caller) ? connector : null
  }
  const canSeeConnectors = hasAnyScope('connectors:read', 'connectors:manage', 'banks:manage')
  return {
    account: {
      typeName: 'Account',
      idPattern: DIGEST_ID,
      canSee: isCustomerWith('accounts:read'),
      find: async (id, context) => findScanningAll(await loadAccounts(context), ({ publicId }) => publicId === id),
    },
    alert: {
      typeName: 'Alert',
      idPattern: DIGEST_ID,
      canSee: isCustomerWith('alerts:read'),
      find: async (id, context) => findScanningAll(await loadAlerts(context), ({ publicId }) => publicId === id),
    },
    line: {
      typeName: 'BalanceLine',
      idPattern: RANDOM_ID,
      canSee: (caller) =>
        isCustomerWith('alerts:read')(caller) && hasAnyScope('balances:band', 'balances:exact')(caller),
      find: (id, context) => findOwnLine(accounts, context, id),
    },
    cons: {
      typeName: 'Consent',
      idPattern: RANDOM_ID,
      canSee: isSignedIn,
      find: (id, { caller }) => consents.findForCaller(caller, id),
    },
    whep: {
      typeName: 'WebhookEndpoint',
      idPattern: RANDOM_ID,
      canSee: isClient,
      find: (id, context) => deliveries.findEndpoint(ownClientId(context), id),
    },
    dlvr: {
      typeName: 'Delivery',
      idPattern: RANDOM_ID,
      canSee: isClient,
      find: (id, context) => deliveries.findDelivery(ownClientId(context), id),
    },
    cnct: {
      typeName: 'Connector',
      idPattern: RANDOM_ID,
      canSee: isPartnerOrAdmin,
      find: findOwnConnector,
    },
    cert: {
      typeName: 'CertificationRun',
      idPattern: RANDOM_ID,
      canSee: isPartnerOrAdmin,
      async find(id, context) {
        const run = await banks.findCertificationRun(id)
        return run && (await findOwnConnector(run.connectorId, context)) ? run : null
      },
    },
    cred: {
      typeName: 'ConnectorCertificate',
      idPattern: RANDOM_ID,
      canSee: isPartnerOrAdmin,
      async find(id, context) {
        const found = await banks.findCertificate(id)
        return found && (await findOwnConnector(found.certificate.connectorId, context)) ? found : null
      },
    },
    outg: {
      typeName: 'Outage',
      idPattern: RANDOM_ID,
      canSee: () => true,
      async find(id, context) {
        const outage = await banks.findOutage(id)
        if (!outage || canManageBanks(context.caller)) return outage
        const isPublic = (await banks.findActiveBank(outage.bankId)) !== null
        return isPublic || (await banks.isPartnerOf(ownClientId(context), outage.bankId)) ? outage : null
      },
    },
    ldgr: {
      typeName: 'AuditLogEntry',
      idPattern: RANDOM_ID,
      canSee: (caller) => isClient(caller) && (caller.scopes.has('ledger:read') || canSeeConnectors(caller)),
      async find(id, context) {
        const { caller } = context
        const entry = caller.scopes.has('ledger:read') ? await auditLog.find(readerOf(caller), id) : null
        // The history of a connector is open to every caller who may see the connector.
        if (entry || !canSeeConnectors(caller)) return entry
        return auditLog.findAbout(id, async (subjectId) => (await findOwnConnector(subjectId, context)) !== null)
      },
    },
    org: {
      typeName: 'Organization',
      idPattern: RANDOM_ID,
      canSee: isSignedIn,
      find: (id, { caller }) => findVisibleOrganization(clients, caller, id),
    },
    clnt: {
      typeName: 'Client',
      idPattern: RANDOM_ID,
      canSee: isSignedIn,
      find: (id, { caller }) => findVisibleClient(clients, caller, id),
    },
    client: {
      typeName: 'Client',
      idPattern: SHORT_NAME,
      canSee: isSignedIn,
      find: (id, { caller }) => findVisibleClient(clients, caller, id),
    },
    bank: {
      typeName: 'Bank',
      idPattern: SHORT_NAME,
      canSee: () => true,
      find: async (id, context) => findScanningAll(await loadActiveBanks(context), (bank) => bank.id === id),
    },
  }
}

/** The kinds that an id can belong to, by its prefix, each with the rest of the id. Ids without a known prefix can be of a bank or client. */
function candidatesOf(id: string, nodeTypes: Readonly<Record<string, NodeType>>): [type: NodeType, localId: string][] {
  const [, prefix = '', localId = ''] = /^([a-z]{1,10})_(.*)$/.exec(id) ?? []
  const isKnown = !WITHOUT_PREFIX.has(prefix) && Object.hasOwn(nodeTypes, prefix)
  const named: [NodeType, string][] = isKnown ? [[nodeTypes[prefix]!, localId]] : []
  return named.length > 0 ? named : [...WITHOUT_PREFIX].map((name) => [nodeTypes[name]!, id])
}

/** Finds an item. Always compares all items, so that the duration does not depend on the result. */
function findScanningAll<T>(items: readonly T[], matches: (item: T) => boolean): T | undefined {
  let found: T | undefined
  for (const item of items) if (matches(item)) found = item
  return found
}

/** The resolvers of `node` and `nodes`. */
export function nodeResolvers(services: Services) {
  const nodeTypes = createNodeTypes(services)
  async function find(id: string, context: RequestContext): Promise<object | null> {
    for (const [nodeType, localId] of candidatesOf(id, nodeTypes)) {
      if (!nodeType.idPattern.test(localId) || !nodeType.canSee(context.caller)) continue
      const found = await nodeType.find(id, context)
      if (found) return { ...found, __typename: nodeType.typeName }
    }
    return null
  }
  return {
    Query: {
      node: (_parent, { id }, context) => find(id, context) as never,
      nodes: (_parent, { ids }, context) => {
        if (ids.length > MAX_IDS)
          throw new GatewayError('INVALID_INPUT', {
            faults: [{ path: ['ids'], message: `\`ids\` must hold at most ${MAX_IDS} IDs.` }],
          })
        return ids.map((id) => find(id, context)) as never
      },
    },
    Node: { __resolveType: (node) => (node as unknown as { __typename: 'Account' }).__typename },
  } satisfies Resolvers
}
