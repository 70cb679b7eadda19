import DataLoader from 'dataloader'
import type { Resolvers } from '../../generated/graphql.ts'
import { mendable } from '../../kernel/mutation.ts'
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
  return {
    Query: {
      client: (_parent, _args, { caller }) =>
        caller.kind === 'ANONYMOUS' ? null : { kind: 'CLIENT', clientId: caller.clientId, scopes: caller.scopes },
    },
    ThisClient: {
      id: ({ clientId }) => clientId,
      name: async ({ clientId }) => (await clients.find(clientId))!.name,
      webhookEndpoints: ({ clientId }) => deliveries.endpointsOf(clientId),
      deliveries: ({ clientId }) => deliveries.ofClient(clientId),
    },
    Delivery: {
      createdAt: ({ createdAt }) => createdAt.toISOString(),
      attempts: async ({ id }, _args, context) =>
        (await attemptsOf(context).load(id)).map((attempt) => ({ ...attempt, at: attempt.at.toISOString() })),
    },
    Mutation: {
      registerWebhookEndpoint: (_parent, { input }, { caller }) =>
        mendable(() => deliveries.registerEndpoint(clientIdOf(caller), input.url), { endpoint: null, secret: null }),
    },
  } satisfies Resolvers
}
