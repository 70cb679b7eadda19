import type { Resolvers } from '../../generated/graphql.ts'
import { mendable } from '../../kernel/mutation.ts'
import { clientIdOf } from '../../kernel/request.ts'
import type { Client } from './model.ts'
import type { Clients } from './service.ts'

/** Platform and Client, for admins. */
export function clientsResolvers({ clients }: { clients: Clients }) {
  const changed = (work: () => Promise<Client>) => mendable(async () => ({ client: await work() }), { client: null })
  return {
    Query: {
      platforms: () => clients.platforms(),
      clients: () => clients.all(),
    },
    Client: {
      platform: async ({ platformId }) => (await clients.platform(platformId))!,
    },
    Mutation: {
      registerPlatform: (_parent, { input }, { caller }) =>
        mendable(async () => ({ platform: await clients.registerPlatform(clientIdOf(caller), input.name) }), {
          platform: null,
        }),
      registerClient: (_parent, { input }, { caller }) =>
        changed(() => clients.register(clientIdOf(caller), { ...input, tokenBinding: input.tokenBinding ?? 'DPOP' })),
      suspendClient: (_parent, { input }, { caller }) => changed(() => clients.suspend(clientIdOf(caller), input.id)),
      resumeClient: (_parent, { input }, { caller }) => changed(() => clients.resume(clientIdOf(caller), input.id)),
    },
  } satisfies Resolvers
}
