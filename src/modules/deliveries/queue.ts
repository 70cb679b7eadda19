import { createInFlight } from '../../kernel/in-flight.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Consents, Grant } from '../consents/index.ts'
import type { Attempts } from './attempts.ts'
import type { ClaimStore, EndpointLoad } from './claim-store.ts'
import { ENDPOINT_LIMIT, type EndpointLimits } from './endpoint-limits.ts'
import { findGrantsOf } from './grants.ts'
import { CLAIM_LEASE_MS, CONCURRENCY, MAX_START_DELAY_MS, type ClaimedDelivery } from './model.ts'
import { settlementStore } from './settlement-store.ts'

/** The deliveries that are due, as one process works on them. */
export interface DeliveryQueue {
  /**
   * Claims due deliveries, as many as the limits allow, and starts one attempt of each whose consent, client and endpoint are
   * active; ends the others as DROPPED. Returns their number. Calls `onEnd` when further deliveries may be due that the limits
   * did not admit: when an attempt has ended, or one was dropped. Rejects if the consents could not be read in time; the claimed
   * deliveries are then due again.
   */
  startDue(onEnd: () => void): Promise<number>
  /** The number of deliveries whose next attempt is due. 10,000 means 10,000 or more. */
  countDue(): Promise<number>
  /** Resolves once every attempt in flight has ended. */
  waitUntilIdle(): Promise<void>
}

/** The dependencies of the queue. */
export interface DeliveryQueueDependencies {
  readonly database: Database
  readonly world: Pick<World, 'clock' | 'timers'>
  readonly consents: Consents
  readonly claims: ClaimStore
  readonly attempts: Attempts
  readonly limits: EndpointLimits
}

const MAX_COUNTED = 10_000

/** The limits that a claim reached: deliveries that are due may be waiting because of them. Without any, all of them were claimed. */
interface ReachedLimits {
  readonly endpointIds: ReadonlySet<string>
  readonly clientIds: ReadonlySet<string>
  /** Whether it is the limit of the process. */
  readonly isTotal: boolean
}

/** Creates the queue; it does nothing until `startDue`. */
export function createDeliveryQueue(dependencies: DeliveryQueueDependencies): DeliveryQueue {
  const { database, consents, claims, attempts, limits } = dependencies
  const { clock, timers } = dependencies.world
  const inFlight = createInFlight()
  /** The attempts in flight of each client. */
  const countByClient = new Map<string, number>()

  /** The endpoints whose load or limit differs from that of a new one. */
  function currentLoads(): ReadonlyMap<string, EndpointLoad> {
    const counts = inFlight.countByGroup()
    const ids = new Set([...counts.keys(), ...limits.endpointIds])
    return new Map([...ids].map((id) => [id, { inFlight: counts.get(id) ?? 0, limit: limits.limitOf(id) }]))
  }

  let reached: ReachedLimits = { endpointIds: new Set(), clientIds: new Set(), isTotal: false }
  /** The deliveries whose attempts have ended since the last claim started. */
  let ended: ClaimedDelivery[] = []

  function start(delivery: ClaimedDelivery, grant: Grant | undefined, onEnd: () => void): void {
    const { clientId } = delivery.endpoint
    countByClient.set(clientId, (countByClient.get(clientId) ?? 0) + 1)
    inFlight.start(
      delivery.webhookEndpointId,
      async () => {
        await attempts.run(delivery, grant)
        const count = countByClient.get(clientId)! - 1
        if (count === 0) countByClient.delete(clientId)
        else countByClient.set(clientId, count)
      },
      () => {
        // When the attempt is no longer counted.
        ended.push(delivery)
        if (makesRoom(delivery, reached)) onEnd()
      },
    )
  }

  /** Releases the claims if there is not enough time left to attempt them, which another process would repeat after the lease. */
  async function findGrantsInTime(
    claimed: readonly ClaimedDelivery[],
    claimStartedAtMs: number,
  ): Promise<ReadonlyMap<string, Grant>> {
    try {
      const grantById = await findGrantsOf(database.delivery, consents, claimed)
      const delayMs = Math.round(timers.monotonicMs() - claimStartedAtMs)
      if (delayMs > MAX_START_DELAY_MS) throw new Error(`claimed deliveries could not start for ${delayMs} ms`)
      return grantById
    } catch (error) {
      // If this fails too, the deliveries are due when their lease ends.
      await claims.release(claimed).catch(() => undefined)
      throw error
    }
  }

  return {
    async startDue(onEnd) {
      const freeSlots = CONCURRENCY.total - inFlight.count
      if (freeSlots <= 0) return 0
      const loads = currentLoads()
      const countByClientBefore = new Map(countByClient)
      ended = []
      const claimStartedAtMs = timers.monotonicMs()
      const claimed = await claims.claim(
        { ...CONCURRENCY, perEndpoint: ENDPOINT_LIMIT.initial, freeSlots, loads },
        clock.now(),
        CLAIM_LEASE_MS,
      )
      reached = reachedLimits(claimed, { freeSlots, loads, countByClient: countByClientBefore })
      if (ended.some((delivery) => makesRoom(delivery, reached))) onEnd()
      if (claimed.length === 0) return 0
      // Between the claim and the requests, so that nothing is sent under a consent that has ended.
      const grantById = await findGrantsInTime(claimed, claimStartedAtMs)
      const dropped: ClaimedDelivery[] = []
      for (const delivery of claimed) {
        const grant = grantById.get(delivery.id)
        if (delivery.endpoint.isActive && (grant || delivery.subject === null)) start(delivery, grant, onEnd)
        else dropped.push(delivery)
      }
      if (dropped.length > 0) {
        await settlementStore.drop(database.delivery, dropped, clock.now())
        onEnd()
      }
      return claimed.length
    },
    countDue: () => claims.countDue(clock.now(), MAX_COUNTED),
    waitUntilIdle: () => inFlight.waitUntilIdle(),
  }
}

/** What was in flight before a claim. */
interface LoadBefore {
  readonly freeSlots: number
  readonly loads: ReadonlyMap<string, EndpointLoad>
  readonly countByClient: ReadonlyMap<string, number>
}

function reachedLimits(
  claimed: readonly ClaimedDelivery[],
  { freeSlots, loads, countByClient }: LoadBefore,
): ReachedLimits {
  const newLoad: EndpointLoad = { inFlight: 0, limit: ENDPOINT_LIMIT.initial }
  const countByEndpoint = new Map([...loads].map(([id, { inFlight }]) => [id, inFlight]))
  const totalByClient = new Map(countByClient)
  for (const { webhookEndpointId, endpoint } of claimed) {
    countByEndpoint.set(webhookEndpointId, (countByEndpoint.get(webhookEndpointId) ?? 0) + 1)
    totalByClient.set(endpoint.clientId, (totalByClient.get(endpoint.clientId) ?? 0) + 1)
  }
  return {
    endpointIds: keysWhere(countByEndpoint, (count, id) => count >= (loads.get(id) ?? newLoad).limit),
    clientIds: keysWhere(totalByClient, (count) => count >= CONCURRENCY.perClient),
    isTotal: claimed.length >= freeSlots - CONCURRENCY.reserved,
  }
}

const keysWhere = (
  counts: ReadonlyMap<string, number>,
  isChosen: (count: number, key: string) => boolean,
): ReadonlySet<string> => new Set([...counts].filter(([key, count]) => isChosen(count, key)).map(([key]) => key))

/** Whether the end of this delivery may let another one be claimed. In an order, the next message about the customer waited for it. */
const makesRoom = (
  { webhookEndpointId, endpoint: { clientId }, isInOrder }: ClaimedDelivery,
  { endpointIds, clientIds, isTotal }: ReachedLimits,
): boolean => isInOrder || isTotal || endpointIds.has(webhookEndpointId) || clientIds.has(clientId)
