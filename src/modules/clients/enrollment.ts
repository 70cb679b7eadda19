import { timingSafeEqual } from 'node:crypto'
import { DAY_MS, addMs, MINUTE_MS } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { parseAll } from '../../kernel/input-faults.ts'
import { digest, newId } from '../../kernel/ids.ts'
import { ADMIN_SCOPES } from '../../kernel/scopes.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Signals } from '../../storage/signals.ts'
import type { Ledger } from '../ledger/index.ts'
import { canAdminister } from './admin-requirements.ts'
import { changesOf } from './changes.ts'
import { parseName } from './input.ts'
import { kidsOf, parseKeys, DEFAULT_QUOTA, type Client, type Enrolment } from './model.ts'
import { enrolmentStore } from './enrollment-store.ts'
import { organizationStore } from './organization-store.ts'
import { clientStore } from './store.ts'

/** The enrolment of the first admin of an installation, or of a new one after all others were lost. */
export type AdminEnrolment = ReturnType<typeof createAdminEnrolment>

/** Dependencies of the enrolment. */
export interface AdminEnrolmentDependencies {
  readonly database: Database
  readonly world: Pick<World, 'clock' | 'randomness' | 'log'>
  readonly ledger: Ledger
  readonly signals: Signals
  /** Whether a client with plain bearer tokens counts as an admin: in the sandbox only. */
  readonly isBearerAllowed: boolean
}

/**
 * Who can administer the gateway. ADMINISTERED: an existing client. OPEN: a person with the secret can create an admin; `secret`
 * is undefined if this process does not know it. NOBODY: no existing client can, so a recovery is required.
 */
export type Administration =
  | { readonly kind: 'ADMINISTERED' }
  | { readonly kind: 'NOBODY' }
  | { readonly kind: 'OPEN'; readonly expiresAt: Date; readonly secret: string | undefined }

/** The data of a new admin. */
export interface NewAdmin {
  readonly organization: string
  readonly name: string
  readonly jwks: unknown
}

/** Long enough for an operator who starts the gateway in the evening and continues the next day. */
const FIRST_START_LIFETIME_MS = DAY_MS
/** An operator who requests a recovery is at a terminal. */
const RECOVERY_LIFETIME_MS = 60 * MINUTE_MS

/** Creates the service. Each opening and each use of an enrolment is in the ledger. */
export function createAdminEnrolment(dependencies: AdminEnrolmentDependencies) {
  const { database, world, ledger, signals, isBearerAllowed } = dependencies
  const store = enrolmentStore(database)
  const clients = clientStore(database)
  const organizations = organizationStore(database)
  // Every running gateway logs that an enrolment is open.
  signals.onSignal(({ kind }) => {
    if (kind === 'ADMIN_ENROLMENT') world.log.warn('admin.enrollment_opened')
  })

  const isAdministered = async (tx?: Transaction): Promise<boolean> =>
    (await store.clientsWithRootScope(tx)).some((client) => canAdminister(client, isBearerAllowed))

  /** The enrolment that can be used now. The enrolment of a first start ends as soon as any client can administer. */
  async function findOpenEnrolment(): Promise<Enrolment | undefined> {
    const current = await store.current()
    if (!current || current.usedAt || current.expiresAt <= world.clock.now()) return undefined
    return current.reason === 'RECOVERY' || !(await isAdministered()) ? current : undefined
  }

  /** Throws `NOT_FOUND` if no enrolment is open or the secret is wrong. */
  async function requireEnrolment(secret: string): Promise<Enrolment> {
    const current = await findOpenEnrolment()
    if (!current || !constantTimeEqual(digest(secret), current.secretDigest)) throw new GatewayError('NOT_FOUND')
    return current
  }

  function newEnrolment(reason: Enrolment['reason'], salt: string, secret: string, lifetimeMs: number): Enrolment {
    const openedAt = world.clock.now()
    return {
      reason,
      salt,
      secretDigest: digest(secret),
      openedAt,
      expiresAt: addMs(openedAt, lifetimeMs),
      usedAt: null,
    }
  }

  async function recordOpening(tx: Transaction, { reason }: Enrolment): Promise<void> {
    await ledger.record(tx, { action: 'ADMIN_ENROLMENT_OPENED', detail: reason })
    await signals.publish(tx, { kind: 'ADMIN_ENROLMENT', id: reason })
  }

  return {
    /**
     * Returns who can administer. Opens an enrolment if there are no clients. Processes that start concurrently open only one and
     * have the same secret, because `secretOf` derives it from the salt in the database and a shared key.
     */
    async openOrDescribe(deriveSecret: (salt: string) => string): Promise<Administration> {
      let current = await findOpenEnrolment()
      if (!current) {
        if (await isAdministered()) return { kind: 'ADMINISTERED' }
        if (!(await store.hasNoClients())) return { kind: 'NOBODY' }
        const salt = world.randomness.bytes(16).toString('base64url')
        const enrolment = newEnrolment('FIRST_START', salt, deriveSecret(salt), FIRST_START_LIFETIME_MS)
        await database.transaction(async (tx) => {
          if (await store.openFirst(tx, enrolment, enrolment.openedAt)) await recordOpening(tx, enrolment)
        })
        current = (await store.current())!
      }
      const secret = deriveSecret(current.salt)
      const isOwnSecret = constantTimeEqual(digest(secret), current.secretDigest)
      return { kind: 'OPEN', expiresAt: current.expiresAt, secret: isOwnSecret ? secret : undefined }
    },

    /** Opens an enrolment even if there are clients, and replaces any other. Only for callers with access to the database. */
    async recover(): Promise<{ secret: string; expiresAt: Date }> {
      const [salt, secret] = [16, 32].map((length) => world.randomness.bytes(length).toString('base64url'))
      const enrolment = newEnrolment('RECOVERY', salt!, secret!, RECOVERY_LIFETIME_MS)
      await database.transaction(async (tx) => {
        await store.replace(tx, enrolment)
        await recordOpening(tx, enrolment)
      })
      return { secret: secret!, expiresAt: enrolment.expiresAt }
    },

    /** Whether an enrolment is open. */
    isOpen: async (): Promise<boolean> => (await findOpenEnrolment()) !== undefined,

    /** Throws `NOT_FOUND` if the secret is not that of an open enrolment. */
    assertSecretValid: async (secret: string): Promise<void> => void (await requireEnrolment(secret)),

    /**
     * Registers an admin client and uses the enrolment in one transaction, so that only one of several callers succeeds. Throws
     * `NOT_FOUND` if the secret is wrong, and `INVALID_INPUT` with the path; after the latter, the secret can be used again.
     */
    async enrol(secret: string, input: NewAdmin): Promise<Client> {
      const enrolment = await requireEnrolment(secret)
      const [organizationId, id] = [newId('org', world.randomness), newId('clnt', world.randomness)]
      const { name, jwks, organizationName } = parseAll({
        name: () => parseName(input.name),
        jwks: () => parseKeys(input.jwks),
        organizationName: () => parseName(input.organization, ['organization']),
      })
      const admin = {
        name,
        status: 'ACTIVE' as const,
        tokenBinding: 'DPOP' as const,
        jwks,
        // The proof in the request was signed with this key.
        authenticatedKids: kidsOf(jwks),
        redirectUris: [],
        scopes: ADMIN_SCOPES,
        ...DEFAULT_QUOTA,
        operationPolicy: 'ANY' as const,
      }
      await database.transaction(async (tx) => {
        if (!(await store.consume(tx, enrolment, world.clock.now()))) throw new GatewayError('NOT_FOUND')
        if (enrolment.reason === 'FIRST_START' && (await isAdministered(tx))) throw new GatewayError('NOT_FOUND')
        const newOrganization = { id: organizationId, kind: 'OPERATOR' as const, name: organizationName }
        const isNew = await organizations.add(tx, newOrganization)
        const organization = (await organizations.findByName(organizationName, tx))!
        const client = { ...admin, id, organizationId: organization.id }
        await clients.addClient(tx, client)
        if (isNew)
          await ledger.record(tx, { action: 'ORGANIZATION_REGISTERED', clientId: id, subjectId: organization.id })
        const detail = enrolment.reason
        const changes = changesOf(undefined, client)
        await ledger.record(tx, { action: 'CLIENT_REGISTERED', clientId: id, subjectId: id, detail, changes })
        await signals.publish(tx, { kind: 'CLIENT', id })
      })
      world.log.warn('admin.enrolled', { clientId: id })
      return (await clients.client(id))!
    },
  }
}

const constantTimeEqual = (one: string, other: string): boolean =>
  one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other))
