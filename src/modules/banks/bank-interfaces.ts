import { STANDARDS, type BankInterface, type ConnectorTools } from '../../connectors/index.ts'
import type { OutboundHttp } from '../../kernel/outbound-http.ts'
import type { World } from '../../kernel/world.ts'
import type { Seal } from '../../storage/seal.ts'
import type { BankGuards, ProtectedBank } from './bank-guard.ts'
import type { BankHealth } from './health.ts'
import type { Connector } from './model.ts'
import type { ConnectionTools } from './certification/check-context.ts'
import type { BankStore } from './store.ts'

/** What is stored, sealed, of a connector's keys: the JWK that it signs with, and what it shows its certificate with. */
type SealedKey = Record<string, unknown> & { tlsKey?: string }

/** Connections to one bank, of one process: as many as there are calls at once. */
const CONNECTIONS_PER_BANK = 128
/** How long a read at a bank may take where its partner did not say, in milliseconds. */
const DEFAULT_READ_DEADLINE_MS = 1_400

/** What the way to a bank depends on. */
export interface BankInterfacesDependencies {
  readonly store: BankStore
  readonly world: World
  readonly seal: Seal
  readonly health: BankHealth
  readonly guards: BankGuards
  readonly issuer: string
}

/** The way to the bank behind a connector: its keys, its connections, and one interface for each process. */
export function createBankInterfaces({ store, world, seal, health, guards, issuer }: BankInterfacesDependencies) {
  const redirectUri = `${issuer}/bank/callback`
  const interfaces = new Map<string, Promise<ProtectedBank>>()
  /** Connectors whose bank was asked for a forged event by a certification run of this process. */
  const expectingForgedEvent = new Set<string>()
  const pools = new Map<string, OutboundHttp>()

  return {
    loadConnectorContext,
    getInterface,
    /** Forgets the interface of a connector, whose registration has changed. */
    evict: (id: string): void => void interfaces.delete(id),
    /** Whether a forged event of this connector is part of a certification run of this process, and nothing to report. */
    expectsForgedEvent: (connectorId: string): boolean => expectingForgedEvent.has(connectorId),
  }

  /** The bank's own connections, with the gateway's certificate where the bank wants it. */
  function getPool({ id, clientCertificate }: Connector, tlsKey: string | undefined): OutboundHttp {
    let pool = pools.get(id)
    if (!pool) {
      const identity = clientCertificate && tlsKey ? { certificate: clientCertificate, key: tlsKey } : undefined
      pools.set(id, (pool = world.http.pool({ connections: CONNECTIONS_PER_BANK, clientIdentity: identity })))
    }
    return pool
  }

  /** The connector's key, and how to connect it with tools of one's own. */
  async function loadConnectorContext(connector: Connector) {
    const { id, standard, registration } = connector
    const { tlsKey, ...key } = (await seal.unseal(`connector-key:${id}`, await store.sealedKey(id))) as SealedKey
    const { clock, randomness } = world
    const http = getPool(connector, tlsKey)
    const buildTools = (given: ConnectionTools): ConnectorTools => ({
      ...given,
      clock,
      randomness,
      connectorId: id,
      key,
      redirectUri,
      eventsUrl: `${issuer}/bank-events/${id}`,
    })
    return {
      registration,
      deadlineMs: registration.readTimeoutMs ?? DEFAULT_READ_DEADLINE_MS,
      async expectForgedEvent<T>(work: () => Promise<T>): Promise<T> {
        expectingForgedEvent.add(id)
        try {
          return await work()
        } finally {
          expectingForgedEvent.delete(id)
        }
      },
      key,
      http,
      tools: (given: Omit<ConnectionTools, 'http'>) => buildTools({ log: given.log, report: given.report, http }),
      connect: (given: ConnectionTools): BankInterface => STANDARDS[standard].connect(registration, buildTools(given)),
    }
  }

  async function connect(connector: Connector): Promise<ProtectedBank> {
    const { id } = connector
    const context = await loadConnectorContext(connector)
    const { log } = world
    const bank = context.connect({ log, http: context.http, report: (issue) => health.recordResponseIssue(id, issue) })
    return guards.protect(connector, health.observe(connector, bank), context.deadlineMs)
  }

  /** One interface per connector and process: it keeps the bank's metadata. A registration never changes. */
  function getInterface(connector: Connector): Promise<ProtectedBank> {
    let bank = interfaces.get(connector.id)
    if (!bank) {
      interfaces.set(connector.id, (bank = connect(connector)))
      bank.catch(() => interfaces.delete(connector.id))
    }
    return bank
  }
}
