import DataLoader from 'dataloader'
import type { Resolvers } from '../../generated/graphql.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { mendable } from '../../kernel/mutation.ts'
import { clientIdOf, perRequest, type Caller } from '../../kernel/request.ts'
import type { Connector } from './model.ts'
import type { Banks } from './service.ts'

/** Bank and Connector, with a connector's way from draft to live. */
export function banksResolvers({ banks, issuer }: { banks: Banks; issuer: string }) {
  const changed = (work: () => Promise<Connector>) =>
    mendable(async () => ({ connector: await work() }), { connector: null })

  /** A partner acts on its own connectors; another's answers as one that does not exist. */
  async function own(caller: Caller, id: string): Promise<string> {
    const by = clientIdOf(caller)
    const connector = await banks.connector(id)
    if (connector?.clientId !== by && !caller.scopes.has('banks:manage'))
      throw new GatewayError('NOT_FOUND', { path: ['id'] })
    return by
  }

  const maintenanceOf = perRequest(
    () =>
      new DataLoader(async (ids: readonly string[]) => {
        const windows = await banks.maintenance(ids)
        return ids.map((id) =>
          windows
            .filter(({ bankId }) => bankId === id)
            .map(({ from, to }) => ({ from: from.toISOString(), to: to.toISOString() })),
        )
      }),
  )

  return {
    Query: {
      banks: () => banks.live(),
      connectors: (_parent, _args, { caller }) =>
        caller.scopes.has('banks:manage') ? banks.all() : banks.registeredBy(clientIdOf(caller)),
    },
    Connector: {
      bank: async ({ bankId }) => (await banks.bank(bankId))!,
      redirectUri: () => `${issuer}/bank/callback`,
      eventsUrl: ({ id }) => `${issuer}/bank-events/${id}`,
      health: ({ id }) => banks.health.of(id),
      certifications: async ({ id }) =>
        (await banks.certifications(id)).map((report) => ({ ...report, at: report.at.toISOString() })),
    },
    Bank: {
      maintenance: ({ id }, _args, context) => maintenanceOf(context).load(id),
    },
    Mutation: {
      registerConnector: (_parent, { input }, { caller }) =>
        changed(() => banks.register(clientIdOf(caller), input.standard, input.registration, input.idempotencyKey)),
      certifyConnector: (_parent, { input }, { caller }) =>
        changed(async () => banks.certify(await own(caller, input.id), input.id)),
      putConnectorLive: (_parent, { input }, { caller }) => changed(() => banks.putLive(clientIdOf(caller), input.id)),
      suspendConnector: (_parent, { input }, { caller }) =>
        changed(async () => banks.suspend(await own(caller, input.id), input.id)),
      announceMaintenance: (_parent, { input: { id, from, to, idempotencyKey } }, { caller }) =>
        mendable(
          async () => {
            const window = { from: new Date(from), to: new Date(to) }
            return { bank: await banks.announceMaintenance(await own(caller, id), id, window, idempotencyKey) }
          },
          { bank: null },
        ),
    },
  } satisfies Resolvers
}
