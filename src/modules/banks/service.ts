import { STANDARDS, type BankInterface, type PollEvents, type ReceivedEvent } from '../../connectors/index.ts'
import { chain, type MaybePromise } from '../../kernel/maybe-promise.ts'
import { SECOND_MS } from '../../kernel/clock.ts'
import { GatewayError, errorLogFields } from '../../kernel/errors.ts'
import { connectionByTime, type Connection, type PageArguments } from '../../kernel/pagination.ts'
import { createLoadingCache } from '../../kernel/loading-cache.ts'
import type { Metrics } from '../../kernel/metrics.ts'
import type { World } from '../../kernel/world.ts'
import { RETRIES } from '../../kernel/retry.ts'
import type { Database } from '../../storage/database.ts'
import type { Idempotency } from '../../storage/idempotency.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Signals } from '../../storage/signals.ts'
import type { Ledger } from '../ledger/index.ts'
import { createBankGuards, type ProtectedBank } from './bank-guard.ts'
import { createBankInterfaces } from './bank-interfaces.ts'
import { createCertification } from './certification/index.ts'
import { certificationStore as createCertificationStore } from './certification/store.ts'
import { createDirectory } from './directory.ts'
import { createEventSenders } from './event-senders.ts'
import { createBankHealth } from './health.ts'
import { healthStore } from './health-store.ts'
import { createLifecycle } from './lifecycle.ts'
import type { Bank, CertificationRun, Connector, ConnectorFilter, ConnectorStatus, Notice, Outage } from './model.ts'
import { noticeStore } from './notice-store.ts'
import { createNotices } from './notices.ts'
import { outageStore as createOutageStore } from './outage-store.ts'
import { createOutages } from './outages.ts'
import { createRegistration } from './registration.ts'
import { bankStore } from './store.ts'

/** Banks, their connectors, and the way to reach them. */
export type Banks = ReturnType<typeof createBanks>

/** What banks depend on. */
export interface BanksDependencies {
  database: Database
  world: World
  seal: Seal
  ledger: Ledger
  signals: Signals
  idempotency: Idempotency
  issuer: string
  metrics: Pick<Metrics, 'bankCallDuration' | 'bankCallsWaiting'>
}

const CACHE_LIMITS = { maxBytes: 2_097_152, ttlMs: 30 * SECOND_MS }
/** A bank that is being certified must be able to show that its events are good. */
const EVENT_ACCEPTING_STATUSES: ReadonlySet<ConnectorStatus> = new Set(['CERTIFYING', 'ACTIVE'])

/** Registers connectors, moves them through their lifecycle, and reaches the banks behind them. */
export function createBanks(dependencies: BanksDependencies) {
  const { database, world, seal, ledger, signals, idempotency, issuer, metrics } = dependencies
  const store = bankStore(database)
  const registration = createRegistration({ store, database, world, seal, ledger, idempotency })
  const health = createBankHealth(healthStore(database), world, metrics)
  const guards = createBankGuards(world, metrics)
  const notices = createNotices(noticeStore(database), health, database, world)
  const interfaces = createBankInterfaces({ store, world, seal, health, guards, issuer })
  const { loadConnectorContext, getInterface, evict, expectsForgedEvent } = interfaces
  const certificationStore = createCertificationStore(database)
  const lifecycle = createLifecycle({ store, certificationStore, database, ledger, signals, notices, requireConnector })
  const certification = createCertification({
    store: certificationStore,
    world,
    issuer,
    requireConnector,
    loadConnectorContext,
    completeCertification: lifecycle.completeCertification,
  })
  const cacheOptions = { clock: world.clock, ...CACHE_LIMITS, coherence: signals.coherence }
  const bankCache = createLoadingCache<Bank | null>(cacheOptions)
  const activeConnectorCache = createLoadingCache<Connector | null>(cacheOptions)
  const connectorCache = createLoadingCache<Connector>({ ...cacheOptions, tagsOf: ({ bankId }) => [bankId] })
  const outageCache = createLoadingCache<readonly Outage[]>(cacheOptions)
  const outageStore = createOutageStore(database)
  const outages = createOutages({
    store: outageStore,
    database,
    world,
    ledger,
    signals,
    idempotency,
    outageCache,
    requireConnector,
  })
  const directory = createDirectory({ store, outages: outageStore, health, clock: world.clock })
  const eventSenders = createEventSenders(cacheOptions, () => store.connectorIds([...EVENT_ACCEPTING_STATUSES]))
  signals.onSignal((signal) => {
    if (signal.kind !== 'BANK') return
    eventSenders.invalidate()
    activeConnectorCache.invalidate(signal.id)
    connectorCache.invalidateTag(signal.id)
    outageCache.invalidate(signal.id)
  })

  /** The newest: a partner moves to another interface by activating a further connector beside the one in use. */
  const findActiveConnector = (bankId: string): Connector | null | Promise<Connector | null> =>
    activeConnectorCache.get(bankId, async () => (await store.connectors({ bankId, status: 'ACTIVE' })).at(-1) ?? null)

  async function requireConnector(id: string): Promise<Connector> {
    const connector = await store.connector(id)
    if (!connector) throw new GatewayError('NOT_FOUND')
    return connector
  }

  return {
    findBank: (id: string): Promise<Bank | null> => store.bank(id),
    /** A bank that some row of ours names, so that it is known to exist. */
    requireBank: (id: string): MaybePromise<Bank> =>
      chain(
        bankCache.get(id, () => store.bank(id)),
        (bank) => bank!,
      ),
    /** Opens the bank's app or site; null if the bank named none. */
    async bankAppUrlOf(bankId: string): Promise<string | null> {
      return (await findActiveConnector(bankId))?.registration.bankAppUrl ?? null
    },
    /** Whether the bank has an active connector. Without one, not even cached data of it is disclosed. */
    isActive: (bankId: string): MaybePromise<boolean> =>
      chain(findActiveConnector(bankId), (connector) => connector !== null),
    health,
    findBanks: (ids: readonly string[]): Promise<Bank[]> => store.banks(ids),
    ...directory,
    findConnector: (id: string): Promise<Connector | null> => store.connector(id),
    connectorsOfClient: (clientId: string): Promise<Connector[]> => store.connectors({ clientId }),
    allConnectors: (): Promise<Connector[]> => store.connectors({}),
    /** The connectors that serve customers. */
    activeConnectors: (): Promise<Connector[]> => store.connectors({ status: 'ACTIVE' }),
    /** A page of one client's connectors, or of all, newest first. Throws `INVALID_INPUT` with every fault of `page`. */
    pageOfConnectors: (
      clientId: string | undefined,
      filter: ConnectorFilter,
      page: PageArguments,
    ): Promise<Connection<Connector>> =>
      connectionByTime(
        page,
        (id) => store.connectorPosition(clientId, id),
        (slice) => store.connectorSlice(clientId, filter, slice),
      ),

    /** Whether the client registered the bank. */
    isPartnerOf: async (clientId: string, bankId: string): Promise<boolean> =>
      (await store.partnerOf(bankId)) === clientId,

    /** The newest of a bank's connectors that takes new consents. Throws `BANK_UNAVAILABLE` where there is none. */
    async requireConnectorForNewConsent(bankId: string): Promise<Connector> {
      const connector = (await store.connectors({ bankId, status: 'ACTIVE' })).findLast(
        ({ acceptsNewConsents }) => acceptsNewConsents,
      )
      if (!connector)
        throw new GatewayError('BANK_UNAVAILABLE', { internalMessage: 'no connector that takes new consents' })
      return connector
    },

    ...registration,

    /**
     * Has the gateway register itself at the bank of a draft by a software statement, where the standard has that. Throws
     * `STATE_CONFLICT` where it has not or the connector is no draft, and what the bank said.
     */
    async registerGatewayAtBank(actorClientId: string, id: string, softwareStatement: string): Promise<Connector> {
      const connector = await requireConnector(id)
      const { registerDynamically } = STANDARDS[connector.standard]
      if (connector.status !== 'DRAFT' || !registerDynamically) throw new GatewayError('STATE_CONFLICT')
      const { registration, tools } = await loadConnectorContext(connector)
      const clientIdAtBank = await registerDynamically(
        registration,
        tools({ ...world, report: () => undefined }),
        softwareStatement,
      )
      await database.transaction(async (tx) => {
        if (!(await store.setClientIdAtBank(tx, id, clientIdAtBank))) throw new GatewayError('STATE_CONFLICT')
        await ledger.record(tx, {
          action: 'GATEWAY_REGISTERED_AT_BANK',
          clientId: actorClientId,
          subjectId: id,
          changes: [{ field: 'clientIdAtBank', before: [connector.registration.clientId], after: [clientIdAtBank] }],
        })
      })
      evict(id)
      return requireConnector(id)
    },

    /** Adds a certification run; its checks can be seen as they are done. Throws `STATE_CONFLICT` while one runs. */
    async startCertification(actorClientId: string, id: string): Promise<CertificationRun> {
      let runId = ''
      await lifecycle.startCertification(actorClientId, id, async (tx) => {
        runId = await certification.enqueue(tx, id, 'PARTNER')
      })
      return (await certification.find(runId))!
    },

    /** Executes the oldest waiting run of these triggers; false if there is none. */
    runNextCertification: (triggers: readonly CertificationRun['trigger'][]): Promise<boolean> =>
      certification.runNext(triggers),

    /** Records a notice of each operation that broke or recovered; returns how many. */
    recordHealthNotices: async (): Promise<number> =>
      notices.recordHealthChanges(await store.connectors({ status: 'ACTIVE' })),

    /** Adds a run of every active connector that had none for a day, or failed an hour ago; returns how many. */
    async scheduleNightlyCertifications(): Promise<number> {
      const connectors = await store.connectors({ status: 'ACTIVE' })
      return database.withAdvisoryLock('nightly-certification', () => certification.schedule(connectors))
    },

    /** A page of the connector's notices, newest first. Throws `INVALID_INPUT` with every fault of `page`. */
    notices: (id: string, page: PageArguments): Promise<Connection<Notice>> => notices.page(id, page),

    activate: lifecycle.activate,
    suspend: lifecycle.suspend,
    retire: lifecycle.retire,

    findCertificationRun: (id: string): Promise<CertificationRun | null> => certification.find(id),
    /** A page of the connector's runs, newest first. Throws `INVALID_INPUT` with every fault of `page`. */
    certificationRuns: (id: string, page: PageArguments): Promise<Connection<CertificationRun>> =>
      certification.page(id, page),

    ...outages,

    /** The bank behind a connector, while it is ACTIVE. Throws `BANK_UNAVAILABLE` otherwise. */
    async getActiveBank(connectorId: string): Promise<ProtectedBank> {
      const connector = await connectorCache.get(connectorId, () => requireConnector(connectorId))
      if (connector.status !== 'ACTIVE')
        throw new GatewayError('BANK_UNAVAILABLE', { internalMessage: 'connector is not active' })
      return getInterface(connector)
    },

    /** The same whatever the connector's status, for ending what was begun. */
    getBankInAnyState: async (connectorId: string): Promise<BankInterface> =>
      getInterface(await requireConnector(connectorId)),

    /** The active banks that keep events for us and are to be asked now: each turn is one process's. */
    async claimEventPolls(): Promise<{ connectorId: string; collect: PollEvents }[]> {
      const polls = (await store.connectors({ status: 'ACTIVE' })).map(async (connector) => {
        const { id } = connector
        const collect = await getInterface(connector).then(
          ({ pollEvents }) => pollEvents,
          (error: unknown) => {
            // One that cannot be opened is not the others' trouble.
            world.log.warn('bank_events.poll_failed', { connectorId: id, ...errorLogFields(error) })
          },
        )
        const isClaimed = collect && (await store.claimEventPoll(id, RETRIES.eventPoll.delaysMs[0]))
        return isClaimed ? [{ connectorId: id, collect }] : []
      })
      return (await Promise.all(polls)).flat()
    },

    /** Whether, in this connector's standard, a new consent of a customer ends the earlier ones. */
    newConsentEndsEarlier: (connector: Connector): boolean => STANDARDS[connector.standard].newConsentReplacesPrevious,

    expectsForgery: expectsForgedEvent,

    /** Whether events of this connector are accepted now. */
    acceptsEventsOf: (connectorId: string): boolean | Promise<boolean> => eventSenders.has(connectorId),

    /** Reads a pushed event by the rules of the connector's standard. Throws `NOT_FOUND` or `EVENT_REJECTED`. */
    async readEvent(connectorId: string, deliveredEvent: ReceivedEvent) {
      const connector = await connectorCache.get(connectorId, () => requireConnector(connectorId))
      if (!EVENT_ACCEPTING_STATUSES.has(connector.status)) throw new GatewayError('NOT_FOUND')
      const event = await STANDARDS[connector.standard].readEvent(deliveredEvent, connector.registration, world.clock)
      return { bankId: connector.bankId, event }
    },
  }
}
