import { STANDARDS, type BankInterface, type CollectEvents, type DeliveredEvent } from '../../connectors/index.ts'
import { SECOND_MS } from '../../kernel/clock.ts'
import { GatewayError, whyOf } from '../../kernel/errors.ts'
import { createMemory } from '../../kernel/memory.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Once } from '../../storage/once.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Ledger } from '../ledger/index.ts'
import type { Outbox } from '../outbox/index.ts'
import { createBreakers, type ProtectedBank } from './breaker.ts'
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
import { createReach } from './reach.ts'
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
  once: Once
  issuer: string
}

const REMEMBERED = { maxBytes: 2_097_152, ttlMs: 30 * SECOND_MS }
/** How often a bank is asked for the events that it keeps. */
const EVENTS_EVERY_MS = 5 * SECOND_MS
/** A bank that is being certified must be able to show that its events are good. */
const HEARD: ReadonlySet<ConnectorState> = new Set(['CERTIFYING', 'LIVE'])
const HISTORY = 50

/** Registers connectors, leads them from draft to live, and reaches the banks behind them. */
export function createBanks({ database, world, seal, ledger, outbox, once, issuer }: BanksDependencies) {
  const store = bankStore(database)
  const registration = createRegistration({ store, database, world, seal, ledger, once })
  const health = createBankHealth(healthStore(database), world)
  const breakers = createBreakers(world)
  const notices = createNotices(store, health, database, world)
  const { subjectOf, interfaceOf, forget, expectsForgery } = createReach({
    store,
    world,
    seal,
    health,
    breakers,
    issuer,
  })
  const lifecycle = createLifecycle({ store, database, ledger, outbox, notices, found })
  const { conclude } = lifecycle
  const certification = createCertification({ store, world, issuer, find: found, subjectOf, conclude })
  const memory = { clock: world.clock, ...REMEMBERED, trusted: outbox.hearing }
  const known = createMemory<Bank | null>(memory)
  const live = createMemory<Connector | null>(memory)
  const reached = createMemory<Connector>({ ...memory, tagsOf: ({ bankId }) => [bankId] })
  const announced = createMemory<readonly MaintenanceWindow[]>(memory)
  const maintenance = createMaintenance({ store, database, world, ledger, outbox, once, announced, found })
  const senders = createEventSenders(memory, () => store.connectorIds([...HEARD]))
  outbox.onSignal((signal) => {
    if (signal.kind !== 'BANK') return
    senders.forget()
    live.forget(signal.id)
    reached.forgetTagged(signal.id)
    announced.forget(signal.id)
  })

  /** The newest: a partner moves to another interface by putting a further connector live beside the one in use. */
  const liveOf = (bankId: string): Connector | null | Promise<Connector | null> =>
    live.get(bankId, async () => (await store.connectors({ bankId, status: 'LIVE' })).at(-1) ?? null)

  async function found(id: string): Promise<Connector> {
    const connector = await store.connector(id)
    if (!connector) throw new GatewayError('NOT_FOUND')
    return connector
  }

  return {
    bank: (id: string): Promise<Bank | null> => store.bank(id),
    /** A bank that some row of ours names, so that it is known to exist. */
    knownBank(id: string): Bank | Promise<Bank> {
      const bank = known.get(id, () => store.bank(id))
      return bank instanceof Promise ? bank.then((one) => one!) : bank!
    },
    /** Where the bank itself goes on with its customer, or nothing. */
    async handoffOf(bankId: string): Promise<string | null> {
      return (await liveOf(bankId))?.registration.handoff ?? null
    },
    /** Whether the bank takes part at this moment: what is kept of one that was stopped is not told either. */
    isLive(bankId: string): boolean | Promise<boolean> {
      const connector = liveOf(bankId)
      return connector instanceof Promise ? connector.then((one) => one !== null) : connector !== null
    },
    health,
    byId: (ids: readonly string[]): Promise<Bank[]> => store.banks(ids),
    /** The banks that a customer can connect now. */
    live: (): Promise<Bank[]> => store.liveBanks(),
    connector: (id: string): Promise<Connector | null> => store.connector(id),
    registeredBy: (clientId: string): Promise<Connector[]> => store.connectors({ clientId }),
    all: (): Promise<Connector[]> => store.connectors({}),
    /** The connectors that are used for customers. */
    taking: (): Promise<Connector[]> => store.connectors({ status: 'LIVE' }),

    /** The newest of a bank's connectors that takes new consents. Throws `BANK_UNAVAILABLE` where there is none. */
    async liveConnectorOf(bankId: string): Promise<Connector> {
      const connector = (await store.connectors({ bankId, status: 'LIVE' })).findLast(({ newConsents }) => newConsents)
      if (!connector) throw new GatewayError('BANK_UNAVAILABLE', { internal: 'no connector that takes new consents' })
      return connector
    },

    ...registration,

    /**
     * Has the gateway register itself at the bank of a draft by a software statement, where the standard has that. Throws
     * `STATE_CONFLICT` where it has not or the connector is no draft, and what the bank said.
     */
    async introduce(by: string, id: string, softwareStatement: string): Promise<Connector> {
      const connector = await found(id)
      const { introduce } = STANDARDS[connector.standard]
      if (connector.status !== 'DRAFT' || !introduce) throw new GatewayError('STATE_CONFLICT')
      const { registration, tools } = await subjectOf(connector)
      const name = await introduce(registration, tools({ ...world, report: () => undefined }), softwareStatement)
      await database.transaction(async (tx) => {
        if (!(await store.setBankClientId(tx, id, name))) throw new GatewayError('STATE_CONFLICT')
        await ledger.record(tx, {
          kind: 'CONNECTOR_INTRODUCED',
          clientId: by,
          subjectId: id,
          changes: [{ field: 'clientId', before: [connector.registration.clientId], after: [name] }],
        })
      })
      forget(id)
      return found(id)
    },

    /** Asks for a run of the whole trial; its checks can be seen as they are done. Throws `STATE_CONFLICT` while one runs. */
    certify: (by: string, id: string): Promise<Connector> =>
      lifecycle.certify(by, id, (tx) => certification.ask(tx, id, 'MANUAL')),

    /** Works off the oldest run of these kinds that was asked for; false where there is none. */
    workCertifications: (kinds: readonly CertificationReport['kind'][]): Promise<boolean> => certification.work(kinds),

    /** Tells of what broke or is well again; returns how many notices. */
    watch: async (): Promise<number> => notices.watch(await store.connectors({ status: 'LIVE' })),

    /** Asks for a run of every bank that takes part and had none for a day, or failed an hour ago; returns how many. */
    async tryAgain(): Promise<number> {
      const live = await store.connectors({ status: 'LIVE' })
      return database.exclusively('bank-nightly', () => certification.again(live))
    },

    notices: (id: string): Promise<Notice[]> => notices.of(id),
    /** The steps of the connector's life, as the ledger has them, the newest first. */
    history: (id: string): Promise<ConnectorChange[]> => ledger.ofSubject(id, HISTORY),

    putLive: lifecycle.putLive,
    suspend: lifecycle.suspend,
    retire: lifecycle.retire,

    /** The newest certification runs first. */
    certifications: (id: string): Promise<CertificationReport[]> => certification.of(id),

    ...maintenance,

    /** The bank behind a connector, while it is LIVE. Throws `BANK_UNAVAILABLE` otherwise. */
    async reach(connectorId: string): Promise<ProtectedBank> {
      const connector = await reached.get(connectorId, () => found(connectorId))
      if (connector.status !== 'LIVE') throw new GatewayError('BANK_UNAVAILABLE', { internal: 'connector is not live' })
      return interfaceOf(connector)
    },

    /** The same whatever the connector's status, for ending what was begun. */
    reachToEnd: async (connectorId: string): Promise<BankInterface> => interfaceOf(await found(connectorId)),

    /** The live banks that keep events for us and are to be asked now: each turn is one process's. */
    async keepingEvents(): Promise<{ connectorId: string; collect: CollectEvents }[]> {
      const turns = (await store.connectors({ status: 'LIVE' })).map(async (connector) => {
        const { id } = connector
        const collect = await interfaceOf(connector).then(
          ({ collectEvents }) => collectEvents,
          (error: unknown) => {
            // One that cannot be opened is not the others' trouble.
            world.log.warn('events.not_collected', { connectorId: id, ...whyOf(error) })
          },
        )
        const isOurs = collect && (await store.takeEventsTurn(id, EVENTS_EVERY_MS))
        return isOurs ? [{ connectorId: id, collect }] : []
      })
      return (await Promise.all(turns)).flat()
    },

    /** Whether, in this connector's standard, a new consent of a customer ends the earlier ones. */
    newConsentEndsEarlier: (connector: Connector): boolean => STANDARDS[connector.standard].newConsentEndsEarlier,

    expectsForgery,

    /** Whether events of this connector are accepted now. */
    hears: (connectorId: string): boolean | Promise<boolean> => senders.has(connectorId),

    /** Reads a pushed event by the rules of the connector's standard. Throws `NOT_FOUND` or `EVENT_REJECTED`. */
    async readEvent(connectorId: string, delivered: DeliveredEvent) {
      const connector = await reached.get(connectorId, () => found(connectorId))
      if (!HEARD.has(connector.status)) throw new GatewayError('NOT_FOUND')
      const event = await STANDARDS[connector.standard].readEvent(delivered, connector.registration, world.clock)
      return { bankId: connector.bankId, event }
    },
  }
}
