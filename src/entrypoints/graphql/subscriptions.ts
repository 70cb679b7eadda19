import type { ServerResponse } from 'node:http'
import { bytesOfData, createBoundedCache, type BoundedCache } from '../../kernel/cache.ts'
import { SECOND_MS, type Clock } from '../../kernel/clock.ts'
import { toGatewayError, GatewayError } from '../../kernel/errors.ts'
import type { HttpResponse, HttpRequest } from '../../kernel/http.ts'
import { digest } from '../../kernel/ids.ts'
import { errorTrace, type Log } from '../../kernel/log.ts'
import type { CustomerCaller, RequestContext } from '../../kernel/request-context.ts'
import type { Alert, Alerts } from '../../modules/alerts/index.ts'
import type { Charge, Clients } from '../../modules/clients/index.ts'
import type { Consent, Consents } from '../../modules/consents/index.ts'
import type { Outbox, Signal } from '../../modules/outbox/index.ts'
import { CONTENT_TYPE } from './negotiation.ts'
import { MIN_COST, type OperationResponse, type Operations } from './operation.ts'
import type { Plan } from './plan.ts'
import { authorizationKey } from './planner.ts'
import type { ParsedOperation } from './read-document.ts'
import type { GraphqlContext } from './apollo.ts'
import { completeEvent, createExpiryTracker, type StreamEndReason } from './stream-end.ts'

/** What subscriptions depend on. */
export interface SubscriptionDependencies {
  readonly operations: Operations
  readonly alerts: Alerts
  readonly clients: Clients
  readonly consents: Consents
  readonly outbox: Outbox
  /** Whether the caller's token, its client and its consent still open anything. */
  readonly isStillAuthorized: (caller: CustomerCaller) => Promise<boolean>
  readonly clock: Clock
  readonly log: Log
}

type SubscriptionField = 'alertReceived' | 'consentChanged'

interface Subscriber {
  readonly response: ServerResponse
  readonly tokenId: string
  /** When its token expires: from then on it is sent nothing. */
  readonly expiresAtMs: number
  /** What came live before the listener was ready for it. */
  queued: SubscriptionEvent[] | undefined
  /** What one that came back was given of what it missed. */
  readonly replayedIds: Set<string>
}

/** Listeners who ask the same of the same: an event is answered and recorded once, and written to each. */
interface SubscriptionGroup {
  readonly key: string
  readonly field: SubscriptionField
  readonly caller: CustomerCaller
  readonly context: RequestContext
  readonly plan: Plan
  readonly variables: Readonly<Record<string, unknown>>
  /** Points for one event: what beginning costs, and each event that is sent again. */
  readonly eventCost: number
  readonly subscribers: Set<Subscriber>
  /** The newest events by their IDs, since the signal of one arrives in several ways. */
  readonly published: BoundedCache<Promise<void>>
}

interface SubscriptionEvent {
  readonly id: string
  readonly rootValue: object
  /** Each event is a reading of its own. */
  readonly context: RequestContext
}

const KEEP_ALIVE_MS = 12_000
/** A listener that reads nothing is cut rather than waited for. */
const MAX_BUFFERED_BYTES = 262_144
/** Open streams of one client for one customer, in one process, and of everybody. */
const MAX_STREAMS_PER_CUSTOMER = 100
const MAX_STREAMS = 20_000
/** About 64 events of a group, so that none is published twice. */
const PUBLISHED_CACHE_BYTES = 20_480

/** Subscriptions over server-sent events, in the distinct-connections mode of the GraphQL-over-SSE protocol. */
export interface Subscriptions {
  subscribe(
    request: HttpRequest,
    requested: { readonly operation: ParsedOperation; readonly variables: Readonly<Record<string, unknown>> },
    context: GraphqlContext,
  ): Promise<HttpResponse>
  start(): void
  stop(): void
}

/** Keeps the live listeners of this process; each event is opened by the live consent before anything is sent. */
export function createSubscriptions(dependencies: SubscriptionDependencies): Subscriptions {
  const { operations, alerts, clients, consents, outbox, isStillAuthorized, clock, log } = dependencies
  const groups = new Map<string, Map<string, SubscriptionGroup>>()
  let streamCount = 0
  let keepAliveTimer: NodeJS.Timeout | undefined
  let expiryTimer: NodeJS.Timeout | undefined
  const expiryTracker = createExpiryTracker()
  let unsubscribe: () => void = () => undefined

  const allGroups = (): SubscriptionGroup[] => [...groups.values()].flatMap((ofCustomer) => [...ofCustomer.values()])
  const groupsOf = (customerId: string | null): SubscriptionGroup[] => [
    ...(groups.get(customerId ?? '')?.values() ?? []),
  ]

  function onSignal(signal: Signal): void {
    if (streamCount === 0) return
    handleSignal(signal).catch((error: unknown) => {
      // What was not sent live is not lost: clients reconnect with the ID of the last event that they received.
      log.error('subscription.failed', { trace: errorTrace(error) })
      for (const group of allGroups()) endGroup(group, 'RESUME')
    })
  }

  async function handleSignal(signal: Signal): Promise<void> {
    // Nothing is read for a listener whose token has expired.
    endExpired()
    if (signal.kind === 'ALERT') {
      const found = await alerts.findWithCustomer(signal.id)
      const affectedGroups = groupsOf(found?.customerId ?? null).filter(({ field }) => field === 'alertReceived')
      if (found) await Promise.all(affectedGroups.map((group) => publishAlert(group, found.alert)))
    }
    if (signal.kind === 'CONSENT') {
      const changed = await consents.find(signal.id)
      for (const group of groupsOf(signal.customerId)) {
        if (changed?.clientId !== group.caller.clientId) continue
        if (group.field === 'consentChanged') await publish(group, buildConsentEvent(group, changed))
        if (changed.id === group.caller.consentId && changed.status !== 'ACTIVE') endGroup(group, 'NOT_AUTHORIZED')
      }
    }
    if (signal.kind === 'CLIENT' && (await clients.find(signal.id))?.status !== 'ACTIVE')
      for (const group of allGroups()) if (group.caller.clientId === signal.id) endGroup(group, 'NOT_AUTHORIZED')
    if (signal.kind === 'TOKEN')
      for (const group of allGroups())
        for (const listener of group.subscribers)
          if (listener.tokenId === signal.id) endStream(group, listener, 'NOT_AUTHORIZED')
  }

  async function publishAlert(group: SubscriptionGroup, alert: Alert): Promise<void> {
    const context = { ...group.context }
    const view = await alerts.viewFor(group.caller, context, alert)
    if (view) await publish(group, { id: view.publicId, rootValue: { alertReceived: view }, context })
  }

  /** Answers an event once for all listeners of the group. A listener that still catches up gets it after that. */
  function publish(group: SubscriptionGroup, event: SubscriptionEvent): Promise<void> {
    let publishing = group.published.get(event.id)
    if (!publishing) group.published.set(event.id, (publishing = publishNew(group, event)))
    return publishing
  }

  async function publishNew(group: SubscriptionGroup, event: SubscriptionEvent): Promise<void> {
    const ready: Subscriber[] = []
    for (const listener of group.subscribers)
      if (listener.queued) listener.queued.push(event)
      else if (!listener.replayedIds.has(event.id)) ready.push(listener)
    if (ready.length > 0) await sendEvent(group, event, ready)
  }

  async function sendEvent(
    group: SubscriptionGroup,
    event: SubscriptionEvent,
    subscribers: readonly Subscriber[],
  ): Promise<void> {
    const { plan, variables } = group
    const { context, rootValue } = event
    const result = await operations.executeEvent(plan, variables, { context, variables, rootValue })
    const text = encodeChunk(`event: next\nid: ${event.id}\ndata: ${result}\n\n`)
    for (const listener of subscribers) if (group.subscribers.has(listener)) send(group, listener, text)
  }

  function send(group: SubscriptionGroup, listener: Subscriber, chunk: Buffer): void {
    const { socket } = listener.response
    if (clock.now().getTime() >= listener.expiresAtMs) return void endStream(group, listener, 'TOKEN_EXPIRED')
    if (!socket || socket.writableLength > MAX_BUFFERED_BYTES) return void endStream(group, listener, 'RESUME')
    socket.write(chunk)
  }

  function endStream(group: SubscriptionGroup, listener: Subscriber, reason: StreamEndReason): void {
    if (!group.subscribers.delete(listener)) return
    streamCount--
    listener.response.end(completeEvent(reason))
    if (group.subscribers.size > 0) return
    const ofCustomer = groups.get(group.caller.customerId)
    ofCustomer?.delete(group.key)
    if (ofCustomer?.size === 0) groups.delete(group.caller.customerId)
  }

  function endGroup(group: SubscriptionGroup, reason: StreamEndReason): void {
    for (const listener of group.subscribers) endStream(group, listener, reason)
  }

  /** Ends the streams whose token has expired. */
  function endExpired(): void {
    const nowMs = clock.now().getTime()
    if (!expiryTracker.hasExpired(nowMs)) return
    for (const group of allGroups())
      for (const listener of group.subscribers)
        if (nowMs >= listener.expiresAtMs) endStream(group, listener, 'TOKEN_EXPIRED')
    expiryTracker.reset(allGroups().flatMap(({ subscribers }) => [...subscribers]))
  }

  function findOrCreateGroup(
    field: SubscriptionField,
    operation: ParsedOperation,
    plan: Plan,
    variables: Readonly<Record<string, unknown>>,
    eventCost: number,
    context: RequestContext & { caller: CustomerCaller },
  ): SubscriptionGroup {
    const { caller } = context
    const key = digest(
      [caller.clientId, caller.consentId, authorizationKey(caller), JSON.stringify(variables), operation.key].join(
        '\n',
      ),
    )
    const ofCustomer = groups.get(caller.customerId)
    let streamsOfClient = 0
    for (const group of ofCustomer?.values() ?? [])
      if (group.caller.clientId === caller.clientId) streamsOfClient += group.subscribers.size
    if (streamsOfClient >= MAX_STREAMS_PER_CUSTOMER || streamCount >= MAX_STREAMS)
      throw new GatewayError('RATE_LIMITED', { retryAfterSeconds: 30 })
    const emptyState = {
      subscribers: new Set<Subscriber>(),
      published: createBoundedCache<Promise<void>>({ maxBytes: PUBLISHED_CACHE_BYTES, bytesOf: bytesOfData }),
    }
    return ofCustomer?.get(key) ?? { key, field, caller, context, plan, variables, eventCost, ...emptyState }
  }

  function addSubscriber(group: SubscriptionGroup, listener: Subscriber): void {
    const ofCustomer = groups.get(group.caller.customerId) ?? new Map<string, SubscriptionGroup>()
    groups.set(group.caller.customerId, ofCustomer.set(group.key, group))
    group.subscribers.add(listener)
    expiryTracker.track(listener)
    streamCount++
  }

  /** What happened since the event that the client had last, the oldest first. One that is not known any more: everything. */
  async function findMissedEvents(group: SubscriptionGroup, lastEventId: string): Promise<SubscriptionEvent[]> {
    const { caller, field } = group
    const context = { ...group.context }
    if (field === 'alertReceived') await alerts.recordSharedRead(caller, context)
    const all: SubscriptionEvent[] =
      field === 'alertReceived'
        ? (await alerts.listNewest(caller)).map((alert) => ({
            id: alert.publicId,
            rootValue: { alertReceived: alert },
            context,
          }))
        : (await consents.findByCustomer(caller.customerId, caller.clientId))
            .map((consent) => ({ at: consent.endedAt ?? consent.activatedAt ?? consent.createdAt, consent }))
            .sort((one, other) => other.at.getTime() - one.at.getTime())
            .map(({ consent }) => buildConsentEvent(group, consent))
    const index = all.findIndex(({ id }) => id === lastEventId)
    return (index < 0 ? all : all.slice(0, index)).reverse()
  }

  /** First what was missed by one that came back, then what came meanwhile and is not among it. */
  async function replayMissed(
    group: SubscriptionGroup,
    listener: Subscriber,
    charge: Charge,
    lastEventId: string | undefined,
  ): Promise<void> {
    for (const event of lastEventId === undefined ? [] : await findMissedEvents(group, lastEventId)) {
      // Each is answered for this listener alone. Where the points run out, the stream ends at the last one that was sent.
      await charge.add(group.eventCost)
      listener.replayedIds.add(event.id)
      await sendEvent(group, event, [listener])
    }
    for (let event = listener.queued?.shift(); event; event = listener.queued?.shift())
      if (!listener.replayedIds.has(event.id)) await sendEvent(group, event, [listener])
    listener.queued = undefined
  }

  return {
    start() {
      unsubscribe = outbox.onSignal(onSignal)
      let epoch = outbox.isConnected()
      keepAliveTimer = setInterval(() => {
        const currentEpoch = outbox.isConnected()
        for (const group of allGroups()) {
          // Whoever may have missed something comes back for it.
          if (currentEpoch === false || currentEpoch !== epoch) endGroup(group, 'RESUME')
          else for (const listener of group.subscribers) send(group, listener, KEEP_ALIVE_CHUNK)
        }
        epoch = currentEpoch
      }, KEEP_ALIVE_MS)
      expiryTimer = setInterval(endExpired, SECOND_MS)
    },

    stop() {
      unsubscribe()
      clearInterval(keepAliveTimer)
      clearInterval(expiryTimer)
      for (const group of allGroups()) endGroup(group, 'RESUME')
    },

    async subscribe(request, { operation, variables }, context) {
      const { caller, requestId, charge } = context
      // Events are framed once for all listeners, as chunks, which HTTP/1.0 does not have.
      if (request.raw.request.httpVersion === '1.0')
        throw new GatewayError('MALFORMED_REQUEST', { internalMessage: 'a stream needs HTTP/1.1' })
      const prepared = operations.prepare(operation, { context, variables })
      if ('status' in prepared) return toReply(prepared)
      const { plan, coerced } = prepared
      // A subscription has one root field; where that is closed there is nothing to listen to.
      const [rootField] = plan.root.fields
      if (rootField?.kind !== 'authorized' || caller.kind !== 'CUSTOMER')
        return toReply(operations.refuseDenied(plan.denied, context))
      const eventCost = Math.max(MIN_COST, plan.cost(coerced))
      const rateLimited = await operations.chargeSubscription(charge, eventCost, requestId)
      if (rateLimited) return toReply(rateLimited)
      const group = findOrCreateGroup(rootField.name as SubscriptionField, operation, plan, coerced, eventCost, {
        ...context,
        caller,
      })
      if (request.method === 'HEAD') return { status: 200, headers: STREAM_HEADERS }
      await openStream(request, group, caller, charge)
      return 'HIJACKED'
    },
  }

  async function openStream(
    { raw: { request, response }, headers }: HttpRequest,
    group: SubscriptionGroup,
    caller: CustomerCaller,
    charge: Charge,
  ): Promise<void> {
    // Who left meanwhile closes no more, and would hold a place among the streams for good.
    if (response.closed || response.destroyed) return
    response.writeHead(200, STREAM_HEADERS)
    response.write(':\n\n')
    request.socket.setTimeout(0)
    const lastEventId = headers['last-event-id']
    const subscriber: Subscriber = {
      response,
      tokenId: caller.tokenId,
      expiresAtMs: caller.tokenExpiresAtMs,
      queued: [],
      replayedIds: new Set(),
    }
    addSubscriber(group, subscriber)
    response.on('close', () => endStream(group, subscriber, 'RESUME'))
    try {
      // What ended before this listener was there to hear of it is seen now; what ends later is heard.
      if (await isStillAuthorized(caller))
        await replayMissed(group, subscriber, charge, lastEventId === undefined ? undefined : String(lastEventId))
      else endStream(group, subscriber, 'NOT_AUTHORIZED')
    } catch (error) {
      // Without what was missed there would be a gap that nobody sees: they come back and ask for it again.
      charge.markFailed()
      const { code, retryAfterSeconds } = toGatewayError(error)
      if (code !== 'RATE_LIMITED') log.error('subscription.failed', { trace: errorTrace(error) })
      else send(group, subscriber, encodeChunk(`retry: ${(retryAfterSeconds ?? 60) * 1_000}\n\n`))
      endStream(group, subscriber, code === 'RATE_LIMITED' ? 'RATE_LIMITED' : 'RESUME')
    }
  }
}

/** A chunk of HTTP/1.1 (RFC 9112, 7.1), framed once for all who get it, and written past what would frame it for each. */
function encodeChunk(text: string): Buffer {
  const body = Buffer.from(text)
  return Buffer.concat([Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from('\r\n')])
}
const STREAM_HEADERS = {
  'content-type': CONTENT_TYPE.EVENT_STREAM,
  'x-accel-buffering': 'no',
}
const KEEP_ALIVE_CHUNK = encodeChunk(':\n\n')

const toReply = ({ status, headers, body }: OperationResponse): HttpResponse => ({
  status,
  headers: { 'content-type': 'application/json; charset=utf-8', ...headers },
  body,
})

const buildConsentEvent = ({ context }: SubscriptionGroup, consent: Consent): SubscriptionEvent => ({
  id: `${consent.id}.${consent.status}`,
  rootValue: { consentChanged: consent },
  context: { ...context },
})
