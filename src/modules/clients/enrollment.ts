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
import { kidsOf, parseKeys, DEFAULT_QUOTA, type Client, type Enrollment } from './model.ts'
import { enrollmentStore } from './enrollment-store.ts'
import { organizationStore } from './organization-store.ts'
import { clientStore } from './store.ts'

/** The enrollment of the first admin of an installation, or of a new one after all others were lost. */
export type AdminEnrollment = ReturnType<typeof createAdminEnrollment>

/** Dependencies of the enrollment. */
export interface AdminEnrollmentDependencies {
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

/** Creates the service. Each opening and each use of an enrollment is in the ledger. */
export function createAdminEnrollment(dependencies: AdminEnrollmentDependencies) {
  const { database, world, ledger, signals, isBearerAllowed } = dependencies
  const store = enrollmentStore(database)
  const clients = clientStore(database)
  const organizations = organizationStore(database)
  // Every running gateway logs that an enrollment is open.
  signals.onSignal(({ kind }) => {
    if (kind === 'ADMIN_ENROLLMENT') world.log.warn('admin.enrollment_opened')
  })

  const isAdministered = async (tx?: Transaction): Promise<boolean> =>
    (await store.clientsWithRootScope(tx)).some((client) => canAdminister(client, isBearerAllowed))

  /** The enrollment that can be used now. The enrollment of a first start ends as soon as any client can administer. */
  async function findOpenEnrollment(): Promise<Enrollment | undefined> {
    const current = await store.current()
    if (!current || current.usedAt || current.expiresAt <= world.clock.now()) return undefined
    return current.reason === 'RECOVERY' || !(await isAdministered()) ? current : undefined
  }

  /** Throws `NOT_FOUND` if no enrollment is open or the secret is wrong. */
  async function requireEnrollment(secret: string): Promise<Enrollment> {
    const current = await findOpenEnrollment()
    if (!current || !constantTimeEqual(digest(secret), current.secretDigest)) throw new GatewayError('NOT_FOUND')
    return current
  }

  function newEnrollment(reason: Enrollment['reason'], salt: string, secret: string, lifetimeMs: number): Enrollment {
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

  async function recordOpening(tx: Transaction, { reason }: Enrollment): Promise<void> {
    await ledger.record(tx, { action: 'ADMIN_ENROLLMENT_OPENED', detail: reason })
    await signals.publish(tx, { kind: 'ADMIN_ENROLLMENT', id: reason })
  }

  return {
    /**
     * Returns who can administer. Opens an enrollment if there are no clients. Processes that start concurrently open only one and
     * have the same secret, because `secretOf` derives it from the salt in the database and a shared key.
     */
    async openOrDescribe(deriveSecret: (salt: string) => string): Promise<Administration> {
      let current = await findOpenEnrollment()
      if (!current) {
        if (await isAdministered()) return { kind: 'ADMINISTERED' }
        if (!(await store.hasNoClients())) return { kind: 'NOBODY' }
        const salt = world.randomness.bytes(16).toString('base64url')
        const enrollment = newEnrollment('FIRST_START', salt, deriveSecret(salt), FIRST_START_LIFETIME_MS)
        await database.transaction(async (tx) => {
          if (await store.openFirst(tx, enrollment, enrollment.openedAt)) await recordOpening(tx, enrollment)
        })
        current = (await store.current())!
      }
      const secret = deriveSecret(current.salt)
      const isOwnSecret = constantTimeEqual(digest(secret), current.secretDigest)
      return { kind: 'OPEN', expiresAt: current.expiresAt, secret: isOwnSecret ? secret : undefined }
    },

    /** Opens an enrollment even if there are clients, and replaces any other. Only for callers with access to the database. */
    async recover(): Promise<{ secret: string; expiresAt: Date }> {
      const [salt, secret] = [16, 32].map((length) => world.randomness.bytes(length).toString('base64url'))
      const enrollment = newEnrollment('RECOVERY', salt!, secret!, RECOVERY_LIFETIME_MS)
      await database.transaction(async (tx) => {
        await store.replace(tx, enrollment)
        await recordOpening(tx, enrollment)
      })
      return { secret: secret!, expiresAt: enrollment.expiresAt }
    },

    /** Whether an enrollment is open. */
    isOpen: async (): Promise<boolean> => (await findOpenEnrollment()) !== undefined,

    /** Throws `NOT_FOUND` if the secret is not that of an open enrollment. */
    assertSecretValid: async (secret: string): Promise<void> => void (await requireEnrollment(secret)),

    /**
     * Registers an admin client and uses the enrollment in one transaction, so that only one of several callers succeeds. Throws
     * `NOT_FOUND` if the secret is wrong, and `INVALID_INPUT` with the path; after the latter, the secret can be used again.
     */
    async enroll(secret: string, input: NewAdmin): Promise<Client> {
      const enrollment = await requireEnrollment(secret)
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
        contactEmail: null,
      }
      await database.transaction(async (tx) => {
        if (!(await store.consume(tx, enrollment, world.clock.now()))) throw new GatewayError('NOT_FOUND')
        if (enrollment.reason === 'FIRST_START' && (await isAdministered(tx))) throw new GatewayError('NOT_FOUND')
        const newOrganization = { id: organizationId, kind: 'OPERATOR' as const, name: organizationName }
        const isNew = await organizations.add(tx, newOrganization)
        const organization = (await organizations.findByName(organizationName, tx))!
        const client = { ...admin, id, organizationId: organization.id }
        await clients.addClient(tx, client)
        if (isNew)
          await ledger.record(tx, { action: 'ORGANIZATION_REGISTERED', clientId: id, subjectId: organization.id })
        const detail = enrollment.reason
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
