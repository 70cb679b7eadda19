import type { BankAccess, BankInterface } from '../../connectors/index.ts'
import { bytesOfData, createCache } from '../../kernel/cache.ts'
import { later, MINUTE_MS, SECOND_MS } from '../../kernel/clock.ts'
import { asGatewayError, GatewayError } from '../../kernel/errors.ts'
import { createGather } from '../../kernel/gather.ts'
import { createMemory } from '../../kernel/memory.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import type { ConnectionRow } from './connection-store.ts'
import type { ConsentStore } from './store.ts'

/** What the bank gave us for a connection. */
export interface Held {
  readonly connection: ConnectionRow
  readonly access: BankAccess
}

/** The bank tokens of each connection, sealed at rest, and renewed by one process at a time. */
export interface Tokens {
  /** The connection itself, whether or not there are tokens. */
  connection(id: string): Promise<ConnectionRow | undefined>
  /** As they are kept. Throws `RECONNECT_REQUIRED` where there are none. */
  read(connectionId: string): Promise<Held>
  /** The same, at once where this process remembers them. */
  known(connectionId: string, customerId: string): Held | Promise<Held>
  /** Whether they end so soon that they must be renewed before they are used. */
  areDue(held: Held): boolean
  /**
   * Notes that the bank refuses them before their time, and says whether new ones may help: where there is a way to get
   * any, and it was not gone a moment ago.
   */
  refused(held: Held): boolean
  /**
   * Others than these: renewed, unless somebody did so already, and stored before anybody uses them. Takes as long as the
   * bank does, and goes on where nobody waits for it any more. Throws what the bank said.
   */
  renewed(held: Held, bank: BankInterface): Promise<BankAccess>
  forget(connectionId: string): void
  /** Resolves once what this process renews is stored. */
  settled(): Promise<void>
}

/** Tokens are renewed this long before they end. */
const RENEW_BEFORE_MS = 30 * SECOND_MS
/** Longer than a bank may take. A process that ends meanwhile keeps others from renewing for no longer than this. */
const RENEWAL_MS = 30 * SECOND_MS
/** How often to see whether another process is done. */
const SEE_EVERY_MS = 50
const REMEMBERED = { maxBytes: 16_777_216, ttlMs: 30 * SECOND_MS }
/** A bank that refuses the new tokens as well is not asked for others before this. */
const REFUSED = { maxBytes: 2_097_152, forMs: 10 * MINUTE_MS }

/**
 * Who renews is claimed in the connection's row, as whoever looks is (decision 9): while a bank takes its time, no
 * connection to the database is held.
 */
export function createTokens({ world, seal, outbox }: ConsentsDependencies, store: ConsentStore): Tokens {
  const { clock } = world
  const connection = createGather(async (ids: readonly string[]) => {
    const found = new Map((await store.connections(ids)).map((row) => [row.id, row]))
    return ids.map((id) => found.get(id))
  })
  const memory = createMemory<Held>({
    clock,
    ...REMEMBERED,
    tagsOf: (held) => [held.connection.customerId],
    trusted: outbox.hearing,
  })
  outbox.onSignal((signal) => {
    if (signal.kind === 'CONSENT' && signal.customerId !== null) memory.forgetTagged(signal.customerId)
  })
  const renewing = new Map<string, Promise<BankAccess>>()
  const refusedUntil = createCache<Date>({ maxBytes: REFUSED.maxBytes, bytesOf: bytesOfData })

  async function read(connectionId: string): Promise<Held> {
    const row = await connection(connectionId)
    if (!row?.sealedAccess) throw new GatewayError('RECONNECT_REQUIRED', { internal: 'connection has ended' })
    const access = (await seal.open(`connection:${connectionId}`, row.sealedAccess)) as BankAccess
    return { connection: row, access }
  }

  const areDue = (held: Held): boolean => later(held.connection.tokenExpiresAt, -RENEW_BEFORE_MS) <= clock.now()

  /** Whoever gets the claim renews; the others find new tokens, or try for the claim again. */
  async function renew(old: Held, bank: BankInterface): Promise<BankAccess> {
    const giveUpAtMs = performance.now() + RENEWAL_MS
    for (;;) {
      const held = await read(old.connection.id)
      if (!areDue(held) && held.access.accessToken !== old.access.accessToken) return held.access
      const until = await store.claimRenewal(held.connection, RENEWAL_MS)
      if (until) return replace(held, bank, until)
      if (performance.now() > giveUpAtMs) throw new GatewayError('BANK_TIMEOUT', { internal: 'another process renews' })
      await new Promise((resolve) => setTimeout(resolve, SEE_EVERY_MS))
    }
  }

  async function replace({ connection: { id }, access }: Held, bank: BankInterface, until: Date): Promise<BankAccess> {
    let next: BankAccess
    try {
      next = await bank.refresh(access)
    } catch (error) {
      // The bank will not take this token again; asking on would only be asked again.
      if (asGatewayError(error).code === 'RECONNECT_REQUIRED') await store.loseAccess(id, until)
      else await store.releaseRenewal(id, until)
      throw error
    }
    const replaced = await store.replaceAccess(
      id,
      until,
      await seal.seal(`connection:${id}`, next),
      new Date(next.expiresAt),
    )
    // It ended meanwhile, or took so long that another process renewed: what is stored is what counts.
    return replaced ? next : (await read(id)).access
  }

  return {
    connection,
    read,
    known: (connectionId, customerId) => memory.get(connectionId, () => read(connectionId), [customerId]),
    areDue,

    refused({ connection: { id }, access }) {
      const now = clock.now()
      if (access.refreshToken === null || (refusedUntil.get(id) ?? now) > now) return false
      refusedUntil.set(id, later(now, REFUSED.forMs))
      return true
    },

    renewed(held, bank) {
      const connectionId = held.connection.id
      let renewal = renewing.get(connectionId)
      if (!renewal) {
        renewal = renew(held, bank).finally(() => {
          renewing.delete(connectionId)
          memory.forget(connectionId)
        })
        renewing.set(connectionId, renewal)
      }
      return renewal
    },

    forget: (connectionId) => memory.forget(connectionId),

    async settled() {
      await Promise.allSettled(renewing.values())
    },
  }
}
