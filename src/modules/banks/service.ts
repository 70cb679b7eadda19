import { exportJWK, generateKeyPair } from 'jose'
import { STANDARDS, isStandardId, type BankInterface, type DeliveredEvent } from '../../connectors/index.ts'
import { HOUR_MS, SECOND_MS } from '../../kernel/clock.ts'
import { asGatewayError, GatewayError } from '../../kernel/errors.ts'
import { newId } from '../../kernel/ids.ts'
import { createMemory } from '../../kernel/memory.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Once } from '../../storage/once.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Ledger, LedgerKind } from '../ledger/index.ts'
import type { Outbox } from '../outbox/index.ts'
import { createBreakers } from './breaker.ts'
import { createBankHealth } from './health.ts'
import type {
  Bank,
  CertificationCheck,
  CertificationReport,
  Connector,
  ConnectorState,
  MaintenanceWindow,
} from './model.ts'
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
  /** Where banks send customers back. */
  redirectUri: string
}

interface Step {
  readonly from: readonly ConnectorState[]
  readonly to: ConnectorState
  readonly kind: LedgerKind
}

/** The life of a connector, one step a line. */
const STEPS = {
  certify: { from: ['DRAFT'], to: 'CERTIFIED', kind: 'CONNECTOR_CERTIFIED' },
  putLive: { from: ['CERTIFIED', 'SUSPENDED'], to: 'LIVE', kind: 'CONNECTOR_LIVE' },
  suspend: { from: ['LIVE'], to: 'SUSPENDED', kind: 'CONNECTOR_SUSPENDED' },
} as const satisfies Record<string, Step>

const REMEMBERED = { max: 5_000, ttlMs: 30 * SECOND_MS }
const MAX_MAINTENANCE_MS = 48 * HOUR_MS
const REPORTS = 10
/** How long a read at a bank may take where its partner did not say, in milliseconds. */
const USUAL_DEADLINE_MS = 1_400

/** Registers connectors, leads them from draft to live, and reaches the banks behind them. */
export function createBanks({ database, world, seal, ledger, outbox, once, redirectUri }: BanksDependencies) {
  const store = bankStore(database)
  const health = createBankHealth(store, world)
  const breakers = createBreakers(world)
  const memory = { clock: world.clock, ...REMEMBERED, trusted: outbox.hearing }
  const known = createMemory<Bank | null>(memory)
  const live = createMemory<Connector | null>(memory)
  outbox.onSignal((signal) => {
    if (signal.kind === 'BANK') live.forget(signal.id)
  })
  const open = new Map<string, Promise<BankInterface>>()

  const liveOf = (bankId: string): Connector | null | Promise<Connector | null> =>
    live.get(bankId, async () => (await store.connectors({ bankId, state: 'LIVE' }))[0] ?? null)

  async function found(id: string): Promise<Connector> {
    const connector = await store.connector(id)
    if (!connector) throw new GatewayError('NOT_FOUND')
    return connector
  }

  async function connect(connector: Connector): Promise<BankInterface> {
    const key = (await seal.open(`connector-key:${connector.id}`, await store.sealedKey(connector.id))) as Record<
      string,
      unknown
    >
    const { clock, randomness, log, http } = world
    const bank = STANDARDS[connector.standard].connect(connector.registration, {
      clock,
      randomness,
      log,
      http,
      connectorId: connector.id,
      key,
      redirectUri,
      report: (problem) => health.report(connector.id, problem),
    })
    const { deadlineMs = USUAL_DEADLINE_MS } = connector.registration
    return breakers.protect(connector.id, health.observe(connector.id, bank), deadlineMs)
  }

  /** One interface per connector and process: it keeps the bank's metadata. A registration never changes. */
  function interfaceOf(connector: Connector): Promise<BankInterface> {
    let bank = open.get(connector.id)
    if (!bank) {
      open.set(connector.id, (bank = connect(connector)))
      bank.catch(() => open.delete(connector.id))
    }
    return bank
  }

  async function step(by: string, id: string, { from, to, kind }: Step): Promise<Connector> {
    const { bankId } = await found(id)
    await database.transaction(async (tx) => {
      if (!(await store.move(tx, id, from, to))) throw new GatewayError('STATE_CONFLICT')
      await ledger.record(tx, { kind, clientId: by, subjectId: id })
      await outbox.signal({ kind: 'BANK', id: bankId }, tx)
    })
    outbox.echo({ kind: 'BANK', id: bankId })
    return found(id)
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

    async liveConnectorOf(bankId: string): Promise<Connector> {
      const [connector] = await store.connectors({ bankId, state: 'LIVE' })
      if (!connector) throw new GatewayError('BANK_UNAVAILABLE', { internal: 'no live connector' })
      return connector
    },

    /**
     * Registers a bank's interface as DRAFT and makes the key by which the bank will know the gateway. The registration
     * is parsed by its standard. Throws `INVALID_INPUT` with the path of the first fault, or `STATE_CONFLICT` where
     * another partner registered a bank of that id.
     */
    async register(by: string, standard: string, given: unknown, idempotencyKey?: string | null): Promise<Connector> {
      if (!isStandardId(standard)) throw new GatewayError('INVALID_INPUT', { path: ['standard'] })
      const parsed = STANDARDS[standard].registration.safeParse(given)
      if (!parsed.success)
        throw new GatewayError('INVALID_INPUT', {
          path: ['registration', ...(parsed.error.issues[0]?.path.map(String) ?? [])],
        })
      const registration = parsed.data
      for (const name of ['authorizationServer', 'apiBase'] as const)
        if (!world.http.accepts(registration[name]))
          throw new GatewayError('ADDRESS_NOT_ALLOWED', { path: ['registration', name] })

      const id = newId('cnct', world.randomness)
      const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
      const named = { kid: `guichet-${id.slice(-8)}`, alg: 'ES256', use: 'sig' }
      const connector: Connector = {
        id,
        bankId: registration.bank.id,
        clientId: by,
        standard,
        state: 'DRAFT',
        registration,
        publicKeys: { keys: [{ ...(await exportJWK(publicKey)), ...named }] },
      }
      const sealedKey = await seal.seal(`connector-key:${id}`, { ...(await exportJWK(privateKey)), ...named })
      const attempted = { clientId: by, mutation: 'registerConnector', key: idempotencyKey, input: { standard, given } }
      const made = await database.transaction((tx) =>
        once.make(tx, attempted, async () => {
          if (!(await store.addBank(tx, registration.bank, by)))
            throw new GatewayError('STATE_CONFLICT', { path: ['registration', 'bank', 'id'] })
          await store.addConnector(tx, { ...connector, sealedKey })
          await ledger.record(tx, { kind: 'CONNECTOR_REGISTERED', clientId: by, subjectId: id })
          return id
        }),
      )
      return found(made)
    },

    /**
     * Tries the bank's interface: its metadata, a token for the gateway and a consent, which is deleted again. Passing
     * makes the connector CERTIFIED; throws what went wrong otherwise.
     */
    async certify(by: string, id: string): Promise<Connector> {
      const connector = await found(id)
      if (connector.state !== 'DRAFT') throw new GatewayError('STATE_CONFLICT')
      const bank = await interfaceOf(connector)
      const checks: CertificationCheck[] = []
      const attempt = async <T>(name: CertificationCheck['name'], work: () => Promise<T>): Promise<T> => {
        try {
          const answer = await work()
          checks.push({ name, passed: true, reason: null })
          return answer
        } catch (error) {
          checks.push({ name, passed: false, reason: asGatewayError(error).code })
          throw error
        }
      }
      const now = world.clock.now()
      try {
        const { resume } = await attempt('CONSENT', () =>
          bank.requestConsent({
            expiresAt: new Date(now.getTime() + 24 * HOUR_MS),
            state: newId('req', world.randomness),
            customer: { ip: '127.0.0.1', userAgent: null },
          }),
        )
        await attempt('REVOCATION', () => bank.revokeConsent(resume.consentRef))
      } finally {
        const passed = checks.every((check) => check.passed)
        await store.addCertification({ id: newId('cert', world.randomness), connectorId: id, at: now, passed, checks })
      }
      return step(by, id, STEPS.certify)
    },

    /** Puts a certified connector live, for every process at once. Throws `FORBIDDEN` for the one who registered it. */
    async putLive(by: string, id: string): Promise<Connector> {
      if ((await found(id)).clientId === by)
        throw new GatewayError('FORBIDDEN', { internal: 'four eyes: not by who registered it' })
      return step(by, id, STEPS.putLive)
    },

    /** The newest certification runs first. */
    certifications: (id: string): Promise<CertificationReport[]> => store.certifications(id, REPORTS),

    /** What banks announced and is not over, the nearest first. */
    maintenance: (bankIds: readonly string[]): Promise<MaintenanceWindow[]> =>
      store.maintenance(bankIds, world.clock.now()),

    /** Announces that the connector's bank will not answer. Throws `INVALID_INPUT` for a window that is none. */
    async announceMaintenance(
      by: string,
      id: string,
      { from, to }: { from: Date; to: Date },
      idempotencyKey?: string | null,
    ): Promise<Bank> {
      const { bankId } = await found(id)
      if (to <= world.clock.now() || to <= from || to.getTime() - from.getTime() > MAX_MAINTENANCE_MS)
        throw new GatewayError('INVALID_INPUT', { path: ['to'] })
      const attempted = { clientId: by, mutation: 'announceMaintenance', key: idempotencyKey, input: { id, from, to } }
      await database.transaction((tx) =>
        once.make(tx, attempted, async () => {
          const window = { id: newId('mtnc', world.randomness), bankId, from, to }
          await store.addMaintenance(tx, window)
          await ledger.record(tx, { kind: 'MAINTENANCE_ANNOUNCED', clientId: by, subjectId: bankId })
          return window.id
        }),
      )
      return (await store.bank(bankId))!
    },

    suspend: (by: string, id: string): Promise<Connector> => step(by, id, STEPS.suspend),

    /** The bank behind a connector, while it is LIVE. Throws `BANK_UNAVAILABLE` otherwise. */
    async reach(connectorId: string): Promise<BankInterface> {
      const connector = await found(connectorId)
      if (connector.state !== 'LIVE') throw new GatewayError('BANK_UNAVAILABLE', { internal: 'connector is not live' })
      return interfaceOf(connector)
    },

    /** The same whatever the connector's state, for ending what was begun. */
    reachToEnd: async (connectorId: string): Promise<BankInterface> => interfaceOf(await found(connectorId)),

    /** Whether, in this connector's standard, a new consent of a customer ends the earlier ones. */
    newConsentEndsEarlier: (connector: Connector): boolean => STANDARDS[connector.standard].newConsentEndsEarlier,

    /** Reads a pushed event by the rules of the connector's standard. Throws `NOT_FOUND` or `EVENT_REJECTED`. */
    async readEvent(connectorId: string, delivered: DeliveredEvent) {
      const connector = await found(connectorId)
      if (connector.state !== 'LIVE') throw new GatewayError('NOT_FOUND')
      const event = await STANDARDS[connector.standard].readEvent(delivered, connector.registration, world.clock)
      return { bankId: connector.bankId, event }
    },
  }
}
