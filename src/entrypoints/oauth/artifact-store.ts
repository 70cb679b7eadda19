import { errors, type Adapter, type AdapterPayload } from 'oidc-provider'
import type { Clock } from '../../kernel/clock.ts'
import { digest } from '../../kernel/ids.ts'
import type { Signal } from '../../kernel/signal.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database, type Tables } from '../../storage/database.ts'
import type { Signals } from '../../storage/signals.ts'
import { REWRITABLE_KINDS, SECRET_KINDS, TOKEN_KINDS } from './artifact-kinds.ts'
import { changesConsent, endConsentOfGrant, issueUnderConsent, type ConsentsOfGrants } from './consent-effects.ts'
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
  readonly consents: ConsentsOfGrants
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
    if (code?.grantId) await endConsentOfGrant(consents, code.grantId)
  }

  /** Stores an artifact; `consent-effects.ts` says what that changes for its consent. */
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
    const { grantId: oauthGrantId, expiresAt } = row
    if (changesConsent(kind) && oauthGrantId !== null && !payload.consumed) {
      if (expiresAt === null) throw new TypeError('a code or a token without an expiry')
      await issueUnderConsent(consents, kind, { oauthGrantId, expiresAt, store: (tx) => upsertRow(tablesIn(tx)) })
    } else if (REWRITABLE_KINDS.has(kind)) await database.transaction((tx) => rewrite(tx, key, row))
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
        if (kind === 'Grant') await endConsentOfGrant(consents, id)
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
