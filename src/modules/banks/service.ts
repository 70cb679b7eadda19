import { STANDARDS, type BankInterface, type CollectEvents, type DeliveredEvent } from '../../connectors/index.ts'
import { SECOND_MS } from '../../kernel/clock.ts'
import { GatewayError, errorLogFields } from '../../kernel/errors.ts'
import { createLoadingCache } from '../../kernel/loading-cache.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Idempotency } from '../../storage/idempotency.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Ledger } from '../ledger/index.ts'
import type { Outbox } from '../outbox/index.ts'
import { createBankGuards, type ProtectedBank } from './circuit-breaker.ts'
import { createCertification } from './certification.ts'
import { createEventSenders } from './event-senders.ts'
import { createBankHealth } from './health.ts'
import { healthStore } from './health-store.ts'
import { createLifecycle } from './lifecycle.ts'
import { createMaintenance } from './maintenance.ts'
import type {
  Bank,
  CertificationReport,
  Connector,
  ConnectorChange,
  ConnectorState,
  MaintenanceWindow,
  Notice,
} from './model.ts'
import { createNotices } from './notices.ts'
import { createBankInterfaces } from './bank-interfaces.ts'
import { createRegistration } from './registration.ts'
import { bankStore } from './store.ts'

/** Banks, their connectors, and the way to reach them. */
export type Banks = ReturnType<typeof createBanks>

/** What banks stand on. */
export interface BanksDependencies {
  database: Database
  world: World
  seal: Seal
  ledger: Ledger
  outbox: Outbox
  idempotency: Idempotency
  issuer: string
}

const CACHE_LIMITS = { maxBytes: 2_097_152, ttlMs: 30 * SECOND_MS }
/** How often a bank is asked for the events that it keeps. */
const EVENT_POLL_INTERVAL_MS = 5 * SECOND_MS
/** A bank that is being certified must be able to show that its events are good. */
const EVENT_ACCEPTING_STATES: ReadonlySet<ConnectorState> = new Set(['CERTIFYING', 'LIVE'])
const HISTORY_LIMIT = 50

/** Registers connectors, leads them from draft to live, and reaches the banks behind them. */
export function createBanks({ database, world, seal, ledger, outbox, idempotency, issuer }: BanksDependencies) {
  const store = bankStore(database)
  const registration = createRegistration({ store, database, world, seal, ledger, idempotency })
  const health = createBankHealth(healthStore(database), world)
  const breakers = createBankGuards(world)
  const notices = createNotices(store, health, database, world)
  const { loadConnectorContext, getInterface, evict, expectsForgedEvent } = createBankInterfaces({
    store,
    world,
    seal,
    health,
    guards: breakers,
    issuer,
  })
  const lifecycle = createLifecycle({ store, database, ledger, outbox, notices, requireConnector })
  const { completeCertification } = lifecycle
  const certification = createCertification({
    store,
    world,
    issuer,
    requireConnector,
    loadConnectorContext,
    completeCertification,
  })
  const cacheOptions = { clock: world.clock, ...CACHE_LIMITS, coherence: outbox.isConnected }
  const bankCache = createLoadingCache<Bank | null>(cacheOptions)
  const liveConnectorCache = createLoadingCache<Connector | null>(cacheOptions)
  const connectorCache = createLoadingCache<Connector>({ ...cacheOptions, tagsOf: ({ bankId }) => [bankId] })
  const outageCache = createLoadingCache<readonly MaintenanceWindow[]>(cacheOptions)
  const maintenance = createMaintenance({
    store,
    database,
    world,
    ledger,
    outbox,
    idempotency,
    outageCache,
    requireConnector,
  })
  const eventSenders = createEventSenders(cacheOptions, () => store.connectorIds([...EVENT_ACCEPTING_STATES]))
  outbox.onSignal((signal) => {
    if (signal.kind !== 'BANK') return
    eventSenders.invalidate()
    liveConnectorCache.invalidate(signal.id)
    connectorCache.invalidateTag(signal.id)
    outageCache.invalidate(signal.id)
  })

  /** The newest: a partner moves to another interface by putting a further connector live beside the one in use. */
  const findLiveConnector = (bankId: string): Connector | null | Promise<Connector | null> =>
    liveConnectorCache.get(bankId, async () => (await store.connectors({ bankId, status: 'LIVE' })).at(-1) ?? null)

  async function requireConnector(id: string): Promise<Connector> {
    const connector = await store.connector(id)
    if (!connector) throw new GatewayError('NOT_FOUND')
    return connector
  }

  return {
    findBank: (id: string): Promise<Bank | null> => store.bank(id),
    /** A bank that some row of ours names, so that it is known to exist. */
    requireBank(id: string): Bank | Promise<Bank> {
      const bank = bankCache.get(id, () => store.bank(id))
      return bank instanceof Promise ? bank.then((one) => one!) : bank!
    },
    /** Where the bank itself goes on with its customer, or nothing. */
    async bankAppUrlOf(bankId: string): Promise<string | null> {
      return (await findLiveConnector(bankId))?.registration.bankAppUrl ?? null
    },
    /** Whether the bank takes part at this moment: what is kept of one that was stopped is not told either. */
    isLive(bankId: string): boolean | Promise<boolean> {
      const connector = findLiveConnector(bankId)
      return connector instanceof Promise ? connector.then((one) => one !== null) : connector !== null
    },
    health,
    findBanks: (ids: readonly string[]): Promise<Bank[]> => store.banks(ids),
    /** The banks that a customer can connect now. */
    connectableBanks: (): Promise<Bank[]> => store.liveBanks(),
    findConnector: (id: string): Promise<Connector | null> => store.connector(id),
    connectorsOfClient: (clientId: string): Promise<Connector[]> => store.connectors({ clientId }),
    allConnectors: (): Promise<Connector[]> => store.connectors({}),
    /** The connectors that are used for customers. */
    liveConnectors: (): Promise<Connector[]> => store.connectors({ status: 'LIVE' }),

    /** The newest of a bank's connectors that takes new consents. Throws `BANK_UNAVAILABLE` where there is none. */
    async requireConnectorForNewConsent(bankId: string): Promise<Connector> {
      const connector = (await store.connectors({ bankId, status: 'LIVE' })).findLast(({ newConsents }) => newConsents)
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
      const bankClientId = await registerDynamically(
        registration,
        tools({ ...world, report: () => undefined }),
        softwareStatement,
      )
      await database.transaction(async (tx) => {
        if (!(await store.setBankClientId(tx, id, bankClientId))) throw new GatewayError('STATE_CONFLICT')
        await ledger.record(tx, {
          kind: 'GATEWAY_REGISTERED_AT_BANK',
          clientId: actorClientId,
          subjectId: id,
          changes: [{ field: 'clientId', before: [connector.registration.clientId], after: [bankClientId] }],
        })
      })
      evict(id)
      return requireConnector(id)
    },

    /** Asks for a run of the whole trial; its checks can be seen as they are done. Throws `STATE_CONFLICT` while one runs. */
    startCertification: (actorClientId: string, id: string): Promise<Connector> =>
      lifecycle.startCertification(actorClientId, id, (tx) => certification.enqueue(tx, id, 'MANUAL')),

    /** Works off the oldest run of these kinds that was asked for; false where there is none. */
    runNextCertification: (kinds: readonly CertificationReport['kind'][]): Promise<boolean> =>
      certification.runNext(kinds),

    /** Tells of what broke or is well again; returns how many notices. */
    recordHealthNotices: async (): Promise<number> =>
      notices.recordHealthChanges(await store.connectors({ status: 'LIVE' })),

    /** Asks for a run of every bank that takes part and had none for a day, or failed an hour ago; returns how many. */
    async scheduleNightlyCertifications(): Promise<number> {
      const liveConnectorCache = await store.connectors({ status: 'LIVE' })
      return database.withAdvisoryLock('nightly-certification', () => certification.scheduleNightly(liveConnectorCache))
    },

    notices: (id: string): Promise<Notice[]> => notices.recentNotices(id),
    /** The steps of the connector's life, as the ledger has them, the newest first. */
    history: (id: string): Promise<ConnectorChange[]> => ledger.ofSubject(id, HISTORY_LIMIT),

    putLive: lifecycle.putLive,
    suspend: lifecycle.suspend,
    retire: lifecycle.retire,

    /** The newest certification runs first. */
    certifications: (id: string): Promise<CertificationReport[]> => certification.recentRuns(id),

    ...maintenance,

    /** The bank behind a connector, while it is LIVE. Throws `BANK_UNAVAILABLE` otherwise. */
    async getLiveBank(connectorId: string): Promise<ProtectedBank> {
      const connector = await connectorCache.get(connectorId, () => requireConnector(connectorId))
      if (connector.status !== 'LIVE')
        throw new GatewayError('BANK_UNAVAILABLE', { internalMessage: 'connector is not live' })
      return getInterface(connector)
    },

    /** The same whatever the connector's status, for ending what was begun. */
    getBankInAnyState: async (connectorId: string): Promise<BankInterface> =>
      getInterface(await requireConnector(connectorId)),

    /** The live banks that keep events for us and are to be asked now: each turn is one process's. */
    async claimEventPolls(): Promise<{ connectorId: string; collect: CollectEvents }[]> {
      const polls = (await store.connectors({ status: 'LIVE' })).map(async (connector) => {
        const { id } = connector
        const collect = await getInterface(connector).then(
          ({ pollEvents }) => pollEvents,
          (error: unknown) => {
            // One that cannot be opened is not the others' trouble.
            world.log.warn('bank_events.poll_failed', { connectorId: id, ...errorLogFields(error) })
          },
        )
        const isClaimed = collect && (await store.claimEventPoll(id, EVENT_POLL_INTERVAL_MS))
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
    async readEvent(connectorId: string, deliveredEvent: DeliveredEvent) {
      const connector = await connectorCache.get(connectorId, () => requireConnector(connectorId))
      if (!EVENT_ACCEPTING_STATES.has(connector.status)) throw new GatewayError('NOT_FOUND')
      const event = await STANDARDS[connector.standard].readEvent(deliveredEvent, connector.registration, world.clock)
      return { bankId: connector.bankId, event }
    },
  }
}
