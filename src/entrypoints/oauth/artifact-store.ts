import { errors, type Adapter, type AdapterPayload } from 'oidc-provider'
import type { Clock } from '../../kernel/clock.ts'
import { toGatewayError } from '../../kernel/errors.ts'
import { digest } from '../../kernel/ids.ts'
import type { Signal } from '../../kernel/signal.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { Consents } from '../../modules/consents/index.ts'
import { tablesIn, type Database, type Tables } from '../../storage/database.ts'
import type { Signals } from '../../storage/signals.ts'
import { CUSTOMER_TOKEN_KINDS, REWRITABLE_KINDS, SECRET_KINDS, TOKEN_KINDS } from './artifact-kinds.ts'
import { createTombstone, isSessionSignedOut } from './session-store.ts'

/** Rows are retained a little past their expiry, for processes whose clock runs behind. */
const RETENTION_AFTER_EXPIRY_S = 15

type ArtifactFilter = NonNullable<NonNullable<Parameters<Tables['oauthArtifact']['deleteMany']>[0]>['where']>

interface ArtifactRow {
  readonly payload: object
  readonly grantId: string | null
  readonly uid: string | null
  readonly customerId: string | null
  readonly expiresAt: Date | null
}

/** Dependencies of the artifacts. */
export interface ArtifactStoreDependencies {
  readonly database: Database
  readonly clock: Clock
  readonly signals: Signals
  /** Updates the consent when a code or a token is issued and when a grant ends. */
  readonly consents: Pick<Consents, 'optIn' | 'revokeByOauthGrant'>
  /** A client's metadata; undefined rejects the client. */
  readonly findClientMetadata: (id: string) => Promise<AdapterPayload | undefined>
}

/** The provider's storage adapters, and the deletion of tokens. */
export function artifactStore({ database, clock, signals, consents, findClientMetadata }: ArtifactStoreDependencies) {
  const { tables } = database

  /** Deletes tokens and removes them from the caches of all processes. */
  async function deleteTokens(where: ArtifactFilter, signal: Signal): Promise<void> {
    await database.transaction(async (tx) => {
      await tablesIn(tx).oauthArtifact.deleteMany({ where })
      await signals.publish(tx, signal)
    })
  }

  async function writeTombstone(kind: string, id: string): Promise<void> {
    await tables.oauthArtifact.updateMany({ where: { kind, id, consumedAt: null }, data: createTombstone(clock.now()) })
  }

  /** Two concurrent uses of a code end its grant, as two consecutive uses do (RFC 6749, 4.1.2). */
  async function revokeGrantOfCode(codeKey: string): Promise<void> {
    const code = await tables.oauthArtifact.findFirst({ where: { kind: 'AuthorizationCode', id: codeKey } })
    if (code?.grantId) await consents.revokeByOauthGrant(code.grantId, 'SYSTEM')
  }

  /** Issuing a code or a token also updates the consent, in the same transaction. */
  async function upsert(
    kind: string,
    storageId: string,
    payload: AdapterPayload,
    expiresIn: number | undefined,
  ): Promise<void> {
    const { jti, ...rest } = payload
    const storedPayload = JSON.parse(JSON.stringify(SECRET_KINDS.has(kind) ? rest : { ...rest, jti })) as object
    const row: ArtifactRow = {
      payload: storedPayload,
      grantId: payload.grantId ?? null,
      uid: kind === 'Session' ? (payload.uid ?? null) : null,
      customerId: kind === 'Session' ? (payload.accountId ?? null) : null,
      expiresAt: expiresIn ? new Date(clock.now().getTime() + (expiresIn + RETENTION_AFTER_EXPIRY_S) * 1_000) : null,
    }
    const key = { kind, id: storageId }
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
  }

  function adapter(kind: string): Adapter {
    const storageIdOf = (id: string): string => (SECRET_KINDS.has(kind) ? digest(id) : id)
    const notExpired = () => ({
      OR: [{ expiresAt: null }, { expiresAt: { gt: clock.now() } }],
      ...(REWRITABLE_KINDS.has(kind) && { consumedAt: null }),
    })
    return {
      upsert: (id, payload, expiresIn) => upsert(kind, storageIdOf(id), payload, expiresIn),
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

  return { adapter, deleteTokens }
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

/** Converts the error for a code or a token whose consent is not live into an OAuth error. */
function throwAsOauthError(thrown: unknown): never {
  const { code } = toGatewayError(thrown)
  if (code === 'NOT_CONSENTED') throw new errors.InvalidGrant('the consent has ended')
  if (code === 'INTERACTION_EXPIRED') throw new errors.AccessDenied('the consent can no longer be given')
  throw thrown
}
