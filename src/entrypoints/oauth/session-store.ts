import { addMs, MINUTE_MS, type Clock } from '../../kernel/clock.ts'
import { digest } from '../../kernel/ids.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'

/** How long a tombstone stays: longer than any request takes. */
const TOMBSTONE_TTL_MS = 10 * MINUTE_MS

/** The data of a tombstone. The row retains its `uid` and `customerId`. */
export function createTombstone(now: Date, payload: { isSignedOut?: true } = {}) {
  return { payload, consumedAt: now, expiresAt: addMs(now, TOMBSTONE_TTL_MS) }
}

/** Whether the session with this `uid` was signed out; locks its rows until the end of `tx`. */
export async function isSessionSignedOut(tx: Transaction, uid: string): Promise<boolean> {
  const rows = await tablesIn(tx).$queryRaw<{ isSignedOut: boolean }[]>`
    select coalesce(payload -> 'isSignedOut' = 'true', false) as "isSignedOut" from oauth_artifact
    where kind = 'Session' and uid = ${uid} for update`
  return rows.some(({ isSignedOut }) => isSignedOut)
}

/** Ends sessions of browsers. */
export function sessionStore({ tables }: Database, clock: Clock) {
  /** Ends sessions under every ID that they have or had, so that no request in progress restores them. */
  async function endMatchingSessions(where: { uid: string } | { customerId: string }): Promise<void> {
    const data = createTombstone(clock.now(), { isSignedOut: true })
    // The second pass ends a session to which a concurrent sign-in gave a new ID while it held the row locks.
    for (let pass = 0; pass < 2; pass++)
      await tables.oauthArtifact.updateMany({ where: { kind: 'Session', ...where }, data })
  }

  return {
    /** Ends all sessions of the customer in all browsers. */
    endSessions: (customerId: string): Promise<void> => endMatchingSessions({ customerId }),

    /** Ends a browser's session permanently, under every ID that it has had or gets. */
    async signOut(sessionId: string): Promise<void> {
      const where = { kind_id: { kind: 'Session', id: digest(sessionId) } }
      const session = await tables.oauthArtifact.findUnique({ where, select: { uid: true } })
      if (session?.uid) await endMatchingSessions({ uid: session.uid })
    },

    /** Whether the session with this `uid`, which stays the same across sign-ins, is open. */
    async isSessionActive(uid: string): Promise<boolean> {
      const where = { kind: 'Session', uid, consumedAt: null, expiresAt: { gt: clock.now() } }
      return (await tables.oauthArtifact.count({ where })) > 0
    },
  }
}
