import {
  STANDARDS,
  type BankInterface,
  type CollectEvents,
  type DeliveredEvent,
  type ConnectorTools,
} from '../../connectors/index.ts'
import { SECOND_MS } from '../../kernel/clock.ts'
import { GatewayError, whyOf } from '../../kernel/errors.ts'
import { newId } from '../../kernel/ids.ts'
import { createMemory } from '../../kernel/memory.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { OutboundHttp } from '../../kernel/outbound-http.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Once } from '../../storage/once.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Change, Ledger, LedgerKind } from '../ledger/index.ts'
import type { Outbox } from '../outbox/index.ts'
import { createBreakers, type ProtectedBank } from './breaker.ts'
import { createCertification } from './certification.ts'
import { createEventSenders } from './event-senders.ts'
import { createBankHealth } from './health.ts'
import { checkWindow } from './maintenance.ts'
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
import { createRegistration } from './registration.ts'
import type { TrialTools } from './trial.ts'
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

/** What is kept, sealed, of a connector's keys: the JWK that it signs with, and what it shows its certificate with. */
type SealedKey = Record<string, unknown> & { tlsKey?: string }

interface Step {
  readonly from: readonly ConnectorState[]
  readonly to: ConnectorState
  readonly kind: LedgerKind
}

/** The life of a connector, one step a line. */
const STEPS = {
  certify: { from: ['DRAFT', 'CERTIFIED'], to: 'CERTIFYING', kind: 'CONNECTOR_CERTIFYING' },
  pass: { from: ['CERTIFYING'], to: 'CERTIFIED', kind: 'CONNECTOR_CERTIFIED' },
  fail: { from: ['CERTIFYING'], to: 'DRAFT', kind: 'CONNECTOR_NOT_CERTIFIED' },
  putLive: { from: ['CERTIFIED', 'SUSPENDED'], to: 'LIVE', kind: 'CONNECTOR_LIVE' },
  suspend: { from: ['LIVE'], to: 'SUSPENDED', kind: 'CONNECTOR_SUSPENDED' },
  retire: { from: ['DRAFT', 'CERTIFIED', 'SUSPENDED'], to: 'RETIRED', kind: 'CONNECTOR_RETIRED' },
} as const satisfies Record<string, Step>

const REMEMBERED = { maxBytes: 2_097_152, ttlMs: 30 * SECOND_MS }
/** How often a bank is asked for the events that it keeps. */
const EVENTS_EVERY_MS = 5 * SECOND_MS
/** A bank that is being certified must be able to show that its events are good. */
const HEARD: ReadonlySet<ConnectorState> = new Set(['CERTIFYING', 'LIVE'])
const HISTORY = 50
/** Connections to one bank, of one process: as many as there are calls at once. */
const CONNECTIONS = 128
/** How long a read at a bank may take where its partner did not say, in milliseconds. */
const USUAL_DEADLINE_MS = 1_400

/** How steps of a connector are written in the ledger. */
const stateChange = (before: ConnectorState, after: ConnectorState): Change => ({
  field: 'state',
  before: [before],
  after: [after],
})
const newConsentsChange = (after: boolean): Change => ({
  field: 'newConsents',
  before: [String(!after)],
  after: [String(after)],
})

/** Registers connectors, leads them from draft to live, and reaches the banks behind them. */
export function createBanks({ database, world, seal, ledger, outbox, once, issuer }: BanksDependencies) {
  const redirectUri = `${issuer}/bank/callback`
  const store = bankStore(database)
  const registration = createRegistration({ store, database, world, seal, ledger, once })
  const health = createBankHealth(store, world)
  const breakers = createBreakers(world)
  const notices = createNotices(store, health, database, world)
  const certification = createCertification({ store, world, issuer, find: found, subjectOf, conclude })
  const memory = { clock: world.clock, ...REMEMBERED, trusted: outbox.hearing }
  const known = createMemory<Bank | null>(memory)
  const live = createMemory<Connector | null>(memory)
  const reached = createMemory<Connector>({ ...memory, tagsOf: ({ bankId }) => [bankId] })
  const announced = createMemory<readonly MaintenanceWindow[]>(memory)
  const senders = createEventSenders(memory, () => store.connectorIds([...HEARD]))
  outbox.onSignal((signal) => {
    if (signal.kind !== 'BANK') return
    senders.forget()
    live.forget(signal.id)
    reached.forgetTagged(signal.id)
    announced.forget(signal.id)
  })
  const open = new Map<string, Promise<ProtectedBank>>()
  /** Connectors whose bank was asked for a forged event by a certification run of this process. */
  const forging = new Set<string>()
  const pools = new Map<string, OutboundHttp>()

  /** The newest: a partner moves to another interface by putting a further connector live beside the one in use. */
  const liveOf = (bankId: string): Connector | null | Promise<Connector | null> =>
    live.get(bankId, async () => (await store.connectors({ bankId, state: 'LIVE' })).at(-1) ?? null)

  async function found(id: string): Promise<Connector> {
    const connector = await store.connector(id)
    if (!connector) throw new GatewayError('NOT_FOUND')
    return connector
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

  async function step(
    by: string,
    id: string,
    { from, to, kind }: Step,
    also: (tx: Transaction) => Promise<void> = () => Promise.resolve(),
  ): Promise<Connector> {
    const { bankId } = await found(id)
    await database.transaction(async (tx) => {
      const before = await store.move(tx, id, from, to)
      if (!before) throw new GatewayError('STATE_CONFLICT')
      await ledger.record(tx, { kind, clientId: by, subjectId: id, changes: [stateChange(before, to)] })
      await also(tx)
      await outbox.signal({ kind: 'BANK', id: bankId }, tx)
    })
    outbox.echo({ kind: 'BANK', id: bankId })
    return found(id)
  }

  /** A draft that passed is certified; a bank that is live and failed takes part in nothing new until it passes again. */
  async function conclude({ id, bankId }: Connector, report: CertificationReport): Promise<void> {
    const { passed } = report
    const changed = await database.transaction(async (tx) => {
      await store.finishCertification(tx, report)
      const { to, kind } = passed ? STEPS.pass : STEPS.fail
      const before = await store.move(tx, id, ['CERTIFYING'], to)
      const life = before === undefined ? undefined : kind
      const doors =
        !life &&
        report.kind === 'NIGHTLY' &&
        (await store.setNewConsents(tx, id, passed)) &&
        (passed ? 'CONNECTOR_OPENED' : 'CONNECTOR_CLOSED')
      const step = life ?? doors
      if (!step) return false
      const changes = before ? [stateChange(before, to)] : [newConsentsChange(passed)]
      await ledger.record(tx, { kind: step, subjectId: id, changes })
      await outbox.signal({ kind: 'BANK', id: bankId }, tx)
      return step
    })
    if (!changed) return
    outbox.echo({ kind: 'BANK', id: bankId })
    if (changed === 'CONNECTOR_OPENED') await notices.tell(id, 'CERTIFIED_AGAIN')
    if (changed === 'CONNECTOR_CLOSED') await notices.tell(id, 'CERTIFICATION_FAILED')
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
    taking: (): Promise<Connector[]> => store.connectors({ state: 'LIVE' }),

    /** The newest of a bank's connectors that takes new consents. Throws `BANK_UNAVAILABLE` where there is none. */
    async liveConnectorOf(bankId: string): Promise<Connector> {
      const connector = (await store.connectors({ bankId, state: 'LIVE' })).findLast(({ newConsents }) => newConsents)
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
      if (connector.state !== 'DRAFT' || !introduce) throw new GatewayError('STATE_CONFLICT')
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
      open.delete(id)
      return found(id)
    },

    /** Asks for a run of the whole trial; its checks can be seen as they are done. Throws `STATE_CONFLICT` while one runs. */
    certify: (by: string, id: string): Promise<Connector> =>
      step(by, id, STEPS.certify, (tx) => certification.ask(tx, id, 'MANUAL')),

    /** Works off the oldest run of these kinds that was asked for; false where there is none. */
    workCertifications: (kinds: readonly CertificationReport['kind'][]): Promise<boolean> => certification.work(kinds),

    /** Tells of what broke or is well again; returns how many notices. */
    watch: async (): Promise<number> => notices.watch(await store.connectors({ state: 'LIVE' })),

    /** Asks for a run of every bank that takes part and had none for a day, or failed an hour ago; returns how many. */
    async tryAgain(): Promise<number> {
      const live = await store.connectors({ state: 'LIVE' })
      return database.exclusively('bank-nightly', () => certification.again(live))
    },

    notices: (id: string): Promise<Notice[]> => notices.of(id),
    /** The steps of the connector's life, as the ledger has them, the newest first. */
    history: (id: string): Promise<ConnectorChange[]> => ledger.ofSubject(id, HISTORY),

    /** Puts a certified connector live, for every process at once. Throws `FORBIDDEN` for the one who registered it. */
    async putLive(by: string, id: string): Promise<Connector> {
      if ((await found(id)).clientId === by)
        throw new GatewayError('FORBIDDEN', { internal: 'four eyes: not by who registered it' })
      return step(by, id, STEPS.putLive)
    },

    /** The newest certification runs first. */
    certifications: (id: string): Promise<CertificationReport[]> => certification.of(id),

    /** What banks announced and is not over, the nearest first. */
    maintenance: (bankIds: readonly string[]): Promise<MaintenanceWindow[]> =>
      store.maintenance(bankIds, world.clock.now()),

    /** Announces that the connector's bank will not answer. Throws `INVALID_INPUT` for a window that is none. */
    async announceMaintenance(
      by: string,
      id: string,
      { from, to, kind }: Pick<MaintenanceWindow, 'from' | 'to' | 'kind'>,
      idempotencyKey?: string | null,
    ): Promise<Bank> {
      const { bankId } = await found(id)
      checkWindow({ from, to }, world.clock.now())
      const attempted = {
        clientId: by,
        mutation: 'announceMaintenance',
        key: idempotencyKey,
        input: { id, from, to, kind },
      }
      await database.transaction((tx) =>
        once.make(tx, attempted, async () => {
          const window = { id: newId('mtnc', world.randomness), bankId, kind, from, to }
          await store.addMaintenance(tx, window)
          await ledger.record(tx, {
            kind: 'MAINTENANCE_ANNOUNCED',
            clientId: by,
            subjectId: bankId,
            detail: kind,
            changes: [{ field: 'window', before: [], after: [from.toISOString(), to.toISOString()] }],
          })
          await outbox.signal({ kind: 'BANK', id: bankId }, tx)
          return window.id
        }),
      )
      outbox.echo({ kind: 'BANK', id: bankId })
      return (await store.bank(bankId))!
    },

    /** Ends the incidents that the connector's bank announced, as of now. */
    async endIncident(by: string, id: string): Promise<Bank> {
      const { bankId } = await found(id)
      await database.transaction(async (tx) => {
        if ((await store.endIncidents(tx, bankId, world.clock.now())) === 0) throw new GatewayError('STATE_CONFLICT')
        await ledger.record(tx, { kind: 'INCIDENT_ENDED', clientId: by, subjectId: bankId })
        await outbox.signal({ kind: 'BANK', id: bankId }, tx)
      })
      outbox.echo({ kind: 'BANK', id: bankId })
      return (await store.bank(bankId))!
    },

    /** What the bank announced for this moment, if anything; at once where this process remembers it. */
    announcedNow(bankId: string): MaintenanceWindow | null | Promise<MaintenanceWindow | null> {
      const now = world.clock.now()
      const current = (windows: readonly MaintenanceWindow[]): MaintenanceWindow | null =>
        windows.find(({ from, to }) => from <= now && to > now) ?? null
      const windows = announced.get(bankId, () => store.maintenance([bankId], now))
      return windows instanceof Promise ? windows.then(current) : current(windows)
    },

    suspend: (by: string, id: string): Promise<Connector> => step(by, id, STEPS.suspend),
    retire: (by: string, id: string): Promise<Connector> => step(by, id, STEPS.retire),

    /** The bank behind a connector, while it is LIVE. Throws `BANK_UNAVAILABLE` otherwise. */
    async reach(connectorId: string): Promise<ProtectedBank> {
      const connector = await reached.get(connectorId, () => found(connectorId))
      if (connector.state !== 'LIVE') throw new GatewayError('BANK_UNAVAILABLE', { internal: 'connector is not live' })
      return interfaceOf(connector)
    },

    /** The same whatever the connector's state, for ending what was begun. */
    reachToEnd: async (connectorId: string): Promise<BankInterface> => interfaceOf(await found(connectorId)),

    /** The live banks that keep events for us and are to be asked now: each turn is one process's. */
    async keepingEvents(): Promise<{ connectorId: string; collect: CollectEvents }[]> {
      const turns = (await store.connectors({ state: 'LIVE' })).map(async (connector) => {
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

    /** Whether a forged event of this connector is part of a certification run of this process, and nothing to report. */
    expectsForgery: (connectorId: string): boolean => forging.has(connectorId),

    /** Whether events of this connector are accepted now. */
    hears: (connectorId: string): boolean | Promise<boolean> => senders.has(connectorId),

    /** Reads a pushed event by the rules of the connector's standard. Throws `NOT_FOUND` or `EVENT_REJECTED`. */
    async readEvent(connectorId: string, delivered: DeliveredEvent) {
      const connector = await reached.get(connectorId, () => found(connectorId))
      if (!HEARD.has(connector.state)) throw new GatewayError('NOT_FOUND')
      const event = await STANDARDS[connector.standard].readEvent(delivered, connector.registration, world.clock)
      return { bankId: connector.bankId, event }
    },
  }
}
