import { STANDARDS, type BankInterface, type ConnectorTools } from '../../connectors/index.ts'
import type { OutboundHttp } from '../../kernel/outbound-http.ts'
import type { World } from '../../kernel/world.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Breakers, ProtectedBank } from './breaker.ts'
import type { BankHealth } from './health.ts'
import type { Connector } from './model.ts'
import type { TrialTools } from './trial.ts'
import type { BankStore } from './store.ts'

/** What is stored, sealed, of a connector's keys: the JWK that it signs with, and what it shows its certificate with. */
type SealedKey = Record<string, unknown> & { tlsKey?: string }

/** Connections to one bank, of one process: as many as there are calls at once. */
const CONNECTIONS = 128
/** How long a read at a bank may take where its partner did not say, in milliseconds. */
const USUAL_DEADLINE_MS = 1_400

/** What the way to a bank depends on. */
export interface ReachDependencies {
  readonly store: BankStore
  readonly world: World
  readonly seal: Seal
  readonly health: BankHealth
  readonly breakers: Breakers
  readonly issuer: string
}

/** The way to the bank behind a connector: its keys, its connections, and one interface for each process. */
export function createReach({ store, world, seal, health, breakers, issuer }: ReachDependencies) {
  const redirectUri = `${issuer}/bank/callback`
  const open = new Map<string, Promise<ProtectedBank>>()
  /** Connectors whose bank was asked for a forged event by a certification run of this process. */
  const forging = new Set<string>()
  const pools = new Map<string, OutboundHttp>()

  return {
    subjectOf,
    interfaceOf,
    /** Forgets the interface of a connector, whose registration has changed. */
    forget: (id: string): void => void open.delete(id),
    /** Whether a forged event of this connector is part of a certification run of this process, and nothing to report. */
    expectsForgery: (connectorId: string): boolean => forging.has(connectorId),
  }

  /** The bank's own connections, with the gateway's certificate where the bank wants it. */
  function poolOf({ id, certificate }: Connector, tlsKey: string | undefined): OutboundHttp {
    let pool = pools.get(id)
    if (!pool) {
      const identity = certificate && tlsKey ? { certificate, key: tlsKey } : undefined
      pools.set(id, (pool = world.http.pool({ connections: CONNECTIONS, identity })))
    }
    return pool
  }

  /** The connector's key, and how to connect it with tools of one's own. */
  async function subjectOf(connector: Connector) {
    const { id, standard, registration } = connector
    const { tlsKey, ...key } = (await seal.open(`connector-key:${id}`, await store.sealedKey(id))) as SealedKey
    const { clock, randomness } = world
    const http = poolOf(connector, tlsKey)
    const tools = (given: TrialTools): ConnectorTools => ({
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
      deadlineMs: registration.deadlineMs ?? USUAL_DEADLINE_MS,
      async expectForgery<T>(work: () => Promise<T>): Promise<T> {
        forging.add(id)
        try {
          return await work()
        } finally {
          forging.delete(id)
        }
      },
      key,
      http,
      tools: (given: Omit<TrialTools, 'http'>) => tools({ log: given.log, report: given.report, http }),
      connect: (given: TrialTools): BankInterface => STANDARDS[standard].connect(registration, tools(given)),
    }
  }

  async function connect(connector: Connector): Promise<ProtectedBank> {
    const { id } = connector
    const subject = await subjectOf(connector)
    const { log } = world
    const bank = subject.connect({ log, http: subject.http, report: (problem) => health.report(id, problem) })
    return breakers.protect(id, health.observe(id, bank), subject.deadlineMs)
  }

  /** One interface per connector and process: it keeps the bank's metadata. A registration never changes. */
  function interfaceOf(connector: Connector): Promise<ProtectedBank> {
    let bank = open.get(connector.id)
    if (!bank) {
      open.set(connector.id, (bank = connect(connector)))
      bank.catch(() => open.delete(connector.id))
    }
    return bank
  }
}
