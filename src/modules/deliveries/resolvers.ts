import DataLoader from 'dataloader'
import type { Resolvers } from '../../generated/graphql.ts'
import { withUserErrors } from '../../kernel/user-errors.ts'
import { requireClientId, perRequest } from '../../kernel/request-context.ts'
import type { Clients } from '../clients/index.ts'
import type { Deliveries } from './service.ts'

/** ThisClient, its endpoints and what was delivered to them. */
export function deliveriesResolvers({ deliveries, clients }: { deliveries: Deliveries; clients: Clients }) {
  const attemptLoader = perRequest(
    () =>
      new DataLoader(async (ids: readonly string[]) => {
        const attempts = await deliveries.findAttempts(ids)
        return ids.map((id) => attempts.filter(({ deliveryId }) => deliveryId === id))
      }),
  )
  const endpointsOf = perRequest(({ caller }) => deliveries.listEndpoints(requireClientId(caller)))
  return {
    Query: {
      client: (_parent, _args, { caller }) => (caller.kind === 'ANONYMOUS' ? null : { ...caller, kind: 'CLIENT' }),
    },
    ThisClient: {
      id: ({ clientId }) => clientId,
      name: async ({ clientId }) => (await clients.find(clientId))!.name,
      webhookEndpoints: ({ clientId }) => deliveries.listEndpoints(clientId),
      deliveries: ({ clientId }, { filter, ...page }) => deliveries.listForClient(clientId, filter ?? {}, page),
    },
    Delivery: {
      createdAt: ({ createdAt }) => createdAt.toISOString(),
      nextAttemptAt: ({ status, nextAttemptAt }) => (status === 'PENDING' ? nextAttemptAt.toISOString() : null),
      endpoint: async ({ endpointId }, _args, context) =>
        (await endpointsOf(context)).find(({ id }) => id === endpointId)!,
      attempts: async ({ id }, _args, context) =>
        (await attemptLoader(context).load(id)).map((attempt) => ({ ...attempt, at: attempt.at.toISOString() })),
    },
    Mutation: {
      registerWebhookEndpoint: (_parent, { input }, { caller }) =>
        withUserErrors(() => deliveries.registerEndpoint(requireClientId(caller), input.url, input.idempotencyKey), {
          endpoint: null,
          secret: null,
        }),
      updateWebhookEndpoint: (_parent, { input }, { caller }) =>
        withUserErrors(
          async () => ({ endpoint: await deliveries.updateEndpoint(requireClientId(caller), input.id, input.status) }),
          { endpoint: null },
        ),
      replayDelivery: (_parent, { input }, { caller }) =>
        withUserErrors(
          async () => ({ delivery: await deliveries.replay(requireClientId(caller), input.id, input.idempotencyKey) }),
          { delivery: null },
        ),
    },
  } satisfies Resolvers
}
