import {
  bankProfiles,
  completeProfile,
  createUrlSchema,
  describeSignIn,
  fillOpenMembers,
  isStandardId,
  nameOpenMembers,
  openRequirements,
  planRequests,
  profileRevision,
  registrationFaults,
  requestedDataOf,
  resolveOauthProfile,
  STANDARDS,
  type BankProfile,
  type OpenRegistration,
  type PlannedRequest,
  type Registration,
  type Requirement,
  type StandardId,
} from '../../connectors/index.ts'
import { GatewayError, type InputFault } from '../../kernel/errors.ts'
import { faultAt, invalidInputError, parseAll, parseWithSchema, throwInvalidInput } from '../../kernel/input-faults.ts'
import { newId } from '../../kernel/ids.ts'
import { closestMatch } from '../../kernel/closest-match.ts'
import type { OutboundHttp } from '../../kernel/outbound-http.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Idempotency } from '../../storage/idempotency.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Change, Ledger } from '../ledger/index.ts'
import { generateSigningKey, privateJwk, publicJwk, signingAlgorithmOf } from './credentials/keys.ts'
import type { Bank, BankConflict, Connector } from './model.ts'
import type { BankStore } from './store.ts'
import { createTlsIdentity } from './tls-identity.ts'

/** Dependencies of registrations. */
export interface RegistrationDependencies {
  readonly store: BankStore
  readonly database: Database
  readonly world: World
  readonly seal: Seal
  readonly ledger: Ledger
  readonly idempotency: Idempotency
}

/** A parsed registration of a partner. */
interface ParsedRegistration {
  readonly standard: StandardId
  readonly registration: Registration
}

/** The registration that a partner states: in full, or as the members that a profile leaves open. */
export interface StatedRegistration {
  /** Null if a profile names it. */
  readonly standard?: string | null | undefined
  readonly registration: unknown
  /** The id of a profile in the catalogue. */
  readonly profile?: string | null | undefined
}

/** The preview of a registration, which is not stored. */
export interface ConnectorPreview {
  /** Null if the operator has to state it, and has not. */
  readonly bank: Bank | null
  readonly standard: StandardId
  /** How customers sign in, in a sentence for operators. */
  readonly signIn: string
  /** Every request to the bank. */
  readonly requests: readonly PlannedRequest[]
  /** What the customer is asked to share, in the standard's terms. */
  readonly requestedData: readonly string[]
  /** What the operator must bring. */
  readonly requirements: readonly Requirement[]
  /** Paths of the members that the profile leaves to the operator, who has not stated them. */
  readonly missingMembers: readonly string[]
}

/**
 * Parses a registration by its standard, and its URLs by the rules of `http`. Throws one error with every fault, each at its path
 * below `registration`.
 */
export function parseRegistration(
  stated: StatedRegistration,
  http: Pick<OutboundHttp, 'urlFault'>,
): ParsedRegistration {
  const started = startRegistration(stated)
  const { parsed } = parseAll({
    parsed: () => parseMembers(started, http),
    missing: () => {
      if (started.missing.size > 0) throw invalidInputError([...started.missing.keys()].map(missingMemberFault))
    },
  })
  return parsed
}

const missingMemberFault = (path: string): InputFault =>
  faultAt([...ROOT, ...path.split('.')], 'must be stated: the profile leaves it to the operator (docs/BANKS.md)')

/** Parses a registration whose open members have values that stand for them. Throws one error with every fault. */
function parseMembers(
  { standard, registration: input }: StartedRegistration,
  http: Pick<OutboundHttp, 'urlFault'>,
): ParsedRegistration {
  const { registration: schema, resourceServers, oauthDefaults, registrationFaults: faultsOf } = STANDARDS[standard]
  const registration = parseWithSchema(schema(createUrlSchema((url) => http.urlFault(url))), input, ROOT)
  const oauth = resolveOauthProfile(oauthDefaults, registration.oauth)
  const faults = registrationFaults(registration, oauth, resourceServers(registration), faultsOf?.(registration, oauth))
  if (faults.length > 0)
    throw invalidInputError(faults.map(({ path, message, code }) => faultAt([...ROOT, ...path], message, code)))
  return { standard, registration }
}
const ROOT = ['registration']

/** A registration before it is parsed. */
interface StartedRegistration extends OpenRegistration {
  readonly standard: StandardId
}

/** The profile that the input names. Undefined if it names none, or one that does not exist. */
const findProfile = ({ profile }: StatedRegistration): BankProfile | undefined =>
  profile == null ? undefined : bankProfiles().get(profile)

/** Adds the members of the profile that the input names. */
function startRegistration(stated: StatedRegistration): StartedRegistration {
  const { standard, registration, profile: id } = stated
  if (id == null) {
    if (!isStandardId(standard ?? '')) throwInvalidInput(['standard'], unknownStandardMessage(standard ?? ''))
    return { standard: standard as StandardId, registration, missing: new Map() }
  }
  const profile = findProfile(stated)
  if (!profile) return throwInvalidInput(['profile'], unknownProfileMessage(id))
  if (profile.standard === null || profile.outOfReach !== null)
    return throwInvalidInput(['profile'], `cannot be used: ${profile.outOfReach}`)
  if (standard != null && standard !== profile.standard)
    throwInvalidInput(['standard'], `must be ${profile.standard}, or absent: the profile names it`)
  const complete = completeProfile(profile.registration, registration)
  return { standard: profile.standard, ...fillOpenMembers(complete, profile.operatorStates) }
}

/** Whether a stored registration has a URL that the rules of `http` do not allow. */
export function hasForbiddenAddress(
  { standard, registration }: Pick<Connector, 'standard' | 'registration'>,
  http: Pick<OutboundHttp, 'urlFault'>,
): boolean {
  let isForbidden = false
  const address = createUrlSchema((url) => {
    const fault = http.urlFault(url)
    isForbidden ||= fault !== undefined
    return fault
  })
  STANDARDS[standard].registration(address).safeParse(registration)
  return isForbidden
}

/** A brand is also found by its own part of the id, if no other has the same. */
function unknownProfileMessage(id: string): string {
  const ids = [...bankProfiles().keys()]
  const brandsByPart = Map.groupBy(ids, (name) => name.split('/').at(-1)!)
  const match = closestMatch(
    id,
    [...ids, ...brandsByPart.keys()].filter((part) => (brandsByPart.get(part)?.length ?? 1) === 1),
  )
  const nearest = brandsByPart.get(match ?? '')?.[0] ?? match
  return `must be the id of a profile (docs/BANKS.md)${nearest === undefined ? '' : `; did you mean ${nearest}?`}`
}

function unknownStandardMessage(standard: string): string {
  const standards = Object.keys(STANDARDS)
  const nearest = closestMatch(standard, standards)
  return `must be one of ${standards.join(', ')}${nearest === undefined ? '' : `; did you mean ${nearest}?`}`
}

/** Registers connectors as DRAFT, each with its own key. */
export function createRegistration({ store, database, world, seal, ledger, idempotency }: RegistrationDependencies) {
  /** The connector with its keys, which are stored sealed. */
  async function buildConnector(
    clientId: string,
    { standard, registration }: ParsedRegistration,
    profile: BankProfile | undefined,
  ): Promise<Connector & { sealedKey: string }> {
    const id = newId('cnct', world.randomness)
    const algorithm = signingAlgorithmOf({ standard, registration })
    const key = await generateSigningKey(algorithm)
    const keyId = `guichet-${id.slice(-8)}`
    const { mutualTls = false, certificates = {} } = registration
    const tls = mutualTls && certificates.transport !== 'ISSUED' ? await createTlsIdentity(id, world) : undefined
    const sealedKey = await seal.seal(`connector-key:${id}`, {
      ...privateJwk(key, algorithm, keyId),
      ...(tls && { tlsKey: tls.key }),
    })
    return {
      id,
      bankId: registration.bank.id,
      clientId,
      standard,
      status: 'DRAFT',
      registration,
      profile: profile?.id ?? null,
      profileRevision: profile ? profileRevision(profile) : null,
      jwks: { keys: [publicJwk(key, algorithm, keyId)] },
      clientCertificate: tls?.certificate ?? null,
      acceptsNewConsents: true,
      sealedKey,
    }
  }

  return {
    /** The profiles of named banks, by id. */
    profiles: (): readonly (BankProfile & { readonly revision: string })[] =>
      [...bankProfiles().values()].map((profile) => ({ ...profile, revision: profileRevision(profile) })),

    /**
     * The result that `register` would have with the same input. Stores nothing. Throws the same errors, including `STATE_CONFLICT`
     * according to the current state.
     */
    async preview(clientId: string, stated: StatedRegistration): Promise<ConnectorPreview> {
      const started = startRegistration(stated)
      const { standard: id, registration } = parseMembers(started, world.http)
      const { missing } = started
      const bank = missing.has('bank.id') || missing.has('bank.name') ? null : registration.bank
      const conflict = bank && (await store.findBankConflict(bank, clientId))
      if (conflict) throw bankConflictError(conflict)
      const standard = STANDARDS[id]
      return {
        bank,
        standard: id,
        signIn: describeSignIn(standard, registration),
        requests: planRequests(standard, registration).map((request) => nameOpenMembers(request, missing)),
        requestedData: requestedDataOf(standard, registration),
        requirements: openRequirements(standard, registration),
        missingMembers: [...missing.keys()],
      }
    },

    /**
     * Registers a bank's interface as DRAFT and creates the gateway's key for this bank. The registration
     * is parsed by its standard. Throws `INVALID_INPUT` or `ADDRESS_NOT_ALLOWED` with every fault, or `STATE_CONFLICT` if
     * the bank's ID belongs to another partner or another bank has a similar name.
     */
    async register(clientId: string, stated: StatedRegistration, idempotencyKey?: string | null): Promise<Connector> {
      const parsed = parseRegistration(stated, world.http)
      const connector = await buildConnector(clientId, parsed, findProfile(stated))
      const idempotentRequest = {
        clientId,
        mutation: 'registerConnector',
        key: idempotencyKey,
        input: stated,
      }
      const connectorId = await database.transaction((tx) =>
        idempotency.runOnce(tx, idempotentRequest, async () => {
          const conflict = await store.addBank(tx, parsed.registration.bank, clientId)
          if (conflict) throw bankConflictError(conflict)
          await store.addConnector(tx, connector)
          await ledger.record(tx, {
            action: 'CONNECTOR_REGISTERED',
            clientId,
            subjectId: connector.id,
            changes: registrationChanges(connector),
          })
          return connector.id
        }),
      )
      return (await store.connector(connectorId))!
    },
  }
}

const CONFLICT_MESSAGES: Readonly<Record<BankConflict, string>> = {
  id: 'belongs to a bank of another partner, or to one with another name or country: choose another id, or state the bank as it is registered',
  name: 'is the name of another bank, or too like it for customers to tell them apart: choose another name',
}
const bankConflictError = (field: BankConflict): GatewayError =>
  invalidInputError([faultAt(['registration', 'bank', field], CONFLICT_MESSAGES[field], 'STATE_CONFLICT')])

/** The ledger's changes for a new connector: its bank and its addresses. */
const registrationChanges = ({ bankId, standard, registration, profile, profileRevision }: Connector): Change[] =>
  Object.entries({
    bank: [bankId, registration.bank.name],
    standard: [standard],
    ...(profile !== null && { profile: [profile, profileRevision!] }),
    origins: [
      ...new Set(
        [registration.authorizationServer ?? registration.apiBase, registration.apiBase].map(
          (url) => new URL(url).origin,
        ),
      ),
      ...(registration.authorizationOrigins ?? []),
    ],
  }).map(([field, after]) => ({ field, before: [], after }))
