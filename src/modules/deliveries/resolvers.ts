import type { Resolvers } from '../../generated/graphql.ts'
import { createRequestLoader } from '../../kernel/batch.ts'
import { parseTimeRange, type TimeRangeInput } from '../../kernel/time-range.ts'
import { withUserErrors } from '../../kernel/user-errors.ts'
import { assertOwnClient, requireClientId, perRequest } from '../../kernel/request-context.ts'
import { EVENT_TYPES, type DeliverySelection } from './model.ts'
import type { Deliveries } from './service.ts'

/** The default of the schema, for null. */
const DEFAULT_OVERLAP_HOURS = 24

/** A client's webhook endpoints, deliveries and attempts. */
export function deliveriesResolvers({ deliveries }: { deliveries: Deliveries }) {
  const loadAttempts = createRequestLoader(async (ids) => {
    const attempts = await deliveries.findAttempts(ids)
    return ids.map((id) => attempts.filter(({ deliveryId }) => deliveryId === id))
  })
  const endpointsOf = perRequest(({ caller }) => deliveries.listEndpoints(requireClientId(caller)))
  return {
    Client: {
      webhookEndpoints: ({ id }, _args, { caller }) => {
        assertOwnClient(caller, id)
        return deliveries.listEndpoints(id)
      },
      failedDeliveryCount: ({ id }, _args, { caller }) => {
        assertOwnClient(caller, id)
        return deliveries.countFailed(id)
      },
      deliveries: ({ id }, { filter, ...page }, { caller }) => {
        assertOwnClient(caller, id)
        const { created, ...rest } = filter ?? {}
        return deliveries.listForClient(id, { ...rest, ...parseTimeRange(created) }, page)
      },
    },
    WebhookEndpoint: {
      disabledAt: ({ disabledAt }) => disabledAt?.toISOString() ?? null,
      failingSince: ({ failingSince }) => failingSince?.toISOString() ?? null,
      secretOverlapEndsAt: ({ secretOverlapEndsAt }) => secretOverlapEndsAt?.toISOString() ?? null,
      lastSuccessAt: ({ lastSuccessAt }) => lastSuccessAt?.toISOString() ?? null,
    },
    Delivery: {
      createdAt: ({ createdAt }) => createdAt.toISOString(),
      nextAttemptAt: ({ status, nextAttemptAt }) => (status === 'PENDING' ? nextAttemptAt.toISOString() : null),
      webhookEndpoint: async ({ webhookEndpointId }, _args, context) =>
        (await endpointsOf(context)).find(({ id }) => id === webhookEndpointId)!,
      attempts: ({ id }, _args, context) => loadAttempts(id, context),
    },
    DeliveryAttempt: {
      attemptedAt: ({ attemptedAt }) => attemptedAt.toISOString(),
    },
    Mutation: {
      registerWebhookEndpoint: (_parent, { input }, { caller }) =>
        withUserErrors(() => deliveries.registerEndpoint(requireClientId(caller), input.url, input), {
          webhookEndpoint: null,
          signingSecret: null,
        }),
      updateWebhookEndpoint: (_parent, { input: { webhookEndpointId, ...change } }, { caller }) =>
        withUserErrors(
          async () => ({
            webhookEndpoint: await deliveries.updateEndpoint(requireClientId(caller), webhookEndpointId, change),
          }),
          { webhookEndpoint: null },
        ),
      rotateWebhookSecret: (_parent, { input: { webhookEndpointId, overlapHours, idempotencyKey } }, { caller }) =>
        withUserErrors(
          () =>
            deliveries.rotateSecret(requireClientId(caller), webhookEndpointId, {
              overlapHours: overlapHours ?? DEFAULT_OVERLAP_HOURS,
              idempotencyKey,
            }),
          { webhookEndpoint: null, signingSecret: null },
        ),
      sendTestEvent: (_parent, { input }, { caller }) =>
        withUserErrors(
          async () => ({
            delivery: await deliveries.sendTestEvent(requireClientId(caller), {
              ...input,
              eventType: input.eventType ?? EVENT_TYPES.alert,
            }),
          }),
          { delivery: null },
        ),
      replayDeliveries: (_parent, { input: { select, ...input } }, { caller }) =>
        withUserErrors(() => deliveries.replay(requireClientId(caller), { ...input, select: parseSelection(select) }), {
          deliveries: null,
          replayedCount: null,
        }),
    },
  } satisfies Resolvers
}

const parseSelection = ({
  deliveryIds,
  created,
}: {
  readonly deliveryIds?: readonly string[] | null | undefined
  readonly created?: TimeRangeInput | null | undefined
}): DeliverySelection => (deliveryIds ? { deliveryIds } : parseTimeRange(created))
