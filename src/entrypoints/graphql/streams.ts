import type { ServerResponse } from 'node:http'
import type { BoundedCache } from '../../kernel/cache.ts'
import type { Clock } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'
import type { CustomerCaller, RequestContext } from '../../kernel/request-context.ts'
import { RETRY_AFTER_SECONDS } from '../../kernel/retry-after.ts'
import type { Plan } from './execution/plan.ts'
import { CONTENT_TYPE } from './negotiation.ts'
import { completeEvent, createExpiryTracker, type StreamEndReason } from './stream-end.ts'

/** Root fields of subscriptions. */
export type SubscriptionField = 'alertReceived' | 'consentChanged'

/** One event for the subscribers of a group. */
export interface SubscriptionEvent {
  readonly id: string
  readonly rootValue: object
  /** Each event is a read of its own in the ledger. */
  readonly context: RequestContext
}

/** One open stream. */
export interface Subscriber {
  readonly response: ServerResponse
  readonly tokenId: string
  /** When its token expires. Nothing is sent from then on. */
  readonly expiresAtMs: number
  /** Live events that wait until the missed ones were sent. Undefined after that. */
  queued: SubscriptionEvent[] | undefined
  /** Missed events that were sent after a reconnect. */
  readonly replayedIds: Set<string>
}

/** Subscribers with the same operation, variables, scopes and consent: an event is executed and recorded once for all. */
export interface SubscriptionGroup {
  readonly key: string
  readonly field: SubscriptionField
  readonly caller: CustomerCaller
  readonly context: RequestContext
  readonly plan: Plan
  readonly variables: Readonly<Record<string, unknown>>
  /** Points of one event. A subscription is charged for its start and for each event that is sent again. */
  readonly eventCost: number
  readonly subscribers: Set<Subscriber>
  /** The newest events by ID. The signal of one event can arrive several times, and it is published once. */
  readonly published: BoundedCache<Promise<void>>
}

/** A subscriber with more unread bytes than this is disconnected. */
const MAX_BUFFERED_BYTES = 262_144
/** Open streams in one process: of one client for one customer, and in total. */
const MAX_STREAMS_PER_CUSTOMER = 100
const MAX_STREAMS = 20_000

/** The open streams of this process. */
export type Streams = ReturnType<typeof createStreams>

/** The open streams of this process, in groups by customer. */
export function createStreams(clock: Clock) {
  const groups = new Map<string, Map<string, SubscriptionGroup>>()
  const expiryTracker = createExpiryTracker()
  let streamCount = 0

  const allGroups = (): SubscriptionGroup[] => [...groups.values()].flatMap((ofCustomer) => [...ofCustomer.values()])

  function end(group: SubscriptionGroup, subscriber: Subscriber, reason: StreamEndReason): void {
    if (!group.subscribers.delete(subscriber)) return
    streamCount--
    subscriber.response.end(completeEvent(reason))
    if (group.subscribers.size > 0) return
    const ofCustomer = groups.get(group.caller.customerId)
    ofCustomer?.delete(group.key)
    if (ofCustomer?.size === 0) groups.delete(group.caller.customerId)
  }

  return {
    end,
    allGroups,
    isEmpty: (): boolean => streamCount === 0,

    groupsOf: (customerId: string | null): SubscriptionGroup[] => [...(groups.get(customerId ?? '')?.values() ?? [])],

    endGroup(group: SubscriptionGroup, reason: StreamEndReason): void {
      for (const subscriber of group.subscribers) end(group, subscriber, reason)
    },

    /** Ends the streams whose token has expired. */
    endExpired(): void {
      const nowMs = clock.now().getTime()
      if (!expiryTracker.hasExpired(nowMs)) return
      for (const group of allGroups())
        for (const subscriber of group.subscribers)
          if (nowMs >= subscriber.expiresAtMs) end(group, subscriber, 'TOKEN_EXPIRED')
      expiryTracker.reset(allGroups().flatMap(({ subscribers }) => [...subscribers]))
    },

    /** The group with this key, if there is one. Throws `RATE_LIMITED` if no further stream may be opened. */
    findGroup({ clientId, customerId }: CustomerCaller, key: string): SubscriptionGroup | undefined {
      const ofCustomer = groups.get(customerId)
      let streamsOfClient = 0
      for (const group of ofCustomer?.values() ?? [])
        if (group.caller.clientId === clientId) streamsOfClient += group.subscribers.size
      if (streamsOfClient >= MAX_STREAMS_PER_CUSTOMER || streamCount >= MAX_STREAMS)
        throw new GatewayError('RATE_LIMITED', { retryAfterSeconds: RETRY_AFTER_SECONDS.tooManyStreams })
      return ofCustomer?.get(key)
    },

    add(group: SubscriptionGroup, subscriber: Subscriber): void {
      const ofCustomer = groups.get(group.caller.customerId) ?? new Map<string, SubscriptionGroup>()
      groups.set(group.caller.customerId, ofCustomer.set(group.key, group))
      group.subscribers.add(subscriber)
      expiryTracker.track(subscriber)
      streamCount++
    },

    /** Sends events, encoded once for all subscribers. Ends the stream if its token has expired or it is read too slowly. */
    send(group: SubscriptionGroup, subscriber: Subscriber, encoded: Buffer): void {
      const { response, expiresAtMs } = subscriber
      if (clock.now().getTime() >= expiresAtMs) return void end(group, subscriber, 'TOKEN_EXPIRED')
      if (!response.socket || response.writableLength > MAX_BUFFERED_BYTES) return void end(group, subscriber, 'RESUME')
      response.write(encoded)
    },
  }
}

/** Headers of a stream. */
export const STREAM_HEADERS = {
  'content-type': CONTENT_TYPE.EVENT_STREAM,
  'x-accel-buffering': 'no',
}

/** A comment, which keeps the connection open. */
export const KEEP_ALIVE = Buffer.from(':\n\n')
