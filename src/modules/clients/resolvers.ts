import DataLoader from 'dataloader'
import type { Resolvers } from '../../generated/graphql.ts'
import { GatewayError, type InputFault } from '../../kernel/errors.ts'
import { withUserErrors } from '../../kernel/user-errors.ts'
import { requireClientId, perRequest } from '../../kernel/request-context.ts'
import type { Client } from './model.ts'
import type { UsageInterval } from './usage.ts'
import type { Clients } from './service.ts'

const MAX_DOCUMENTS_PER_REQUEST = 100

/** A span of time as the contract has it. */
interface TimeRange {
  readonly since?: string | null
  readonly until?: string | null
}

/** What clients need of the contract's side. */
export interface ClientsResolversDependencies {
  clients: Clients
  /** Whether a document fits the contract. */
  isValidDocument: (document: string) => boolean
}

/** Platform and Client, for admins; a client's own operations and quota. */
export function clientsResolvers({ clients, isValidDocument }: ClientsResolversDependencies) {
  const clientPayload = (mutate: () => Promise<Client>) =>
    withUserErrors(async () => ({ client: await mutate() }), { client: null })
  const platformsById = perRequest(async () => new Map((await clients.platforms()).map((one) => [one.id, one])))

  const lastUsedLoader = perRequest(
    () =>
      new DataLoader(async (ids: readonly string[]) => {
        const lastUsedById = await clients.usage.lastUsedAt(ids)
        return ids.map((id) => lastUsedById.get(id))
      }),
  )
  async function queryUsage(clientId: string, { range, interval }: { range: TimeRange; interval: UsageInterval }) {
    const parseInstant = (text: string | null | undefined): Date | undefined => (text ? new Date(text) : undefined)
    const buckets = await clients.usage.query(
      clientId,
      { since: parseInstant(range.since), until: parseInstant(range.until) },
      interval,
    )
    return buckets.map((bucket) => ({ ...bucket, startsAt: bucket.startsAt.toISOString() }))
  }

  return {
    Query: {
      platforms: () => clients.platforms(),
      clients: () => clients.allClients(),
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
      lastUsedAt: async ({ id }, _args, context) => (await lastUsedLoader(context).load(id))?.toISOString() ?? null,
      usage: ({ id }, args) => queryUsage(id, args),
      platform: async ({ platformId }, _args, context) => (await platformsById(context)).get(platformId)!,
    },
    ThisClient: {
      usage: ({ clientId }, args) => queryUsage(clientId, args),
      operations: ({ clientId }) => clients.operations(clientId).then((all) => all.map(toOperation)),
    },
    Mutation: {
      registerPlatform: (_parent, { input }, { caller }) =>
        withUserErrors(
          async () => ({
            platform: await clients.registerPlatform(requireClientId(caller), input.name, input.idempotencyKey),
          }),
          { platform: null },
        ),
      updatePlatform: (_parent, { input }, { caller }) =>
        withUserErrors(async () => ({ platform: await clients.updatePlatform(requireClientId(caller), input) }), {
          platform: null,
        }),
      registerClient: (_parent, { input: { idempotencyKey, ...input } }, { caller }) =>
        clientPayload(() =>
          clients.register(
            requireClientId(caller),
            { ...input, tokenBinding: input.tokenBinding ?? 'DPOP' },
            { idempotencyKey: idempotencyKey ?? null },
          ),
        ),
      updateClient: (_parent, { input: { id, ...change } }, { caller }) =>
        clientPayload(() => clients.update(requireClientId(caller), id, change)),
      suspendClient: (_parent, { input }, { caller }) =>
        clientPayload(() => clients.suspend(requireClientId(caller), input.id)),
      retireClient: (_parent, { input }, { caller }) =>
        clientPayload(() => clients.retire(requireClientId(caller), input.id)),
      resumeClient: (_parent, { input }, { caller }) =>
        clientPayload(() => clients.resume(requireClientId(caller), input.id)),
      registerOperations: (_parent, { input: { documents } }, { caller }) =>
        withUserErrors(
          async () => {
            const faults = documentFaults(documents, isValidDocument)
            if (faults.length > 0) throw new GatewayError('INVALID_INPUT', { faults })
            const operations = await clients.registerOperations(requireClientId(caller), documents)
            return { operations: operations.map(toOperation) }
          },
          { operations: null },
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

const toOperation = ({ hash, registeredAt }: { hash: string; registeredAt: Date }) => ({
  sha256Hash: hash,
  registeredAt: registeredAt.toISOString(),
})
