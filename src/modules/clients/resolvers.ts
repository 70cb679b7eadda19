import type { Resolvers } from '../../generated/graphql.ts'
import { createRequestLoader } from '../../kernel/batch.ts'
import { GatewayError, type InputFault } from '../../kernel/errors.ts'
import { withUserErrors } from '../../kernel/user-errors.ts'
import { parseTimeRange, type TimeRangeInput } from '../../kernel/time-range.ts'
import { assertOwnClient, requireClientId, type Caller } from '../../kernel/request-context.ts'
import type { Client, Organization, UsageInterval } from './model.ts'
import type { Clients } from './service.ts'

const MAX_DOCUMENTS_PER_REQUEST = 100

/** Dependencies of the resolvers. */
export interface ClientsResolversDependencies {
  clients: Clients
  /** Whether a document is valid against the schema. */
  isValidDocument: (document: string) => boolean
}

/** Whether the caller sees every client and its organization. */
const canSeeAllClients = ({ scopes }: Caller): boolean => scopes.has('clients:manage')

/** The calling client, or the one with this ID; null if there is none or the caller may not see it. */
export async function findVisibleClient(clients: Clients, caller: Caller, id?: string | null): Promise<Client | null> {
  if (caller.kind === 'ANONYMOUS') return null
  const clientId = id ?? caller.clientId
  return clientId === caller.clientId || canSeeAllClients(caller) ? clients.find(clientId) : null
}

/** The calling client's organization, or the one with this ID; null if there is none or the caller may not see it. */
export async function findVisibleOrganization(
  clients: Clients,
  caller: Caller,
  id?: string | null,
): Promise<Organization | null> {
  if (caller.kind === 'ANONYMOUS') return null
  const canSeeAll = canSeeAllClients(caller) || caller.scopes.has('organizations:manage')
  if (typeof id === 'string' && canSeeAll) return clients.organizations.find(id)
  const own = (await clients.find(caller.clientId))?.organizationId
  return own !== undefined && (id ?? own) === own ? clients.organizations.find(own) : null
}

/** The resolvers of organizations and clients. */
export function clientsResolvers({ clients, isValidDocument }: ClientsResolversDependencies) {
  const clientPayload = (mutate: () => Promise<Client>) =>
    withUserErrors(async () => ({ client: await mutate() }), { client: null })
  const organizationPayload = (mutate: () => Promise<Organization>) =>
    withUserErrors(async () => ({ organization: await mutate() }), { organization: null })

  const loadOrganization = createRequestLoader(async (ids) => {
    const byId = new Map(
      (await clients.organizations.findMany(ids)).map((organization) => [organization.id, organization]),
    )
    return ids.map((id) => byId.get(id)!)
  })
  const loadLastUsed = createRequestLoader(async (ids) => {
    const lastUsedById = await clients.usage.lastUsedAt(ids)
    return ids.map((id) => lastUsedById.get(id))
  })
  async function queryUsage(clientId: string, { range, interval }: { range: TimeRangeInput; interval: UsageInterval }) {
    const buckets = await clients.usage.query(clientId, parseTimeRange(range), interval)
    return buckets.map((bucket) => ({ ...bucket, startsAt: bucket.startsAt.toISOString() }))
  }

  return {
    Query: {
      client: (_parent, { id }, { caller }) => findVisibleClient(clients, caller, id),
      organization: (_parent, { id }, { caller }) => findVisibleOrganization(clients, caller, id),
      organizations: (_parent, { filter, ...page }) => clients.organizations.list(filter ?? {}, page),
      clients: (_parent, { filter, orderBy, ...page }) =>
        clients.list(filter ?? {}, orderBy ?? { field: 'CREATED_AT', direction: 'DESC' }, page),
      rateLimit: async (_parent, _args, { caller }) => {
        const { client, customer } = await clients.quotas.remainingQuotas(caller)
        return {
          ...client,
          customerLimit: customer?.limit ?? null,
          customerRemaining: customer?.remaining ?? null,
        }
      },
    },
    Client: {
      lastUsedAt: async ({ id }, _args, context) => (await loadLastUsed(id, context))?.toISOString() ?? null,
      usage: ({ id }, args) => queryUsage(id, args),
      organization: ({ organizationId }, _args, context) => loadOrganization(organizationId, context),
      notices: ({ id }, page) => clients.notices.list(id, page),
      registeredOperations: ({ id }, page, { caller }) => {
        assertOwnClient(caller, id)
        return clients.registeredOperations(id, page)
      },
    },
    ClientNotice: {
      occurredAt: ({ occurredAt }) => occurredAt.toISOString(),
    },
    RegisteredOperation: {
      sha256Hash: ({ hash }) => hash,
      registeredAt: ({ registeredAt }) => registeredAt.toISOString(),
    },
    Mutation: {
      registerOrganization: (_parent, { input: { idempotencyKey, ...input } }, { caller }) =>
        organizationPayload(() => clients.organizations.register(requireClientId(caller), input, idempotencyKey)),
      updateOrganization: (_parent, { input: { organizationId, name } }, { caller }) =>
        organizationPayload(() => clients.organizations.update(requireClientId(caller), organizationId, name)),
      registerClient: (_parent, { input: { idempotencyKey, ...input } }, { caller }) =>
        clientPayload(() =>
          clients.register(
            requireClientId(caller),
            { ...input, tokenBinding: input.tokenBinding ?? 'DPOP' },
            { idempotencyKey: idempotencyKey ?? null },
          ),
        ),
      updateClient: (_parent, { input: { clientId, ...change } }, { caller }) =>
        clientPayload(() => clients.update(requireClientId(caller), clientId, change)),
      setContact: (_parent, { input: { contactEmail } }, { caller }) =>
        clientPayload(() => clients.setContact(requireClientId(caller), contactEmail ?? null)),
      suspendClient: (_parent, { input }, { caller }) =>
        clientPayload(() => clients.suspend(requireClientId(caller), input.clientId)),
      retireClient: (_parent, { input }, { caller }) =>
        clientPayload(() => clients.retire(requireClientId(caller), input.clientId)),
      resumeClient: (_parent, { input }, { caller }) =>
        clientPayload(() => clients.resume(requireClientId(caller), input.clientId)),
      registerOperations: (_parent, { input: { documents } }, { caller }) =>
        withUserErrors(
          async () => {
            const faults = documentFaults(documents, isValidDocument)
            if (faults.length > 0) throw new GatewayError('INVALID_INPUT', { faults })
            return { registeredOperations: await clients.registerOperations(requireClientId(caller), documents) }
          },
          { registeredOperations: null },
        ),
    },
  } satisfies Resolvers
}

function documentFaults(documents: readonly string[], isValidDocument: (document: string) => boolean): InputFault[] {
  if (documents.length > MAX_DOCUMENTS_PER_REQUEST)
    return [{ path: ['documents'], message: `\`documents\` must hold at most ${MAX_DOCUMENTS_PER_REQUEST} documents.` }]
  return documents.flatMap((document, index) =>
    isValidDocument(document)
      ? []
      : [
          {
            path: ['documents', String(index)],
            message: `\`documents[${index}]\` must be a valid document within the limits; send it as a query to see its errors.`,
          },
        ],
  )
}
