import { RESPONSE_ISSUES } from '../../connectors/index.ts'
import type { Resolvers } from '../../generated/graphql.ts'
import { createRequestLoader } from '../../kernel/batch.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { FAILURE_CAUSES, toPublicFailureCause, type PublicFailureCause } from '../../kernel/failure-causes.ts'
import { withUserErrors } from '../../kernel/user-errors.ts'
import { requireClientId, type Caller } from '../../kernel/request-context.ts'
import type { Clients, Organization } from '../clients/index.ts'
import type { AuditLog } from '../ledger/index.ts'
import { bankEndpointsOf } from './bank-endpoints.ts'
import { credentialResolvers } from './credentials/resolvers.ts'
import type {
  BankAvailability,
  BankCertification,
  CertificationRun,
  Connector,
  OperationHealth,
  Outage,
} from './model.ts'
import type { Banks } from './service.ts'

/** Dependencies of the resolvers. */
export interface BanksResolversDependencies {
  readonly banks: Banks
  readonly auditLog: AuditLog
  readonly clients: Pick<Clients, 'organizationsOf'>
  readonly issuer: string
}

/** The resolvers of banks, outages and connectors. */
export function banksResolvers(dependencies: BanksResolversDependencies) {
  const connectors = connectorResolvers(dependencies)
  const credentials = credentialResolvers({
    ...dependencies,
    requireOwnership: (caller, id, path) => requireOwnership(dependencies.banks, caller, id, path),
  })
  return {
    Query: queryResolvers(dependencies),
    ...bankResolvers(dependencies),
    ...connectors,
    ...credentials,
    Connector: { ...connectors.Connector, ...credentials.Connector },
    Mutation: {
      ...connectorMutations(dependencies),
      ...credentials.Mutation,
      ...outageMutations(dependencies),
    },
  } satisfies Resolvers
}

const canManageBanks = ({ scopes }: Caller): boolean => scopes.has('banks:manage')

const clientIdOf = (caller: Caller): string | undefined => (caller.kind === 'ANONYMOUS' ? undefined : caller.clientId)

/** A partner sees only its own connectors. Others are treated as unknown. */
const isVisibleTo = (caller: Caller, { clientId }: Connector): boolean =>
  canManageBanks(caller) || (caller.kind === 'CLIENT' && caller.clientId === clientId)

function queryResolvers({ banks }: BanksResolversDependencies) {
  return {
    bank: (_parent, { id }) => banks.findActiveBank(id),
    banks: (_parent, { filter, ...page }, { caller }) =>
      banks.pageOfActiveBanks(clientIdOf(caller), filter ?? {}, page),
    async connector(_parent, { id }, { caller }) {
      const connector = await banks.findConnector(id)
      return connector && isVisibleTo(caller, connector) ? connector : null
    },
    connectors: (_parent, { filter, ...page }, { caller }) =>
      banks.pageOfConnectors(canManageBanks(caller) ? undefined : requireClientId(caller), filter ?? {}, page),
    connectorProfiles: () =>
      banks.profiles().map(({ id: name, evidence, triedAtBank, operatorStates: missingMembers, ...profile }) => ({
        ...profile,
        name,
        missingMembers,
        triedAt: triedAtBank === null ? null : `${triedAtBank}T00:00:00.000Z`,
        sources: evidence.map(({ source }) => source),
      })),
    connectorPreview: (_parent, { input }, { caller }) =>
      withUserErrors(
        async () => {
          const { bank, ...plan } = await banks.preview(requireClientId(caller), input)
          return { bankId: bank?.id ?? null, bankName: bank?.name ?? null, ...plan }
        },
        {
          bankId: null,
          bankName: null,
          signIn: null,
          requests: [],
          requestedData: [],
          requirements: [],
          missingMembers: [],
        },
      ),
  } satisfies Resolvers['Query']
}

function bankResolvers({ banks }: BanksResolversDependencies) {
  const loadOutages = createRequestLoader<Outage[]>(async (ids) => {
    const outages = await banks.outagesOf(ids)
    return ids.map((id) => outages.filter(({ bankId }) => bankId === id))
  })
  const loadAvailability = createRequestLoader<BankAvailability>(async (ids, { caller }) => {
    const byBankId = await banks.availabilityOf(ids, clientIdOf(caller))
    return ids.map((id) => byBankId.get(id)!)
  })
  const loadCertification = createRequestLoader<BankCertification | null>(async (ids) => {
    const byBankId = await banks.certificationsOfBanks(ids)
    return ids.map((id) => byBankId.get(id) ?? null)
  })
  return {
    Bank: {
      certification: ({ id }, _args, context) => loadCertification(id, context),
      availability: ({ id }, _args, context) => loadAvailability(id, context),
      outages: ({ id }, _args, context) => loadOutages(id, context),
    },
    BankCertification: {
      certifiedAt: ({ certifiedAt }) => certifiedAt.toISOString(),
      notShown: ({ notShown }) => [...notShown],
    },
    Outage: {
      bank: ({ bankId }) => banks.requireBank(bankId),
      startsAt: ({ startsAt }) => startsAt.toISOString(),
      endsAt: ({ endsAt }) => endsAt.toISOString(),
    },
  } satisfies Resolvers
}

function connectorResolvers({ banks, auditLog, clients, issuer }: BanksResolversDependencies) {
  const loadOrganization = createRequestLoader<Organization>((clientIds) => clients.organizationsOf(clientIds))

  /** The link is a secret of the partner: admins see the run and not the link. */
  async function signInUrlFor(caller: Caller, run: CertificationRun): Promise<string | null> {
    const url = await banks.attendedSignIns.signInUrl(run)
    return url !== null && (await banks.requireConnector(run.connectorId)).clientId === clientIdOf(caller) ? url : null
  }

  return {
    Connector: {
      bank: ({ bankId }) => banks.requireBank(bankId),
      organization: ({ clientId }, _args, context) => loadOrganization(clientId, context),
      clientIdAtBank: ({ registration }) => registration.clientId ?? null,
      acceptsNewConsents: ({ status, acceptsNewConsents }) => status === 'ACTIVE' && acceptsNewConsents,
      redirectUri: ({ id }) => bankEndpointsOf(issuer, id).redirectUri,
      eventsUrl: ({ id }) => bankEndpointsOf(issuer, id).eventsUrl,
      platformAccess: ({ bankId }) => banks.platformAccessOf(bankId),
      health: async ({ id }) =>
        (await banks.health.operationHealth(id)).map((health) => ({
          ...health,
          failureCauses: publicFailureCauses(health),
        })),
      responseIssues: async ({ id }) =>
        (await banks.health.responseIssues(id)).map((issue) => ({
          ...issue,
          description: RESPONSE_ISSUES[issue.code],
        })),
      eventStream: (connector) => banks.eventStreams.find(connector),
      eventCounts: async ({ id }) =>
        (await banks.eventCounts.recent(id)).map((count) => ({ ...count, day: count.day.toISOString() })),
      certificationRuns: ({ id }, page) => banks.certificationRuns(id, page),
      notices: ({ id }, page) => banks.notices(id, page),
      history: ({ id }, page) => auditLog.pageAbout(id, page),
    },
    PlatformAccess: {
      organizations: (access) => banks.listedPlatforms(access),
    },
    EventStream: {
      checkedAt: ({ checkedAt }) => checkedAt?.toISOString() ?? null,
      verificationRequestedAt: ({ verificationRequestedAt }) => verificationRequestedAt?.toISOString() ?? null,
      verifiedAt: ({ verifiedAt }) => verifiedAt?.toISOString() ?? null,
    },
    ConnectorNotice: {
      occurredAt: ({ occurredAt }) => occurredAt.toISOString(),
    },
    CertificationRun: {
      signInUrl: (run, _args, { caller }) => signInUrlFor(caller, run),
      startedAt: ({ startedAt }) => startedAt?.toISOString() ?? null,
      finishedAt: ({ finishedAt }) => finishedAt?.toISOString() ?? null,
      checks: ({ checks }) => [...checks],
    },
  } satisfies Resolvers
}

/** A partner may change its own connectors, an admin all. Throws `NOT_FOUND` for others. */
export async function requireOwnership(
  banks: Pick<Banks, 'findConnector'>,
  caller: Caller,
  connectorId: string,
  path = 'connectorId',
): Promise<string> {
  const clientId = requireClientId(caller)
  const connector = await banks.findConnector(connectorId)
  if (!connector || !isVisibleTo(caller, connector)) throw new GatewayError('NOT_FOUND', { path: [path] })
  return clientId
}

function connectorMutations({ banks }: BanksResolversDependencies) {
  const connectorPayload = (mutate: () => Promise<Connector>) =>
    withUserErrors(async () => ({ connector: await mutate() }), { connector: null })
  return {
    registerConnector: (_parent, { input }, { caller }) =>
      connectorPayload(() => banks.register(requireClientId(caller), input, input.idempotencyKey)),
    registerGatewayAtBank: (_parent, { input: { connectorId, softwareStatement } }, { caller }) =>
      connectorPayload(async () =>
        banks.registerGatewayAtBank(await requireOwnership(banks, caller, connectorId), connectorId, softwareStatement),
      ),
    startCertification: (_parent, { input: { connectorId, level } }, { caller }) =>
      withUserErrors(
        async () => ({
          certificationRun: await banks.startCertification(
            await requireOwnership(banks, caller, connectorId),
            connectorId,
            level,
          ),
        }),
        { certificationRun: null },
      ),
    activateConnector: (_parent, { input: { connectorId } }, { caller }) =>
      connectorPayload(async () => banks.activate(await requireOwnership(banks, caller, connectorId), connectorId)),
    suspendConnector: (_parent, { input: { connectorId } }, { caller }) =>
      connectorPayload(async () => banks.suspend(await requireOwnership(banks, caller, connectorId), connectorId)),
    retireConnector: (_parent, { input: { connectorId } }, { caller }) =>
      connectorPayload(async () => banks.retire(await requireOwnership(banks, caller, connectorId), connectorId)),
    setPlatformAccess: (_parent, { input: { connectorId, access } }, { caller }) =>
      connectorPayload(async () =>
        banks.setPlatformAccess(await requireOwnership(banks, caller, connectorId), connectorId, access),
      ),
  } satisfies Resolvers['Mutation']
}

function outageMutations({ banks }: BanksResolversDependencies) {
  /** A partner may end outages of its own banks, an admin all. Throws `NOT_FOUND` for others. */
  async function requireOwnOutage(caller: Caller, outageId: string): Promise<string> {
    const clientId = requireClientId(caller)
    const outage = await banks.findOutage(outageId)
    if (!outage || !(canManageBanks(caller) || (await banks.isPartnerOf(clientId, outage.bankId))))
      throw new GatewayError('NOT_FOUND', { path: ['outageId'] })
    return clientId
  }
  return {
    announceOutage: (_parent, { input: { connectorId, startsAt, endsAt, kind, idempotencyKey } }, { caller }) =>
      withUserErrors(
        async () => {
          const span = {
            startsAt: new Date(startsAt),
            endsAt: new Date(endsAt),
            kind: kind ?? ('MAINTENANCE' as const),
          }
          const clientId = await requireOwnership(banks, caller, connectorId)
          return { outage: await banks.announceOutage(clientId, connectorId, span, idempotencyKey) }
        },
        { outage: null },
      ),
    endOutage: (_parent, { input: { outageId } }, { caller }) =>
      withUserErrors(
        async () => ({ outage: await banks.endOutage(await requireOwnOutage(caller, outageId), outageId) }),
        { outage: null },
      ),
  } satisfies Resolvers['Mutation']
}

/** The causes that partners may see: those that only operators may see are merged with others. */
function publicFailureCauses({ failureCauses }: OperationHealth) {
  const counts = new Map<PublicFailureCause, number>()
  for (const { cause, count } of failureCauses)
    counts.set(toPublicFailureCause(cause), (counts.get(toPublicFailureCause(cause)) ?? 0) + count)
  return [...counts].map(([cause, count]) => ({ cause, count, description: FAILURE_CAUSES[cause].description }))
}
