import { errors, type Adapter, type AdapterPayload, type InteractionResults } from 'oidc-provider'
import { addMs, MINUTE_MS, type Clock } from '../../kernel/clock.ts'
import { toGatewayError } from '../../kernel/errors.ts'
import { digest } from '../../kernel/ids.ts'
import type { Signal } from '../../kernel/signal.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { Consents } from '../../modules/consents/index.ts'
import { deleteInBatches } from '../../storage/batch-delete.ts'
import { tablesIn, type Database, type Tables } from '../../storage/database.ts'
import type { Signals } from '../../storage/signals.ts'

/** Kinds whose ID is itself a bearer secret. They are stored by digest, so that a stolen table grants no access. */
const SECRET_KINDS = new Set([
  'AccessToken',
  'RefreshToken',
  'AuthorizationCode',
  'ClientCredentials',
  'PushedAuthorizationRequest',
  'Session',
  'Interaction',
])
/** Kinds that grant access by themselves and are cached by the guard of each process. */
const TOKEN_KINDS = new Set(['AccessToken', 'ClientCredentials'])
/** Kinds that require a customer's consent. A client's own token belongs to no grant. */
const CUSTOMER_TOKEN_KINDS = new Set(['AccessToken', 'RefreshToken'])
/**
 * Kinds that the library reads when a request begins and rewrites when it ends. If another request deletes one meanwhile, its
 * row stays as a tombstone, marked as consumed, for longer than any request takes.
 */
const REWRITABLE_KINDS = new Set(['Session', 'Interaction'])
const TOMBSTONE_TTL_MS = 10 * MINUTE_MS
/** Rows are retained a little past their expiry, for processes whose clock runs behind. */
const RETENTION_AFTER_EXPIRY_S = 15

/** Tokens, codes, sessions, interactions and used proofs in PostgreSQL. */
export interface OauthStore {
  /** The provider's storage adapter for one kind of artifact. */
  adapter(kind: string): Adapter
  /** Returns true the first time that `owner` uses `jti`, then false until `expiresAt`. */
  useOnce(owner: string, jti: string, expiresAt: Date): Promise<boolean>
  /** Whether an unexpired artifact of a secret kind exists, by the digest under which it is stored. */
  exists(kind: string, idDigest: string): Promise<boolean>
  /**
   * Stores the decision of an interaction. An error replaces an agreement; an agreement replaces nothing. Returns false if the
   * interaction is over.
   */
  decideInteraction(uid: string, result: InteractionResults): Promise<boolean>
  /** Removes the session in which an interaction began from the interaction. */
  detachInteractionSession(uid: string): Promise<void>
  /** Deletes the grant and every token and code that depends on it. */
  deleteGrant(grantId: string): Promise<void>
  /** Ends a browser's session permanently, under every ID that it has had or gets. */
  signOut(sessionId: string): Promise<void>
  /** Whether the session with this `uid`, which stays the same across sign-ins, is open. */
  isSessionActive(uid: string): Promise<boolean>
  /** Ends all sessions of the customer in all browsers. */
  endSessions(customerId: string): Promise<void>
  /** Deletes expired rows; returns their number. */
  deleteExpired(): Promise<number>
}

type ArtifactFilter = NonNullable<NonNullable<Parameters<Tables['oauthArtifact']['deleteMany']>[0]>['where']>

interface ArtifactRow {
  readonly payload: object
  readonly grantId: string | null
  readonly uid: string | null
  readonly customerId: string | null
  readonly expiresAt: Date | null
}

/** Dependencies of the store. */
export interface OauthStoreDependencies {
  readonly database: Database
  readonly clock: Clock
  readonly signals: Signals
  /** Updates the consent when a code or a token is issued and when a grant ends. */
  readonly consents: Pick<Consents, 'optIn' | 'revokeByOauthGrant'>
  /** A client's metadata; undefined rejects the client. */
  readonly findClientMetadata: (id: string) => Promise<AdapterPayload | undefined>
}

/**
 * The authorization server's storage in PostgreSQL. A consent becomes ACTIVE in the transaction that stores its authorization
 * code, and ends with its grant.
 */
export function createOauthStore({
  database,
  clock,
  signals,
  consents,
  findClientMetadata,
}: OauthStoreDependencies): OauthStore {
  const { tables } = database

  /** Deletes tokens and removes them from the caches of all processes. */
  async function deleteTokens(where: ArtifactFilter, signal: Signal): Promise<void> {
    await database.transaction(async (tx) => {
      await tablesIn(tx).oauthArtifact.deleteMany({ where })
      await signals.publish(tx, signal)
    })
  }

  const toPayload = (
    kind: string,
    row: { payload: unknown; consumedAt: Date | null } | null,
    id?: string,
  ): AdapterPayload | undefined =>
    row
      ? {
          ...(row.payload as AdapterPayload),
          ...(id !== undefined && SECRET_KINDS.has(kind) && { jti: id }),
          ...(row.consumedAt && { consumed: Math.floor(row.consumedAt.getTime() / 1_000) }),
        }
      : undefined

  /** Writes a row unless it has become a tombstone. */
  async function rewrite(tx: Transaction, key: { kind: string; id: string }, row: ArtifactRow): Promise<void> {
    const { oauthArtifact } = tablesIn(tx)
    const { count } = await oauthArtifact.updateMany({ where: { ...key, consumedAt: null }, data: row })
    if (count > 0) return
    // A session gets a new ID with each sign-in, unless its browser has signed out meanwhile.
    const isSignedOut = row.uid !== null && (await isSessionSignedOut(tx, row.uid))
    if (!isSignedOut) await oauthArtifact.createMany({ data: [{ ...key, ...row }], skipDuplicates: true })
  }

  /** Whether the session with this `uid` was signed out; locks its rows until the end of `tx`. */
  async function isSessionSignedOut(tx: Transaction, uid: string): Promise<boolean> {
    const rows = await tablesIn(tx).$queryRaw<{ isSignedOut: boolean }[]>`
      select coalesce(payload -> 'isSignedOut' = 'true', false) as "isSignedOut" from oauth_artifact
      where kind = 'Session' and uid = ${uid} for update`
    return rows.some(({ isSignedOut }) => isSignedOut)
  }

  /** The data of a tombstone. The row retains its `uid` and `customerId`. */
  function createTombstone(payload: { isSignedOut?: true } = {}) {
    const now = clock.now()
    return { payload, consumedAt: now, expiresAt: addMs(now, TOMBSTONE_TTL_MS) }
  }

  async function writeTombstone(kind: string, id: string): Promise<void> {
    await tables.oauthArtifact.updateMany({ where: { kind, id, consumedAt: null }, data: createTombstone() })
  }

  /** Ends sessions under every ID that they have or had, so that no request in progress restores them. */
  async function endMatchingSessions(where: { uid: string } | { customerId: string }): Promise<void> {
    const data = createTombstone({ isSignedOut: true })
    // The second pass ends a session to which a concurrent sign-in gave a new ID while it held the row locks.
    for (let pass = 0; pass < 2; pass++)
      await tables.oauthArtifact.updateMany({ where: { kind: 'Session', ...where }, data })
  }

  /** Two concurrent uses of a code end its grant, as two consecutive uses do (RFC 6749, 4.1.2). */
  async function revokeGrantOfCode(codeKey: string): Promise<void> {
    const code = await tables.oauthArtifact.findFirst({ where: { kind: 'AuthorizationCode', id: codeKey } })
    if (code?.grantId) await consents.revokeByOauthGrant(code.grantId, 'SYSTEM')
  }

  function adapter(kind: string): Adapter {
    const storageIdOf = (id: string): string => (SECRET_KINDS.has(kind) ? digest(id) : id)
    const notExpired = () => ({
      OR: [{ expiresAt: null }, { expiresAt: { gt: clock.now() } }],
      ...(REWRITABLE_KINDS.has(kind) && { consumedAt: null }),
    })
    return {
      async upsert(id, payload, expiresIn) {
        const { jti, ...rest } = payload
        const storedPayload = JSON.parse(JSON.stringify(SECRET_KINDS.has(kind) ? rest : { ...rest, jti })) as object
        const row: ArtifactRow = {
          payload: storedPayload,
          grantId: payload.grantId ?? null,
          uid: kind === 'Session' ? (payload.uid ?? null) : null,
          customerId: kind === 'Session' ? (payload.accountId ?? null) : null,
          expiresAt: expiresIn
            ? new Date(clock.now().getTime() + (expiresIn + RETENTION_AFTER_EXPIRY_S) * 1_000)
            : null,
        }
        const key = { kind, id: storageIdOf(id) }
        const upsertRow = async (target: Tables): Promise<void> => {
          await target.oauthArtifact.upsert({ where: { kind_id: key }, create: { ...key, ...row }, update: row })
        }
        const writeWithin = (tx: Transaction): Promise<void> => upsertRow(tablesIn(tx))
        if (kind === 'AuthorizationCode' && payload.grantId && row.expiresAt && !payload.consumed)
          await consents.optIn.activate(payload.grantId, row.expiresAt, writeWithin).catch(throwAsOauthError)
        else if (CUSTOMER_TOKEN_KINDS.has(kind) && payload.grantId)
          await consents.optIn.redeem(payload.grantId, kind === 'RefreshToken', writeWithin).catch(throwAsOauthError)
        else if (REWRITABLE_KINDS.has(kind)) await database.transaction((tx) => rewrite(tx, key, row))
        else await upsertRow(tables)
      },
      async find(id) {
        if (kind === 'Client') return findClientMetadata(id)
        return toPayload(
          kind,
          await tables.oauthArtifact.findFirst({ where: { kind, id: storageIdOf(id), ...notExpired() } }),
          id,
        )
      },
      async findByUid(uid) {
        return toPayload(kind, await tables.oauthArtifact.findFirst({ where: { kind, uid, ...notExpired() } }))
      },
      findByUserCode: () => Promise.resolve(undefined),
      async consume(id) {
        // Compare and set: of two concurrent redemptions, one fails.
        const { count } = await tables.oauthArtifact.updateMany({
          where: { kind, id: storageIdOf(id), consumedAt: null },
          data: { consumedAt: clock.now() },
        })
        if (count === 1) return
        if (kind === 'AuthorizationCode') await revokeGrantOfCode(storageIdOf(id))
        throw new errors.InvalidGrant('already used')
      },
      async destroy(id) {
        // The library destroys a grant when its refresh token is revoked (RFC 7009, 2.1) and when a code or a token is reused
        // (RFC 6749, 4.1.2). The consent ends with it.
        if (kind === 'Grant') await consents.revokeByOauthGrant(id, 'SYSTEM')
        if (REWRITABLE_KINDS.has(kind)) return writeTombstone(kind, storageIdOf(id))
        const key = { kind, id: storageIdOf(id) }
        if (TOKEN_KINDS.has(kind)) await deleteTokens(key, { kind: 'TOKEN', id: key.id })
        else await tables.oauthArtifact.deleteMany({ where: key })
      },
      async revokeByGrantId(grantId) {
        const where = { kind, grantId }
        if (TOKEN_KINDS.has(kind)) await deleteTokens(where, { kind: 'OAUTH_GRANT', id: grantId })
        else await tables.oauthArtifact.deleteMany({ where })
      },
    }
  }

  return {
    adapter,
    async useOnce(owner, jti, expiresAt) {
      const { count } = await tables.usedProof.createMany({
        data: [{ id: digest(`${owner}\0${jti}`), expiresAt }],
        skipDuplicates: true,
      })
      return count === 1
    },
    async exists(kind, idDigest) {
      const where = { kind, id: idDigest, expiresAt: { gt: clock.now() } }
      return (await tables.oauthArtifact.count({ where })) === 1
    },
    // The library would rewrite the whole interaction, and so undo a concurrent decision.
    async decideInteraction(uid, result) {
      const count = await tables.$executeRaw`
        update oauth_artifact set payload = case
          when ${'error' in result}::boolean or payload -> 'result' is null
          then payload || ${JSON.stringify({ result })}::jsonb else payload end
        where kind = 'Interaction' and id = ${digest(uid)} and consumed_at is null`
      return count === 1
    },
    async detachInteractionSession(uid) {
      await tables.$executeRaw`
        update oauth_artifact set payload = payload - 'session' where kind = 'Interaction' and id = ${digest(uid)}`
    },
    async deleteGrant(grantId) {
      const where = { OR: [{ grantId }, { kind: 'Grant', id: grantId }] }
      await deleteTokens(where, { kind: 'OAUTH_GRANT', id: grantId })
    },
    async endSessions(customerId) {
      await endMatchingSessions({ customerId })
    },
    async signOut(sessionId) {
      const where = { kind_id: { kind: 'Session', id: digest(sessionId) } }
      const session = await tables.oauthArtifact.findUnique({ where, select: { uid: true } })
      if (session?.uid) await endMatchingSessions({ uid: session.uid })
    },
    async isSessionActive(uid) {
      const where = { kind: 'Session', uid, consumedAt: null, expiresAt: { gt: clock.now() } }
      return (await tables.oauthArtifact.count({ where })) > 0
    },
    async deleteExpired() {
      const expired = { where: 'expires_at < $1', orderBy: 'expires_at', values: [clock.now()] }
      return (
        (await deleteInBatches(database, { table: 'oauth_artifact', ...expired })) +
        (await deleteInBatches(database, { table: 'used_proof', ...expired }))
      )
    },
  }
}

/** Converts the error for a code or a token whose consent is not live into an OAuth error. */
function throwAsOauthError(thrown: unknown): never {
  const { code } = toGatewayError(thrown)
  if (code === 'NOT_CONSENTED') throw new errors.InvalidGrant('the consent has ended')
  if (code === 'INTERACTION_EXPIRED') throw new errors.AccessDenied('the consent can no longer be given')
  throw thrown
}
