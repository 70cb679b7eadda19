import { errors, type Adapter, type AdapterPayload, type InteractionResults } from 'oidc-provider'
import { addMs, MINUTE_MS, type Clock } from '../../kernel/clock.ts'
import { toGatewayError } from '../../kernel/errors.ts'
import { digest } from '../../kernel/ids.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { Consents } from '../../modules/consents/index.ts'
import type { Outbox } from '../../modules/outbox/index.ts'
import { deleteInBatches } from '../../storage/batch-delete.ts'
import { tablesIn, type Database, type Tables } from '../../storage/database.ts'

/** Kinds whose id is itself a bearer secret: stored by digest, so that a stolen table opens nothing. */
const SECRET_KINDS = new Set([
  'AccessToken',
  'RefreshToken',
  'AuthorizationCode',
  'ClientCredentials',
  'PushedAuthorizationRequest',
  'Session',
  'Interaction',
])
/** Kinds that open something by themselves, and are remembered by whoever has looked them up. */
const TOKEN_KINDS = new Set(['AccessToken', 'ClientCredentials'])
/** Kinds that a customer's consent stands behind. A client's own token belongs to no grant. */
const CUSTOMER_TOKEN_KINDS = new Set(['AccessToken', 'RefreshToken'])
/**
 * Kinds that the library reads when a request begins and writes as a whole when it ends. One that another request has ended
 * meanwhile stays ended: its row goes on, marked as consumed, for longer than any request takes.
 */
const REWRITABLE_KINDS = new Set(['Session', 'Interaction'])
const TOMBSTONE_TTL_MS = 10 * MINUTE_MS
/** Rows are kept a little past their end, so that a clock that runs behind does not see them vanish. */
const RETENTION_AFTER_EXPIRY_S = 15

/** Tokens, codes and proofs in PostgreSQL. */
export interface OauthStore {
  /** The provider's storage for one of its kinds. */
  adapter(kind: string): Adapter
  /** True the first time that `owner` uses `jti`, false ever after. */
  useOnce(owner: string, jti: string, expiresAt: Date): Promise<boolean>
  /** Whether there still is one of a secret kind, by the digest that it is stored under. */
  exists(kind: string, idDigest: string): Promise<boolean>
  /**
   * Stores what a visit has come to; false if the visit is over, for then it stays so. An agreement replaces nothing, and an
   * error replaces an agreement.
   */
  decideInteraction(uid: string, result: InteractionResults): Promise<boolean>
  /** Takes from a visit, if it is not over, the session that it began in. */
  detachInteractionSession(uid: string): Promise<void>
  /** Deletes every token, code and grant that hangs on the grant. */
  deleteGrant(grantId: string): Promise<void>
  /** Ends the session of a browser's cookie for good, under whichever id it goes on. */
  signOut(sessionId: string): Promise<void>
  /** Whether the session of this `uid`, which stays the same over sign-ins, is open. */
  isSessionActive(uid: string): Promise<boolean>
  /** Ends every session of the customer, in whichever browser. */
  endSessions(customerId: string): Promise<void>
  /** Deletes what has ended; returns how many rows. */
  deleteExpired(): Promise<number>
}

interface ArtifactRow {
  readonly payload: object
  readonly grantId: string | null
  readonly uid: string | null
  readonly customerId: string | null
  readonly expiresAt: Date | null
}

/** What the authorization server's storage is built on. */
export interface OauthStoreDependencies {
  readonly database: Database
  readonly clock: Clock
  readonly outbox: Outbox
  /** What a code, a token and the end of a grant mean for the consent behind them. */
  readonly consents: Pick<Consents, 'activate' | 'redeem' | 'revokeByOauthGrant'>
  /** A client's metadata, or nothing to refuse it. */
  readonly findClientMetadata: (id: string) => Promise<AdapterPayload | undefined>
}

/**
 * The authorization server's storage in PostgreSQL. A consent lives exactly as long as what the client holds of it: it
 * becomes ACTIVE in the transaction that stores its authorization code, and ends with its grant.
 */
export function createOauthStore({
  database,
  clock,
  outbox,
  consents,
  findClientMetadata,
}: OauthStoreDependencies): OauthStore {
  const { tables } = database

  /** Nobody goes on with a token that they remember. */
  async function publishInvalidation(kind: 'TOKEN' | 'OAUTH_GRANT', id: string): Promise<void> {
    outbox.publishLocal({ kind, id })
    await outbox.publish({ kind, id })
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

  /** Writes what has not ended. */
  async function rewrite(tx: Transaction, key: { kind: string; id: string }, row: ArtifactRow): Promise<void> {
    const { oauthArtifact } = tablesIn(tx)
    const { count } = await oauthArtifact.updateMany({ where: { ...key, consumedAt: null }, data: row })
    if (count > 0) return
    // A session goes on under a new id with each sign-in. Where its browser has signed out meanwhile, it does not.
    const isSignedOut = row.uid !== null && (await isSessionSignedOut(tx, row.uid))
    if (!isSignedOut) await oauthArtifact.createMany({ data: [{ ...key, ...row }], skipDuplicates: true })
  }

  /** Whether the session of this `uid` was signed out; holds its rows until the end of `tx`. */
  async function isSessionSignedOut(tx: Transaction, uid: string): Promise<boolean> {
    const rows = await tablesIn(tx).$queryRaw<{ isSignedOut: boolean }[]>`
      select coalesce(payload -> 'isSignedOut' = 'true', false) as "isSignedOut" from oauth_artifact
      where kind = 'Session' and uid = ${uid} for update`
    return rows.some(({ isSignedOut }) => isSignedOut)
  }

  /** What is left of a row of a kind that is rewritten once it has ended: whose it was, for as long as it stays. */
  function createTombstone(payload: { isSignedOut?: true } = {}) {
    const now = clock.now()
    return { payload, consumedAt: now, expiresAt: addMs(now, TOMBSTONE_TTL_MS) }
  }

  async function writeTombstone(kind: string, id: string): Promise<void> {
    await tables.oauthArtifact.updateMany({ where: { kind, id, consumedAt: null }, data: createTombstone() })
  }

  /** Ends sessions under every id that they had or have, so that a request under way brings none of them back. */
  async function endMatchingSessions(where: { uid: string } | { customerId: string }): Promise<void> {
    const data = createTombstone({ isSignedOut: true })
    // The second time also where a sign-in held the rows the first time and has stored a new id since.
    for (let pass = 0; pass < 2; pass++)
      await tables.oauthArtifact.updateMany({ where: { kind: 'Session', ...where }, data })
  }

  /** A code that is used twice at the same moment ends its grant, as one that is used twice in a row does (RFC 6749, 4.1.2). */
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
          await consents.activate(payload.grantId, row.expiresAt, writeWithin).catch(throwAsOauthError)
        else if (CUSTOMER_TOKEN_KINDS.has(kind) && payload.grantId)
          await consents.redeem(payload.grantId, kind === 'RefreshToken', writeWithin).catch(throwAsOauthError)
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
        // Compare and set: of two redemptions at the same moment, one loses.
        const { count } = await tables.oauthArtifact.updateMany({
          where: { kind, id: storageIdOf(id), consumedAt: null },
          data: { consumedAt: clock.now() },
        })
        if (count === 1) return
        if (kind === 'AuthorizationCode') await revokeGrantOfCode(storageIdOf(id))
        throw new errors.InvalidGrant('already used')
      },
      async destroy(id) {
        // The library destroys a grant when its refresh token is revoked (RFC 7009, 2.1) and when a code or a token is used
        // again (RFC 6749, 4.1.2): what the customer agreed to ends with it.
        if (kind === 'Grant') await consents.revokeByOauthGrant(id, 'SYSTEM')
        if (REWRITABLE_KINDS.has(kind)) return writeTombstone(kind, storageIdOf(id))
        await tables.oauthArtifact.deleteMany({ where: { kind, id: storageIdOf(id) } })
        if (TOKEN_KINDS.has(kind)) await publishInvalidation('TOKEN', storageIdOf(id))
      },
      async revokeByGrantId(grantId) {
        await tables.oauthArtifact.deleteMany({ where: { kind, grantId } })
        if (TOKEN_KINDS.has(kind)) await publishInvalidation('OAUTH_GRANT', grantId)
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
    // The library would write the whole visit, and so take back what another request has decided meanwhile.
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
      await tables.oauthArtifact.deleteMany({ where: { OR: [{ grantId }, { kind: 'Grant', id: grantId }] } })
      await publishInvalidation('OAUTH_GRANT', grantId)
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

/** The OAuth error for a code or a token whose consent does not stand behind it. */
function throwAsOauthError(thrown: unknown): never {
  const { code } = toGatewayError(thrown)
  if (code === 'NOT_CONSENTED') throw new errors.InvalidGrant('the consent has ended')
  if (code === 'INTERACTION_EXPIRED') throw new errors.AccessDenied('the consent cannot be given any more')
  throw thrown
}
