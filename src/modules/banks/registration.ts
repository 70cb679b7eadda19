import { exportJWK, generateKeyPair } from 'jose'
import {
  addressBy,
  endpointFaultOf,
  isStandardId,
  STANDARDS,
  type Registration,
  type StandardId,
} from '../../connectors/index.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { faultAt, invalid, readBySchema, refuse } from '../../kernel/faults.ts'
import { newId } from '../../kernel/ids.ts'
import { nearestOf } from '../../kernel/nearest.ts'
import type { OutboundHttp } from '../../kernel/outbound-http.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Once } from '../../storage/once.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Change, Ledger } from '../ledger/index.ts'
import type { Bank, BankConflict, Connector } from './model.ts'
import type { BankStore } from './store.ts'
import { newTlsIdentity } from './tls-identity.ts'

/** What registering depends on. */
export interface RegistrationDependencies {
  readonly store: BankStore
  readonly database: Database
  readonly world: World
  readonly seal: Seal
  readonly ledger: Ledger
  readonly once: Once
}

/** What a partner stated, once it was read. */
interface Stated {
  readonly standard: StandardId
  readonly registration: Registration
}

/** What a registration would become: nothing is stored of it. */
export interface ConnectorPreview {
  readonly bank: Bank
  readonly standard: StandardId
}

/**
 * Reads a registration by its standard, its URLs by the rules of `http`. Throws one error with every fault, each at its path
 * below `registration`.
 */
export function readRegistration(standard: string, given: unknown, http: Pick<OutboundHttp, 'addressFault'>): Stated {
  if (!isStandardId(standard)) refuse(['standard'], standardRule(standard))
  const root = ['registration']
  const { registration: schema, resources } = STANDARDS[standard]
  const registration = readBySchema(schema(addressBy((url) => http.addressFault(url))), given, root)
  const endpointFault = endpointFaultOf(registration, resources(registration))(registration.authorizationServer)
  if (endpointFault !== undefined)
    throw invalid([faultAt([...root, 'authorizationServer'], endpointFault, 'ADDRESS_NOT_ALLOWED')])
  return { standard, registration }
}

/** Whether a registration that is stored holds a URL that the rules of `http` do not allow. */
export function holdsForbiddenAddress(
  { standard, registration }: Pick<Connector, 'standard' | 'registration'>,
  http: Pick<OutboundHttp, 'addressFault'>,
): boolean {
  let isForbidden = false
  const address = addressBy((url) => {
    const fault = http.addressFault(url)
    isForbidden ||= fault !== undefined
    return fault
  })
  STANDARDS[standard].registration(address).safeParse(registration)
  return isForbidden
}

function standardRule(given: string): string {
  const known = Object.keys(STANDARDS)
  const nearest = nearestOf(given, known)
  return `must be one of ${known.join(', ')}${nearest === undefined ? '' : `; did you mean ${nearest}?`}`
}

/** Registers connectors: what a partner states becomes a DRAFT with a key of its own. */
export function createRegistration({ store, database, world, seal, ledger, once }: RegistrationDependencies) {
  /** The connector with its keys, which are stored sealed. */
  async function newConnector(
    by: string,
    { standard, registration }: Stated,
  ): Promise<Connector & { sealedKey: string }> {
    const id = newId('cnct', world.randomness)
    const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
    const named = { kid: `guichet-${id.slice(-8)}`, alg: 'ES256', use: 'sig' }
    const tls = registration.mutualTls ? await newTlsIdentity(id, world) : undefined
    const sealedKey = await seal.seal(`connector-key:${id}`, {
      ...(await exportJWK(privateKey)),
      ...named,
      ...(tls && { tlsKey: tls.key }),
    })
    return {
      id,
      bankId: registration.bank.id,
      clientId: by,
      standard,
      status: 'DRAFT',
      registration,
      publicKeys: { keys: [{ ...(await exportJWK(publicKey)), ...named }] },
      certificate: tls?.certificate ?? null,
      newConsents: true,
      sealedKey,
    }
  }

  return {
    /**
     * What `register` would make of the same input, without making it. Throws what it would throw, `STATE_CONFLICT` included
     * as things are now.
     */
    async preview(by: string, standard: string, given: unknown): Promise<ConnectorPreview> {
      const stated = readRegistration(standard, given, world.http)
      const { bank } = stated.registration
      const conflict = await store.bankConflict(bank, by)
      if (conflict) throw bankConflict(conflict)
      return { bank, standard: stated.standard }
    },

    /**
     * Registers a bank's interface as DRAFT and makes the key by which the bank will know the gateway. The registration
     * is parsed by its standard. Throws `INVALID_INPUT` or `ADDRESS_NOT_ALLOWED` with every fault, or `STATE_CONFLICT` where
     * another partner has the bank of that id, or another bank has that name.
     */
    async register(by: string, standard: string, given: unknown, idempotencyKey?: string | null): Promise<Connector> {
      const stated = readRegistration(standard, given, world.http)
      const connector = await newConnector(by, stated)
      const attempted = { clientId: by, mutation: 'registerConnector', key: idempotencyKey, input: { standard, given } }
      const made = await database.transaction((tx) =>
        once.make(tx, attempted, async () => {
          const conflict = await store.addBank(tx, stated.registration.bank, by)
          if (conflict) throw bankConflict(conflict)
          await store.addConnector(tx, connector)
          await ledger.record(tx, {
            kind: 'CONNECTOR_REGISTERED',
            clientId: by,
            subjectId: connector.id,
            changes: registeredChanges(connector),
          })
          return connector.id
        }),
      )
      return (await store.connector(made))!
    },
  }
}

const CONFLICTS: Readonly<Record<BankConflict, string>> = {
  id: 'belongs to a bank of another partner, or to one with another name or country: choose another id, or state the bank as it is registered',
  name: 'is the name of another bank, or too like it for customers to tell them apart: choose another name',
}
const bankConflict = (field: BankConflict): GatewayError =>
  invalid([faultAt(['registration', 'bank', field], CONFLICTS[field], 'STATE_CONFLICT')])

/** What the ledger says of a new connector: which bank, and where it is. */
const registeredChanges = ({ bankId, standard, registration }: Connector): Change[] =>
  Object.entries({
    bank: [bankId, registration.bank.name],
    standard: [standard],
    origins: [
      ...new Set([registration.authorizationServer, registration.apiBase].map((url) => new URL(url).origin)),
      ...(registration.authorizationOrigins ?? []),
    ],
  }).map(([field, after]) => ({ field, before: [], after }))
