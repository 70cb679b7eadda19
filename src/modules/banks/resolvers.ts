import DataLoader from 'dataloader'
import { PROBLEMS } from '../../connectors/index.ts'
import type { Resolvers } from '../../generated/graphql.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { FAILURE_CAUSES, toPublicFailureCause, type PublicFailureCause } from '../../kernel/failure-causes.ts'
import { withUserErrors } from '../../kernel/user-errors.ts'
import { requireClientId, perRequest, type Caller } from '../../kernel/request-context.ts'
import type { Connector, MaintenanceWindow, OperationHealth } from './model.ts'
import type { Banks } from './service.ts'

/** Bank and Connector, with a connector's way from draft to live. */
export function banksResolvers({ banks, issuer }: { banks: Banks; issuer: string }) {
  const connectorPayload = (mutate: () => Promise<Connector>) =>
    withUserErrors(async () => ({ connector: await mutate() }), { connector: null })

  /** A partner acts on its own connectors; another's answers as one that does not exist. */
  async function requireOwnership(caller: Caller, id: string): Promise<string> {
    const clientId = requireClientId(caller)
    const connector = await banks.findConnector(id)
    if (connector?.clientId !== clientId && !caller.scopes.has('banks:manage'))
      throw new GatewayError('NOT_FOUND', { path: ['id'] })
    return clientId
  }

  const maintenanceLoader = perRequest(
    () =>
      new DataLoader(async (ids: readonly string[]) => {
        const windows = await banks.maintenance(ids)
        return ids.map((id) => windows.filter(({ bankId }) => bankId === id).map(serializeMaintenanceWindow))
      }),
  )

  return {
    Query: {
      banks: () => banks.connectableBanks(),
      connectorPreview: (_parent, { input }, { caller }) =>
        withUserErrors(
          async () => {
            const { bank } = await banks.preview(requireClientId(caller), input.standard, input.registration)
            return { bankId: bank.id, bankName: bank.name }
          },
          { bankId: null, bankName: null },
        ),
      connectors: (_parent, _args, { caller }) =>
        caller.scopes.has('banks:manage') ? banks.allConnectors() : banks.connectorsOfClient(requireClientId(caller)),
    },
    Connector: {
      bank: async ({ bankId }) => (await banks.findBank(bankId))!,
      clientId: ({ registration }) => registration.clientId,
      redirectUri: () => `${issuer}/bank/callback`,
      eventsUrl: ({ id }) => `${issuer}/bank-events/${id}`,
      health: async ({ id }) =>
        (await banks.health.operationHealth(id)).map((health) => ({
          ...health,
          failureCauses: publicFailureCauses(health),
        })),
      certifications: async ({ id }) =>
        (await banks.certifications(id)).map((report) => ({
          ...report,
          at: report.at.toISOString(),
          finishedAt: report.finishedAt?.toISOString() ?? null,
          checks: [...report.checks],
        })),
      problems: async ({ id }) =>
        (await banks.health.problemsOf(id)).map((one) => ({ ...one, description: PROBLEMS[one.problem] })),
      notices: async ({ id }) =>
        (await banks.notices(id)).map(({ kind, operation, at }) => ({ kind, operation, at: at.toISOString() })),
      history: async ({ id }) =>
        (await banks.history(id)).map((change) => ({ ...change, at: change.at.toISOString() })),
    },
    Bank: {
      maintenance: ({ id }, _args, context) => maintenanceLoader(context).load(id),
    },
    Mutation: {
      registerConnector: (_parent, { input }, { caller }) =>
        connectorPayload(() =>
          banks.register(requireClientId(caller), input.standard, input.registration, input.idempotencyKey),
        ),
      certifyConnector: (_parent, { input }, { caller }) =>
        connectorPayload(async () => banks.startCertification(await requireOwnership(caller, input.id), input.id)),
      putConnectorLive: (_parent, { input }, { caller }) =>
        connectorPayload(() => banks.putLive(requireClientId(caller), input.id)),
      suspendConnector: (_parent, { input }, { caller }) =>
        connectorPayload(async () => banks.suspend(await requireOwnership(caller, input.id), input.id)),
      introduceConnector: (_parent, { input }, { caller }) =>
        connectorPayload(async () =>
          banks.registerGatewayAtBank(await requireOwnership(caller, input.id), input.id, input.softwareStatement),
        ),
      retireConnector: (_parent, { input }, { caller }) =>
        connectorPayload(async () => banks.retire(await requireOwnership(caller, input.id), input.id)),
      endIncident: (_parent, { input: { id } }, { caller }) =>
        withUserErrors(async () => ({ bank: await banks.endIncident(await requireOwnership(caller, id), id) }), {
          bank: null,
        }),
      announceMaintenance: (_parent, { input: { id, from, to, kind, idempotencyKey } }, { caller }) =>
        withUserErrors(
          async () => {
            const window = { from: new Date(from), to: new Date(to), kind: kind ?? ('MAINTENANCE' as const) }
            return {
              bank: await banks.announceMaintenance(await requireOwnership(caller, id), id, window, idempotencyKey),
            }
          },
          { bank: null },
        ),
    },
  } satisfies Resolvers
}

/** The causes that partners are shown, which can be fewer than there are. */
function publicFailureCauses({ failureCauses }: OperationHealth) {
  const counts = new Map<PublicFailureCause, number>()
  for (const { cause, count } of failureCauses)
    counts.set(toPublicFailureCause(cause), (counts.get(toPublicFailureCause(cause)) ?? 0) + count)
  return [...counts].map(([cause, count]) => ({ cause, count, description: FAILURE_CAUSES[cause].description }))
}

/** An announcement as the graph tells it. */
export const serializeMaintenanceWindow = ({ kind, from, to }: MaintenanceWindow) => ({
  kind,
  from: from.toISOString(),
  to: to.toISOString(),
})
