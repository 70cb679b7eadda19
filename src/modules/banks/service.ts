import { exportJWK, generateKeyPair } from 'jose'
import { STANDARDS, isStandardId, type BankInterface } from '../../connectors/index.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { newId } from '../../kernel/ids.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Ledger, LedgerKind } from '../ledger/index.ts'
import type { Bank, Connector, ConnectorState } from './model.ts'
import { bankStore } from './store.ts'

/** Banks, their connectors, and the way to reach them. */
export type Banks = ReturnType<typeof createBanks>

/** What banks stand on. */
export interface BanksDependencies {
  database: Database
  world: World
  seal: Seal
  ledger: Ledger
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

/** Registers connectors, leads them from draft to live, and reaches the banks behind them. */
export function createBanks({ database, world, seal, ledger, redirectUri }: BanksDependencies) {
  const store = bankStore(database)
  const open = new Map<string, Promise<BankInterface>>()

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
    return STANDARDS[connector.standard].connect(connector.registration, {
      clock,
      randomness,
      log,
      http,
      connectorId: connector.id,
      key,
      redirectUri,
    })
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
    await found(id)
    await database.transaction(async (tx) => {
      if (!(await store.move(tx, id, from, to))) throw new GatewayError('STATE_CONFLICT')
      await ledger.record(tx, { kind, clientId: by, subjectId: id })
    })
    return found(id)
  }

  return {
    bank: (id: string): Promise<Bank | null> => store.bank(id),
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
    async register(by: string, standard: string, given: unknown): Promise<Connector> {
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
      await database.transaction(async (tx) => {
        if (!(await store.addBank(tx, registration.bank, by)))
          throw new GatewayError('STATE_CONFLICT', { path: ['registration', 'bank', 'id'] })
        await store.addConnector(tx, { ...connector, sealedKey })
        await ledger.record(tx, { kind: 'CONNECTOR_REGISTERED', clientId: by, subjectId: id })
      })
      return connector
    },

    /**
     * Tries the bank's interface: its metadata, a token for the gateway and a consent, which is deleted again. Passing
     * makes the connector CERTIFIED; throws what went wrong otherwise.
     */
    async certify(by: string, id: string): Promise<Connector> {
      const connector = await found(id)
      if (connector.state !== 'DRAFT') throw new GatewayError('STATE_CONFLICT')
      const bank = await interfaceOf(connector)
      const expiresAt = new Date(world.clock.now().getTime() + 86_400_000)
      const { resume } = await bank.requestConsent({
        expiresAt,
        state: newId('req', world.randomness),
        customerIp: '127.0.0.1',
      })
      await bank.revokeConsent(resume.consentRef)
      return step(by, id, STEPS.certify)
    },

    /** Puts a certified connector live, for every process at once. Throws `FORBIDDEN` for the one who registered it. */
    async putLive(by: string, id: string): Promise<Connector> {
      if ((await found(id)).clientId === by)
        throw new GatewayError('FORBIDDEN', { internal: 'four eyes: not by who registered it' })
      return step(by, id, STEPS.putLive)
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
    async readEvent(connectorId: string, token: string, audience: string) {
      const connector = await found(connectorId)
      if (connector.state !== 'LIVE') throw new GatewayError('NOT_FOUND')
      const event = await STANDARDS[connector.standard].readEvent(token, connector.registration, audience, world.clock)
      return { bankId: connector.bankId, event }
    },
  }
}
