import {
  STANDARDS,
  type BankInterface,
  type ConnectorTools,
  type Registration,
  type ResponseIssue,
  type SigningKey,
} from '../../connectors/index.ts'
import { GatewayError } from '../../kernel/errors.ts'
import type { OutboundHttp } from '../../kernel/outbound-http.ts'
import type { World } from '../../kernel/world.ts'
import type { Seal } from '../../storage/seal.ts'
import { bankEndpointsOf } from './bank-endpoints.ts'
import type { BankGuards, ProtectedBank } from './bank-guard.ts'
import type { Connectors } from './connectors.ts'
import type { BankHealth } from './health.ts'
import { readDeadlineMsOf, type Connector } from './model.ts'
import type { BankStore } from './store.ts'

/** The keys of a connector, as they are stored sealed: the private JWK for signing, and the PEM of the TLS client key. */
type SealedKey = SigningKey & { readonly tlsKey?: string }

/** Connections of one process to one bank: both limits of `semaphore.ts` at their maximum. */
const CONNECTIONS_PER_BANK = 128

/** The dependencies of reaching banks. */
export interface ReachDependencies {
  readonly store: BankStore
  readonly connectors: Connectors
  readonly world: World
  readonly seal: Seal
  readonly health: BankHealth
  readonly guards: BankGuards
  readonly issuer: string
}

/** The tools that differ between customers' calls and certification runs. */
export type ConnectionTools = Pick<World, 'http' | 'log'> & { report: (issue: ResponseIssue) => void }

/** A connector with its private key and its connections. */
export interface ConnectorContext {
  readonly registration: Registration
  /** The deadline of a read, in milliseconds. */
  readonly deadlineMs: number
  readonly http: OutboundHttp
  connect(tools: ConnectionTools): BankInterface
  /** Runs `work`, which requests a forged event of this connector. */
  expectForgedEvent<T>(work: () => Promise<T>): Promise<T>
  /** The private JWK with which the gateway authenticates to the bank. */
  readonly key: SigningKey
  /** The tools of a connector, for work outside its interface. */
  tools(given: Omit<ConnectionTools, 'http'>): ConnectorTools
}

/** Reaches the banks behind connectors. */
export type Reach = ReturnType<typeof createReach>

/** Creates the interfaces to banks: one per connector and process, guarded and observed, with its own connections. */
export function createReach({ store, connectors, world, seal, health, guards, issuer }: ReachDependencies) {
  const interfaces = new Map<string, Promise<ProtectedBank>>()
  const pools = new Map<string, OutboundHttp>()
  /** Connectors of which a certification run of this process has requested a forged event. */
  const forgedEventConnectorIds = new Set<string>()

  function getPool({ id, clientCertificate }: Connector, tlsKey: string | undefined): OutboundHttp {
    let pool = pools.get(id)
    if (!pool) {
      const identity = clientCertificate && tlsKey ? { certificate: clientCertificate, key: tlsKey } : undefined
      pools.set(id, (pool = world.http.pool({ connections: CONNECTIONS_PER_BANK, clientIdentity: identity })))
    }
    return pool
  }

  async function expectForgedEvent<T>(id: string, work: () => Promise<T>): Promise<T> {
    forgedEventConnectorIds.add(id)
    try {
      return await work()
    } finally {
      forgedEventConnectorIds.delete(id)
    }
  }

  /** Unseals the connector's key. */
  async function loadContext(connector: Connector): Promise<ConnectorContext> {
    const { id, standard, registration } = connector
    const { tlsKey, ...signingKey } = (await seal.unseal(`connector-key:${id}`, await store.sealedKey(id))) as SealedKey
    const http = getPool(connector, tlsKey)
    const toTools = (given: ConnectionTools): ConnectorTools => ({
      ...given,
      clock: world.clock,
      randomness: world.randomness,
      connectorId: id,
      credentials: { signingKey },
      ...bankEndpointsOf(issuer, id),
    })
    return {
      registration,
      key: signingKey,
      http,
      deadlineMs: readDeadlineMsOf(registration),
      expectForgedEvent: (work) => expectForgedEvent(id, work),
      tools: ({ log, report }) => toTools({ log, report, http }),
      connect: (given) => STANDARDS[standard].connect(registration, toTools(given)),
    }
  }

  async function connect(connector: Connector): Promise<ProtectedBank> {
    const { id } = connector
    const context = await loadContext(connector)
    const report: ConnectionTools['report'] = (issue) => health.recordResponseIssue(id, issue)
    const bank = context.connect({ log: world.log, http: context.http, report })
    return guards.protect(connector, health.observe(connector, bank), context.deadlineMs)
  }

  /** Returns the same interface each time, because it caches the bank's metadata. */
  function getInterface(connector: Connector): Promise<ProtectedBank> {
    let bank = interfaces.get(connector.id)
    if (!bank) {
      interfaces.set(connector.id, (bank = connect(connector)))
      bank.catch(() => interfaces.delete(connector.id))
    }
    return bank
  }

  return {
    loadContext,
    getInterface,

    /** Drops the interface of a connector whose registration has changed. */
    evict: (id: string): void => void interfaces.delete(id),

    /** Whether a forged event of this connector belongs to a certification run of this process. */
    expectsForgedEvent: (connectorId: string): boolean => forgedEventConnectorIds.has(connectorId),

    /** The bank behind a connector. Throws `BANK_UNAVAILABLE` unless the connector is active. */
    async getActiveBank(connectorId: string): Promise<ProtectedBank> {
      const connector = await connectors.requireCached(connectorId)
      if (connector.status !== 'ACTIVE')
        throw new GatewayError('BANK_UNAVAILABLE', { internalMessage: 'connector is not active' })
      return getInterface(connector)
    },

    /** The bank behind a connector of any status, to end what was started. */
    getBankInAnyState: async (connectorId: string): Promise<BankInterface> =>
      getInterface(await connectors.requireConnector(connectorId)),
  }
}
