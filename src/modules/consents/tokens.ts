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

/** What the bank gave us for a connection. */
export interface ConnectionAccess {
  readonly connection: ConnectionRow
  readonly access: BankAccess
}

/** The bank tokens of each connection, sealed at rest, and renewed by one process at a time. */
export interface Tokens {
  /** The connection itself, whether or not there are tokens. */
  findConnection(id: string): Promise<ConnectionRow | undefined>
  /** As they are kept. Throws `RECONNECT_REQUIRED` where there are none. */
  read(connectionId: string): Promise<ConnectionAccess>
  /** The same, at once where this process remembers them. */
  get(connectionId: string, customerId: string): ConnectionAccess | Promise<ConnectionAccess>
  /** Whether they end so soon that they must be renewed before they are used. */
  needRenewal(held: ConnectionAccess): boolean
  /**
   * Notes that the bank refuses them before their time, and says whether new ones may help: where there is a way to get
   * any, and it was not gone a moment ago.
   */
  noteRefusal(held: ConnectionAccess): boolean
  /**
   * Others than these: renewed, unless somebody did so already, and stored before anybody uses them. Takes as long as the
   * bank does, and goes on where nobody waits for it any more. Throws what the bank said.
   */
  renewTokens(held: ConnectionAccess, bank: BankInterface): Promise<BankAccess>
  forget(connectionId: string): void
  /** Resolves once what this process renews is stored. */
  waitUntilIdle(): Promise<void>
}

/** Tokens are renewed this long before they end. */
const RENEW_BEFORE_MS = 30 * SECOND_MS
/** Longer than a bank may take. A process that ends meanwhile keeps others from renewing for no longer than this. */
const RENEWAL_LEASE_MS = 30 * SECOND_MS
const CACHE_OPTIONS = { maxBytes: 16_777_216, ttlMs: 30 * SECOND_MS }
const REFUSAL_CACHE_BYTES = 2_097_152

/**
 * Who renews is claimed in the connection's row, as whoever looks is (decision 9): while a bank takes its time, no
 * connection to the database is held.
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
    tagsOf: (held) => [held.connection.customerId],
    coherence: signals.coherence,
  })
  signals.onSignal((signal) => {
    if (signal.kind === 'CONSENT' && signal.customerId !== null) cache.invalidateTag(signal.customerId)
  })
  const renewals = createSharedCalls<BankAccess>()
  const refusedUntil = createBoundedCache<Date>({ maxBytes: REFUSAL_CACHE_BYTES, bytesOf: bytesOfData })

  async function read(connectionId: string): Promise<ConnectionAccess> {
    const row = await connection(connectionId)
    if (!row?.sealedAccess) throw new GatewayError('RECONNECT_REQUIRED', { internalMessage: 'connection has ended' })
    const access = (await seal.unseal(`connection:${connectionId}`, row.sealedAccess)) as BankAccess
    return { connection: row, access }
  }

  const needRenewal = (held: ConnectionAccess): boolean =>
    subtractMs(held.connection.tokenExpiresAt, RENEW_BEFORE_MS) <= clock.now()

  /** Whoever gets the claim renews; the others find new tokens, or try for the claim again. */
  async function renew(old: ConnectionAccess, bank: BankInterface): Promise<BankAccess> {
    const deadlineMs = world.timers.monotonicMs() + RENEWAL_LEASE_MS
    for (;;) {
      const held = await read(old.connection.id)
      if (!needRenewal(held) && held.access.accessToken !== old.access.accessToken) return held.access
      const claimedUntil = await connections.claimRenewal(held.connection, RENEWAL_LEASE_MS)
      if (claimedUntil) return replace(held, bank, claimedUntil)
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
      // The bank will not take this token again; asking on would only be asked again.
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
    // It ended meanwhile, or took so long that another process renewed: what is stored is what counts.
    return replaced ? renewed : (await read(id)).access
  }

  return {
    findConnection: connection,
    read,
    get: (connectionId, customerId) => cache.get(connectionId, () => read(connectionId), [customerId]),
    needRenewal,

    noteRefusal({ connection: { id }, access }) {
      const now = clock.now()
      if (access.refreshToken === null || (refusedUntil.get(id) ?? now) > now) return false
      refusedUntil.set(id, addMs(now, RETRIES.tokenRenewal.delaysMs[0]))
      return true
    },

    renewTokens(held, bank) {
      const connectionId = held.connection.id
      return renewals.share(connectionId, () =>
        renew(held, bank).finally(() => {
          cache.invalidate(connectionId)
        }),
      )
    },

    forget: (connectionId) => cache.invalidate(connectionId),

    waitUntilIdle: () => renewals.waitUntilIdle(),
  }
}
