import DataLoader from 'dataloader'
import type { Resolvers } from '../../generated/graphql.ts'
import { GatewayError, type InputFault } from '../../kernel/errors.ts'
import { withUserErrors } from '../../kernel/mutation.ts'
import { clientIdOf, perRequest } from '../../kernel/request.ts'
import type { Client } from './model.ts'
import type { UsageInterval } from './usage.ts'
import type { Clients } from './service.ts'

const MAX_AT_A_TIME = 100

/** A span of time as the contract has it. */
interface TimeRange {
  readonly since?: string | null
  readonly until?: string | null
}

/** What clients need of the contract's side. */
export interface ClientsResolversDependencies {
  clients: Clients
  /** Whether a document fits the contract. */
  fits: (document: string) => boolean
}

/** Platform and Client, for admins; a client's own operations and quota. */
export function clientsResolvers({ clients, fits }: ClientsResolversDependencies) {
  const changed = (work: () => Promise<Client>) => withUserErrors(async () => ({ client: await work() }), { client: null })
  const platformsById = perRequest(async () => new Map((await clients.platforms()).map((one) => [one.id, one])))

  const lastUses = perRequest(
    () =>
      new DataLoader(async (ids: readonly string[]) => {
        const found = await clients.usage.lastUsedAt(ids)
        return ids.map((id) => found.get(id))
      }),
  )
  async function usageOf(clientId: string, { range, interval }: { range: TimeRange; interval: UsageInterval }) {
    const instant = (text: string | null | undefined): Date | undefined => (text ? new Date(text) : undefined)
    const spent = await clients.usage.of(
      clientId,
      { since: instant(range.since), until: instant(range.until) },
      interval,
    )
    return spent.map((bucket) => ({ ...bucket, startsAt: bucket.startsAt.toISOString() }))
  }

  return {
    Query: {
      platforms: () => clients.platforms(),
      clients: () => clients.all(),
      rateLimit: async (_parent, _args, { caller }) => {
        const { client, customer } = await clients.quotas.leftOf(caller)
        return {
          ...client,
          customerLimit: customer?.limit ?? null,
          customerRemaining: customer?.remaining ?? null,
        }
      },
    },
    Client: {
      lastUsedAt: async ({ id }, _args, context) => (await lastUses(context).load(id))?.toISOString() ?? null,
      usage: ({ id }, args) => usageOf(id, args),
      platform: async ({ platformId }, _args, context) => (await platformsById(context)).get(platformId)!,
    },
    ThisClient: {
      usage: ({ clientId }, args) => usageOf(clientId, args),
      operations: ({ clientId }) => clients.operations(clientId).then((all) => all.map(toOperation)),
    },
    Mutation: {
      registerPlatform: (_parent, { input }, { caller }) =>
        withUserErrors(
          async () => ({
            platform: await clients.registerPlatform(clientIdOf(caller), input.name, input.idempotencyKey),
          }),
          { platform: null },
        ),
      updatePlatform: (_parent, { input }, { caller }) =>
        withUserErrors(async () => ({ platform: await clients.updatePlatform(clientIdOf(caller), input) }), {
          platform: null,
        }),
      registerClient: (_parent, { input: { idempotencyKey, ...input } }, { caller }) =>
        changed(() =>
          clients.register(
            clientIdOf(caller),
            { ...input, tokenBinding: input.tokenBinding ?? 'DPOP' },
            { idempotencyKey: idempotencyKey ?? null },
          ),
        ),
      updateClient: (_parent, { input: { id, ...change } }, { caller }) =>
        changed(() => clients.update(clientIdOf(caller), id, change)),
      suspendClient: (_parent, { input }, { caller }) => changed(() => clients.suspend(clientIdOf(caller), input.id)),
      retireClient: (_parent, { input }, { caller }) => changed(() => clients.retire(clientIdOf(caller), input.id)),
      resumeClient: (_parent, { input }, { caller }) => changed(() => clients.resume(clientIdOf(caller), input.id)),
      registerOperations: (_parent, { input: { documents } }, { caller }) =>
        withUserErrors(
          async () => {
            const faults = documentFaults(documents, fits)
            if (faults.length > 0) throw new GatewayError('INVALID_INPUT', { faults })
            const operations = await clients.registerOperations(clientIdOf(caller), documents)
            return { operations: operations.map(toOperation) }
          },
          { operations: null },
        ),
    },
  } satisfies Resolvers
}

function documentFaults(documents: readonly string[], fits: (document: string) => boolean): InputFault[] {
  if (documents.length > MAX_AT_A_TIME)
    return [{ path: ['documents'], message: `\`documents\` must hold at most ${MAX_AT_A_TIME} documents.` }]
  return documents.flatMap((document, index) =>
    fits(document)
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
