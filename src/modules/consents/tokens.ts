import type { BankAccess, BankInterface } from '../../connectors/index.ts'
import { bytesOfData, createBoundedCache } from '../../kernel/cache.ts'
import { addMs, subtractMs, SECOND_MS } from '../../kernel/clock.ts'
import { toGatewayError, GatewayError } from '../../kernel/errors.ts'
import { createBatcher } from '../../kernel/batch.ts'
import { createLoadingCache } from '../../kernel/loading-cache.ts'
import { RETRIES } from '../../kernel/retry.ts'
import { createSharedCalls } from '../../kernel/shared-calls.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import type { ConnectionRow, ConnectionStore } from './connection-store.ts'

/** A connection with its bank tokens, unsealed. */
export interface ConnectionAccess {
  readonly connection: ConnectionRow
  readonly access: BankAccess
}

/** The bank tokens of connections: sealed in the database, and renewed by one process at a time. */
export interface Tokens {
  /** The connection, whether or not it has tokens. */
  findConnection(id: string): Promise<ConnectionRow | undefined>
  /** Reads the tokens from the database. Throws `RECONNECT_REQUIRED` if there are none. */
  read(connectionId: string): Promise<ConnectionAccess>
  /** Like `read`, but synchronous if the tokens are cached. */
  get(connectionId: string, customerId: string): ConnectionAccess | Promise<ConnectionAccess>
  /** Whether the tokens expire so soon that they must be renewed before use. */
  needRenewal(connectionAccess: ConnectionAccess): boolean
  /**
   * Records that the bank rejects tokens that have not expired. Returns whether to renew them: false if there is no refresh
   * token, or if tokens of the connection were rejected within the last 10 minutes.
   */
  recordRejection(connectionAccess: ConnectionAccess): boolean
  /**
   * Renews the tokens, unless they have been renewed since they were read. New tokens are stored before they are returned. Has no
   * timeout of its own, and continues if the caller stops waiting. Throws the bank's error.
   */
  renewTokens(connectionAccess: ConnectionAccess, bank: BankInterface): Promise<BankAccess>
  /** Removes the tokens of a connection from the cache. */
  forget(connectionId: string): void
  /** Resolves when all tokens that this process is renewing are stored. */
  waitUntilIdle(): Promise<void>
}

/** Tokens are renewed this long before they expire. */
const RENEW_BEFORE_MS = 30 * SECOND_MS
/** Longer than any call to a bank. If a process ends during a renewal, others that wait for it can renew after this time. */
const RENEWAL_LEASE_MS = RETRIES.renewalByOthers.timeoutMs
const CACHE_OPTIONS = { maxBytes: 16_777_216, ttlMs: 30 * SECOND_MS }
const REJECTION_CACHE_BYTES = 2_097_152

/**
 * A process claims a renewal in the connection's row, as it claims a fetch of balances (decision 9), so that a slow bank holds no
 * database connection.
 */
export function createTokens({ world, seal, signals }: ConsentsDependencies, connections: ConnectionStore): Tokens {
  const { clock } = world
  const connection = createBatcher(async (ids: readonly string[]) => {
    const found = new Map((await connections.findMany(ids)).map((row) => [row.id, row]))
    return ids.map((id) => found.get(id))
  })
  const cache = createLoadingCache<ConnectionAccess>({
    clock,
    ...CACHE_OPTIONS,
    tagsOf: (connectionAccess) => [connectionAccess.connection.customerId],
    coherence: signals.coherence,
  })
  signals.onSignal((signal) => {
    if (signal.kind === 'CONSENT' && signal.customerId !== null) cache.invalidateTag(signal.customerId)
  })
  const renewals = createSharedCalls<BankAccess>()
  const renewalBlockedUntil = createBoundedCache<Date>({ maxBytes: REJECTION_CACHE_BYTES, bytesOf: bytesOfData })

  async function read(connectionId: string): Promise<ConnectionAccess> {
    const row = await connection(connectionId)
    if (!row?.sealedAccess) throw new GatewayError('RECONNECT_REQUIRED', { internalMessage: 'connection has ended' })
    const access = (await seal.unseal(`connection:${connectionId}`, row.sealedAccess)) as BankAccess
    return { connection: row, access }
  }

  const needRenewal = (connectionAccess: ConnectionAccess): boolean =>
    subtractMs(connectionAccess.connection.tokenExpiresAt, RENEW_BEFORE_MS) <= clock.now()

  /** Renews with a claim. Without one, waits for the tokens of the process that has it, or for the claim. */
  async function renew(old: ConnectionAccess, bank: BankInterface): Promise<BankAccess> {
    const deadlineMs = world.timers.monotonicMs() + RETRIES.renewalByOthers.timeoutMs
    for (;;) {
      const connectionAccess = await read(old.connection.id)
      if (!needRenewal(connectionAccess) && connectionAccess.access.accessToken !== old.access.accessToken)
        return connectionAccess.access
      const claimedUntil = await connections.claimRenewal(connectionAccess.connection, RENEWAL_LEASE_MS)
      if (claimedUntil) return replace(connectionAccess, bank, claimedUntil)
      if (world.timers.monotonicMs() > deadlineMs)
        throw new GatewayError('BANK_TIMEOUT', { internalMessage: 'another process is renewing the tokens' })
      await world.timers.sleep(RETRIES.renewalByOthers.delaysMs[0])
    }
  }

  async function replace(
    { connection: { id }, access }: ConnectionAccess,
    bank: BankInterface,
    claimedUntil: Date,
  ): Promise<BankAccess> {
    let renewed: BankAccess
    try {
      renewed = await bank.refresh(access)
    } catch (error) {
      // The refresh token will not work again, so the customer must reconnect.
      if (toGatewayError(error).code === 'RECONNECT_REQUIRED') await connections.discardAccess(id, claimedUntil)
      else await connections.releaseRenewal(id, claimedUntil)
      throw error
    }
    const replaced = await connections.replaceAccess(
      id,
      claimedUntil,
      await seal.seal(`connection:${id}`, renewed),
      new Date(renewed.expiresAt),
    )
    // The connection has ended, or the claim expired and another process renewed: the stored tokens are the valid ones.
    return replaced ? renewed : (await read(id)).access
  }

  return {
    findConnection: connection,
    read,
    get: (connectionId, customerId) => cache.get(connectionId, () => read(connectionId), [customerId]),
    needRenewal,

    recordRejection({ connection: { id }, access }) {
      const now = clock.now()
      if (access.refreshToken === null || (renewalBlockedUntil.get(id) ?? now) > now) return false
      renewalBlockedUntil.set(id, addMs(now, RETRIES.tokenRenewal.delaysMs[0]))
      return true
    },

    renewTokens(connectionAccess, bank) {
      const connectionId = connectionAccess.connection.id
      return renewals.share(connectionId, () =>
        renew(connectionAccess, bank).finally(() => {
          cache.invalidate(connectionId)
        }),
      )
    },

    forget: (connectionId) => cache.invalidate(connectionId),

    waitUntilIdle: () => renewals.waitUntilIdle(),
  }
}
