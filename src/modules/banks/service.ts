import { SECOND_MS } from '../../kernel/clock.ts'
import type { Metrics } from '../../kernel/metrics.ts'
import type { Connection, PageArguments } from '../../kernel/pagination.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Idempotency } from '../../storage/idempotency.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Signals } from '../../storage/signals.ts'
import type { Clients } from '../clients/index.ts'
import type { Ledger } from '../ledger/index.ts'
import type { Outbox } from '../outbox/index.ts'
import { createBankEvents, EVENT_ACCEPTING_STATUSES } from './bank-events.ts'
import { createBankGuards } from './bank-guard.ts'
import { createCertification } from './certification/runs.ts'
import { certificationStore } from './certification/store.ts'
import { createConnectors } from './connectors.ts'
import { createChanges } from './credentials/changes.ts'
import { createCredentials } from './credentials/credentials.ts'
import { createExpiryWatch } from './credentials/expiry.ts'
import { createCredentialReader } from './credentials/in-use.ts'
import { credentialStore } from './credentials/store.ts'
import { createDirectory } from './directory.ts'
import { createEventSenders } from './event-senders.ts'
import { createGatewayRegistration } from './gateway-registration.ts'
import { createBankHealth } from './health.ts'
import { healthStore } from './health-store.ts'
import { createLifecycle } from './lifecycle.ts'
import { createMaintenance } from './maintenance.ts'
import type { Notice } from './model.ts'
import { noticeStore } from './notice-store.ts'
import { createNotices } from './notices.ts'
import { outageStore } from './outage-store.ts'
import { createPlatformAccess } from './platform-access.ts'
import { platformAccessStore } from './platform-access-store.ts'
import { createReach } from './reach.ts'
import { createRegistration } from './registration.ts'
import { bankStore } from './store.ts'

/** Banks: their connectors, health and outages, and calls to them. */
export type Banks = ReturnType<typeof createBanks>

/** The dependencies of banks. */
export interface BanksDependencies {
  readonly database: Database
  readonly world: World
  readonly seal: Seal
  readonly clients: Pick<Clients, 'find' | 'organizations'>
  readonly ledger: Ledger
  readonly outbox: Pick<Outbox, 'enqueue'>
  readonly signals: Signals
  readonly idempotency: Idempotency
  readonly issuer: string
  readonly metrics: Pick<Metrics, 'bankCallDuration' | 'bankCallsWaiting'>
}

const CACHE_LIMITS = { maxBytes: 2_097_152, ttlMs: 30 * SECOND_MS }

/** Creates the service from its parts, in the order in which they depend on each other. */
export function createBanks(dependencies: BanksDependencies) {
  const { database, world, seal, ledger, signals, issuer, metrics } = dependencies
  const cacheOptions = { clock: world.clock, ...CACHE_LIMITS, coherence: signals.coherence }
  const store = bankStore(database)
  const outages = outageStore(database)
  const credentials = credentialStore(database)
  const runs = certificationStore(database)
  const connectors = createConnectors(store, signals, cacheOptions)
  const { requireConnector } = connectors
  const platformAccess = createPlatformAccess({
    ...dependencies,
    store: platformAccessStore(database),
    isPartnerOf: connectors.isPartnerOf,
    cacheOptions,
    requireConnector,
  })
  const { bankIdsNotServing } = platformAccess
  const health = createBankHealth(healthStore(database), world, metrics)
  const notices = createNotices(noticeStore(database), health, database, world)
  const reach = createReach({
    store,
    connectors,
    readCredentials: createCredentialReader(credentials, seal, world.clock),
    signals,
    world,
    seal,
    health,
    guards: createBankGuards(world, metrics),
    issuer,
  })
  const lifecycle = createLifecycle({ store, runs, database, ledger, signals, notices, requireConnector })
  const certification = createCertification({ ...dependencies, store: runs, connectors, reach, lifecycle })
  const { prepareClientSecret } = createChanges({ ...dependencies, store: credentials })
  const eventSenders = createEventSenders(signals, cacheOptions, () => store.connectorIds(EVENT_ACCEPTING_STATUSES))

  return {
    ...connectors,
    ...createRegistration({ ...dependencies, store }),
    ...createGatewayRegistration({ ...dependencies, store, connectors, reach, prepareClientSecret }),
    ...createDirectory({ ...certification, store, outages, health, clock: world.clock, bankIdsNotServing }),
    ...platformAccess,
    ...createMaintenance({ ...dependencies, store: outages, cacheOptions, requireConnector }),
    ...createBankEvents({ ...dependencies, store, connectors, reach, eventSenders }),
    ...certification,
    ...createExpiryWatch({ store: credentials, notices, connectors, database, clock: world.clock }),
    ...createCredentials({ ...dependencies, store: credentials, bankStore: store, requireConnector }),
    activate: lifecycle.activate,
    suspend: lifecycle.suspend,
    retire: lifecycle.retire,
    getActiveBank: reach.getActiveBank,
    getBankInAnyState: reach.getBankInAnyState,
    health,

    /** Records a notice for each operation of an active connector that broke or recovered. Returns how many. */
    recordHealthNotices: async (): Promise<number> => notices.recordHealthChanges(await connectors.activeConnectors()),
    /** A page of the connector's notices, newest first. Throws `INVALID_INPUT` with every fault of `page`. */
    notices: (id: string, page: PageArguments): Promise<Connection<Notice>> => notices.page(id, page),
  }
}
