import type { Adapter, InteractionResults } from 'oidc-provider'
import { digest } from '../../kernel/ids.ts'
import { expiredBefore } from '../../kernel/retention.ts'
import { deleteInBatches } from '../../storage/batch-delete.ts'
import { artifactStore, type ArtifactStoreDependencies } from './artifact-store.ts'
import { sessionStore } from './session-store.ts'

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
  deleteExpired(table: 'oauth_artifact' | 'used_proof'): Promise<number>
}

/**
 * The authorization server's storage in PostgreSQL. A consent becomes ACTIVE in the transaction that stores its authorization
 * code, and ends with its grant.
 */
export function createOauthStore(dependencies: ArtifactStoreDependencies): OauthStore {
  const { database, clock } = dependencies
  const { tables } = database
  const { adapter, deleteTokens } = artifactStore(dependencies)
  return {
    adapter,
    ...sessionStore(database, clock),
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
    deleteExpired(table) {
      const expired = { where: 'expires_at < $1', orderBy: 'expires_at', values: [expiredBefore(table, clock.now())] }
      return table === 'used_proof'
        ? deleteInBatches(database, { table: 'used_proof', ...expired })
        : deleteInBatches(database, { table: 'oauth_artifact', ...expired })
    },
  }
}
