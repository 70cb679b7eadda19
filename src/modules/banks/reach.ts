import {
  STANDARDS,
  type BankInterface,
  type ConnectorTools,
  type Registration,
  type ResponseIssue,
  type SigningKey,
  type StandardId,
} from '../../connectors/index.ts'
import { GatewayError } from '../../kernel/errors.ts'
import type { OutboundHttp } from '../../kernel/outbound-http.ts'
import type { World } from '../../kernel/world.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Signals } from '../../storage/signals.ts'
import { bankEndpointsOf } from './bank-endpoints.ts'
import type { BankGuards, ProtectedBank } from './bank-guard.ts'
import type { Connectors } from './connectors.ts'
import type { CredentialsInUse } from './credentials/in-use.ts'
import type { BankHealth } from './health.ts'
import { readDeadlineMsOf, type Connector } from './model.ts'
import type { BankStore } from './store.ts'

/** The keys of a connector, as they are stored sealed: the private JWK for signing, and the PEM of the TLS client key. */
type SealedKey = SigningKey & { readonly tlsKey?: string }

/** The certificate and key of mutual TLS, in PEM. */
interface TransportIdentity {
  readonly certificate: string
  readonly key: string
}

/** Connections of one process to one bank: both limits of `semaphore.ts` at their maximum. */
const CONNECTIONS_PER_BANK = 128

/** The dependencies of reaching banks. */
export interface ReachDependencies {
  readonly store: BankStore
  readonly connectors: Connectors
  readonly readCredentials: (connectorId: string) => Promise<CredentialsInUse>
  readonly signals: Signals
  readonly world: World
  readonly seal: Seal
  readonly health: BankHealth
  readonly guards: BankGuards
  readonly issuer: string
}

/** The tools that differ between customers' calls and certification runs. */
export type ConnectionTools = Pick<World, 'http' | 'log'> & { report: (issue: ResponseIssue) => void }

/** Which credentials of a connector there are. Certificates are in PEM, the leaf first. */
export interface PresentCredentials {
  readonly hasClientSecret: boolean
  readonly hasIssuedTransportCertificate: boolean
  /** The issued or self-signed certificate of mutual TLS. */
  readonly transportCertificate: string | undefined
  /** Undefined if nobody issued one. */
  readonly signingCertificate: string | undefined
}

/** A connector with its private key and its connections. */
export interface ConnectorContext {
  readonly standard: StandardId
  readonly registration: Registration
  /** What is there of the credentials, without their secret parts. */
  readonly credentials: PresentCredentials
  /** The deadline of a read, in milliseconds. */
  readonly deadlineMs: number
  readonly http: OutboundHttp
  /** When the first of its certificates expires. Undefined if none does. */
  readonly validUntil: Date | undefined
  connect(tools: ConnectionTools): BankInterface
  /** Runs `work`, which requests a forged event of this connector. */
  expectForgedEvent<T>(work: () => Promise<T>): Promise<T>
  /** The private JWK with which the gateway authenticates to the bank. */
  readonly key: SigningKey
  /** The tools of a connector, for work outside its interface. */
  tools(given: Omit<ConnectionTools, 'http'>): ConnectorTools
}

/** The interface of a connector with the credentials that were in use when it was opened. */
interface OpenInterface {
  readonly bank: ProtectedBank
  readonly validUntil: Date | undefined
}

/** Reaches the banks behind connectors. */
export type Reach = ReturnType<typeof createReach>

/** Creates the interfaces to banks: one per connector and process, guarded and observed, with its own connections. */
export function createReach(dependencies: ReachDependencies) {
  const { store, connectors, readCredentials, world, seal, signals, health, guards, issuer } = dependencies
  const interfaces = new Map<string, Promise<OpenInterface>>()
  const pools = new Map<string, OutboundHttp>()
  /** Connectors of which a certification run of this process has requested a forged event. */
  const forgedEventConnectorIds = new Set<string>()

  /**
   * The connector's connections with this certificate. None are closed when there is another: calls that began before still use them,
   * and connections that are idle end by themselves.
   */
  function getPool({ id, registration }: Connector, identity: TransportIdentity | undefined): OutboundHttp {
    const key = `${id}/${identity?.certificate ?? ''}`
    let http = pools.get(key)
    if (!http) {
      http = world.http.pool({
        connections: CONNECTIONS_PER_BANK,
        clientIdentity: identity,
        trustAnchors: registration.trustAnchors,
      })
      pools.set(key, http)
    }
    return http
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
    const { id, standard, registration, clientCertificate } = connector
    const { signing, transport, clientSecret, validUntil } = await readCredentials(id)
    const { tlsKey, ...ownKey } = (await seal.unseal(`connector-key:${id}`, await store.sealedKey(id))) as SealedKey
    const ownIdentity = clientCertificate && tlsKey ? { certificate: clientCertificate, key: tlsKey } : undefined
    const http = getPool(connector, transport ?? ownIdentity)
    const signingKey = signing?.key ?? ownKey
    const toTools = (given: ConnectionTools): ConnectorTools => ({
      ...given,
      clock: world.clock,
      randomness: world.randomness,
      connectorId: id,
      readTimeoutMs: readDeadlineMsOf(registration),
      credentials: { signingKey, signingCertificate: signing?.certificate, clientSecret },
      ...bankEndpointsOf(issuer, id),
    })
    return {
      standard,
      registration,
      credentials: {
        hasClientSecret: clientSecret !== undefined,
        hasIssuedTransportCertificate: transport !== undefined,
        transportCertificate: (transport ?? ownIdentity)?.certificate,
        signingCertificate: signing?.certificate,
      },
      key: signingKey,
      http,
      validUntil,
      deadlineMs: readDeadlineMsOf(registration),
      expectForgedEvent: (work) => expectForgedEvent(id, work),
      tools: ({ log, report }) => toTools({ log, report, http }),
      connect: (given) => STANDARDS[standard].connect(registration, toTools(given)),
    }
  }

  async function connect(connector: Connector): Promise<OpenInterface> {
    const { id } = connector
    const context = await loadContext(connector)
    const report: ConnectionTools['report'] = (issue) => health.recordResponseIssue(id, issue)
    const bank = context.connect({ log: world.log, http: context.http, report })
    const { validUntil, deadlineMs } = context
    return { bank: guards.protect(connector, health.observe(connector, bank), deadlineMs), validUntil }
  }

  signals.onSignal((signal) => {
    if (signal.kind === 'CREDENTIALS') interfaces.delete(signal.id)
  })
  let coherence = signals.coherence()

  /** Drops every interface if a change of credentials may have been missed. */
  function dropIncoherentInterfaces(): void {
    const current = signals.coherence()
    if (current !== coherence) interfaces.clear()
    coherence = current
  }

  /** Returns the same interface each time, because it caches the bank's metadata, until one of its certificates expires. */
  async function getInterface(connector: Connector): Promise<ProtectedBank> {
    dropIncoherentInterfaces()
    const { id } = connector
    const existing = interfaces.get(id)
    const open = await existing
    if (open && !(open.validUntil && open.validUntil <= world.clock.now())) return open.bank
    let opening = interfaces.get(id)
    if (!opening || opening === existing) {
      interfaces.set(id, (opening = connect(connector)))
      opening.catch(() => interfaces.delete(id))
    }
    return (await opening).bank
  }

  return {
    loadContext,
    getInterface,

    /** The bank's own connections, with the certificate that the gateway presents there now. */
    getHttp: async (connectorId: string): Promise<OutboundHttp> =>
      (await loadContext(await connectors.requireConnector(connectorId))).http,

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
