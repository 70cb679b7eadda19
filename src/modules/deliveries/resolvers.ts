import DataLoader from 'dataloader'
import type { Resolvers } from '../../generated/graphql.ts'
import { withUserErrors } from '../../kernel/mutation.ts'
import { clientIdOf, perRequest } from '../../kernel/request.ts'
import type { Clients } from '../clients/index.ts'
import type { Deliveries } from './service.ts'

/** ThisClient, its endpoints and what was delivered to them. */
export function deliveriesResolvers({ deliveries, clients }: { deliveries: Deliveries; clients: Clients }) {
  const attemptsOf = perRequest(
    () =>
      new DataLoader(async (ids: readonly string[]) => {
        const attempts = await deliveries.attemptsOf(ids)
        return ids.map((id) => attempts.filter(({ deliveryId }) => deliveryId === id))
      }),
  )
  const endpointsOf = perRequest(({ caller }) => deliveries.endpointsOf(clientIdOf(caller)))
  return {
    Query: {
      client: (_parent, _args, { caller }) => (caller.kind === 'ANONYMOUS' ? null : { ...caller, kind: 'CLIENT' }),
    },
    ThisClient: {
      id: ({ clientId }) => clientId,
      name: async ({ clientId }) => (await clients.find(clientId))!.name,
      webhookEndpoints: ({ clientId }) => deliveries.endpointsOf(clientId),
      deliveries: ({ clientId }, { filter, ...page }) => deliveries.ofClient(clientId, filter ?? {}, page),
    },
    Delivery: {
      createdAt: ({ createdAt }) => createdAt.toISOString(),
      nextAttemptAt: ({ status, nextAttemptAt }) => (status === 'PENDING' ? nextAttemptAt.toISOString() : null),
      endpoint: async ({ endpointId }, _args, context) =>
        (await endpointsOf(context)).find(({ id }) => id === endpointId)!,
      attempts: async ({ id }, _args, context) =>
        (await attemptsOf(context).load(id)).map((attempt) => ({ ...attempt, at: attempt.at.toISOString() })),
    },
    Mutation: {
      registerWebhookEndpoint: (_parent, { input }, { caller }) =>
        withUserErrors(() => deliveries.registerEndpoint(clientIdOf(caller), input.url, input.idempotencyKey), {
          endpoint: null,
          secret: null,
        }),
      updateWebhookEndpoint: (_parent, { input }, { caller }) =>
        withUserErrors(
          async () => ({ endpoint: await deliveries.updateEndpoint(clientIdOf(caller), input.id, input.status) }),
          { endpoint: null },
        ),
      replayDelivery: (_parent, { input }, { caller }) =>
        withUserErrors(
          async () => ({ delivery: await deliveries.replay(clientIdOf(caller), input.id, input.idempotencyKey) }),
          { delivery: null },
        ),
    },
  } satisfies Resolvers
}
