import { bytesOfData, createBoundedCache } from '../../kernel/cache.ts'
import { SECOND_MS, type Clock, type Timers, type Timer } from '../../kernel/clock.ts'
import { toGatewayError, GatewayError } from '../../kernel/errors.ts'
import type { HttpResponse, HttpRequest } from '../../kernel/http.ts'
import { digest } from '../../kernel/ids.ts'
import { errorTrace, type Log } from '../../kernel/log.ts'
import type { CustomerCaller, RequestContext } from '../../kernel/request-context.ts'
import type { Signal } from '../../kernel/signal.ts'
import { RETRY_AFTER_SECONDS } from '../../kernel/retry-after.ts'
import type { Signals } from '../../storage/signals.ts'
import type { Alert, Alerts } from '../../modules/alerts/index.ts'
import type { Charge, Clients } from '../../modules/clients/index.ts'
import type { Consents } from '../../modules/consents/index.ts'
import { MIN_COST, type OperationResponse, type Operations } from './execution/operation.ts'
import type { Plan } from './execution/plan.ts'
import { authorizationKey } from './authorization/rules.ts'
import type { ParsedOperation } from './read-document.ts'
import { buildConsentEvent, findMissedEvents, findSubscribedAlerts } from './subscription-events.ts'
import type { GraphqlContext } from './apollo.ts'
import {
  createStreams,
  KEEP_ALIVE,
  STREAM_HEADERS,
  type Streams,
  type Subscriber,
  type SubscriptionEvent,
  type SubscriptionField,
  type SubscriptionGroup,
} from './streams.ts'

/** Dependencies of subscriptions. */
export interface SubscriptionDependencies {
  readonly operations: Operations
  readonly alerts: Alerts
  readonly clients: Clients
  readonly consents: Consents
  readonly signals: Signals
  /** Whether the caller's token, client and consent are still active. */
  readonly isStillAuthorized: (caller: CustomerCaller) => Promise<boolean>
  readonly clock: Clock
  readonly timers: Timers
  readonly log: Log
}

const KEEP_ALIVE_MS = 12_000
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
  /** Ends all streams. A later one ends after the events that its client missed. */
  stop(): void
}

/** The subscriptions of this process. Every event is authorized by an active consent before it is sent. */
export function createSubscriptions(dependencies: SubscriptionDependencies): Subscriptions {
  const { operations, alerts, clients, consents, signals, isStillAuthorized, clock, timers, log } = dependencies
  const streams = createStreams(clock)
  let keepAliveTimer: Timer | undefined
  let expiryTimer: Timer | undefined
  let unsubscribe: () => void = () => undefined
  let isStopped = false

  function onSignal(signal: Signal): void {
    if (streams.isEmpty()) return
    handleSignal(signal).catch((error: unknown) => {
      // What was not sent live is not lost: clients reconnect with the ID of the last event that they received.
      log.error('subscription.failed', { trace: errorTrace(error) })
      for (const group of streams.allGroups()) streams.endGroup(group, 'RESUME')
    })
  }

  async function handleSignal(signal: Signal): Promise<void> {
    // Nothing is read for a subscriber whose token has expired.
    streams.endExpired()
    if (signal.kind === 'ALERTS_SHOWN')
      for (const { group, alert } of await findSubscribedAlerts(alerts, streams, signal.alerts))
        await publishAlert(group, alert)
    if (signal.kind === 'CONSENT') {
      const changed = await consents.find(signal.id)
      for (const group of streams.groupsOf(signal.customerId)) {
        if (changed?.clientId !== group.caller.clientId) continue
        if (group.field === 'consentChanged')
          await publish(group, buildConsentEvent(group, changed, await consents.statusOf(changed)))
        if (changed.id === group.caller.consentId && changed.status !== 'ACTIVE')
          streams.endGroup(group, 'NOT_AUTHORIZED')
      }
    }
    if (signal.kind === 'CLIENT' && (await clients.find(signal.id))?.status !== 'ACTIVE')
      for (const group of streams.allGroups())
        if (group.caller.clientId === signal.id) streams.endGroup(group, 'NOT_AUTHORIZED')
    if (signal.kind === 'TOKEN')
      for (const group of streams.allGroups())
        for (const subscriber of group.subscribers)
          if (subscriber.tokenId === signal.id) streams.end(group, subscriber, 'NOT_AUTHORIZED')
  }

  async function publishAlert(group: SubscriptionGroup, alert: Alert): Promise<void> {
    const context = { ...group.context }
    const view = await alerts.viewFor(group.caller, context, alert)
    if (view) await publish(group, { id: view.publicId, rootValue: { alertReceived: view }, context })
  }

  /** Executes an event once for all subscribers of the group. One that still receives missed events gets it afterwards. */
  function publish(group: SubscriptionGroup, event: SubscriptionEvent): Promise<void> {
    let publishing = group.published.get(event.id)
    if (!publishing) group.published.set(event.id, (publishing = publishNew(group, event)))
    return publishing
  }

  async function publishNew(group: SubscriptionGroup, event: SubscriptionEvent): Promise<void> {
    const ready: Subscriber[] = []
    for (const subscriber of group.subscribers)
      if (subscriber.queued) subscriber.queued.push(event)
      else if (!subscriber.replayedIds.has(event.id)) ready.push(subscriber)
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
    const text = Buffer.from(`event: next\nid: ${event.id}\ndata: ${result}\n\n`)
    for (const subscriber of subscribers) if (group.subscribers.has(subscriber)) streams.send(group, subscriber, text)
  }

  /** Sends the events that a reconnecting client missed, then those that arrived meanwhile. */
  async function replayMissed(
    group: SubscriptionGroup,
    subscriber: Subscriber,
    charge: Charge,
    lastEventId: string | undefined,
  ): Promise<void> {
    for (const event of lastEventId === undefined ? [] : await findMissedEvents(dependencies, group, lastEventId)) {
      // Each is executed for this subscriber alone. If the points run out, the stream ends after the last event that was sent.
      await charge.add(group.eventCost)
      subscriber.replayedIds.add(event.id)
      await sendEvent(group, event, [subscriber])
    }
    for (let event = subscriber.queued?.shift(); event; event = subscriber.queued?.shift())
      if (!subscriber.replayedIds.has(event.id)) await sendEvent(group, event, [subscriber])
    subscriber.queued = undefined
  }

  return {
    start() {
      unsubscribe = signals.onSignal(onSignal)
      keepAliveTimer = timers.setInterval(createKeepAlive(streams, signals), KEEP_ALIVE_MS)
      expiryTimer = timers.setInterval(streams.endExpired, SECOND_MS)
    },

    stop() {
      isStopped = true
      unsubscribe()
      keepAliveTimer?.clear()
      expiryTimer?.clear()
      for (const group of streams.allGroups()) streams.endGroup(group, 'RESUME')
    },

    async subscribe(request, { operation, variables }, context) {
      const { caller, requestId, charge } = context
      // Events are framed as chunks once for all subscribers, and HTTP/1.0 has no chunks.
      if (request.raw.request.httpVersion === '1.0')
        throw new GatewayError('MALFORMED_REQUEST', { internalMessage: 'a stream needs HTTP/1.1' })
      const prepared = operations.prepare(operation, { context, variables })
      if ('status' in prepared) return toReply(prepared)
      const { plan, coerced } = prepared
      // A subscription has one root field; if it is denied, there are no events.
      const [rootField] = plan.root.fields
      if (rootField?.kind !== 'authorized' || caller.kind !== 'CUSTOMER')
        return toReply(operations.refuseDenied(plan.denied, context))
      const eventCost = Math.max(MIN_COST, plan.cost(coerced))
      const rateLimited = await operations.chargeSubscription(charge, eventCost, requestId)
      if (rateLimited) return toReply(rateLimited)
      const field = rootField.name as SubscriptionField
      const group = findOrCreateGroup(streams, field, operation, plan, coerced, eventCost, { ...context, caller })
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
    // A response that is closed already emits no further `close`, and its stream would never be removed.
    if (response.closed || response.destroyed) return
    response.writeHead(200, STREAM_HEADERS)
    response.write(':\n\n')
    request.socket.setTimeout(0)
    const lastEventId = headers['last-event-id']
    const subscriber = createSubscriber(response, caller)
    streams.add(group, subscriber)
    response.on('close', () => streams.end(group, subscriber, 'RESUME'))
    try {
      // Signals from before the subscriber was added did not reach it.
      if (await isStillAuthorized(caller))
        await replayMissed(group, subscriber, charge, lastEventId === undefined ? undefined : String(lastEventId))
      else streams.end(group, subscriber, 'NOT_AUTHORIZED')
      if (isStopped) streams.end(group, subscriber, 'RESUME')
    } catch (error) {
      // Going on would leave a gap: the client reconnects and receives the missed events then.
      charge.markFailed()
      const { code, retryAfterSeconds } = toGatewayError(error)
      if (code !== 'RATE_LIMITED') log.error('subscription.failed', { trace: errorTrace(error) })
      else
        streams.send(
          group,
          subscriber,
          Buffer.from(`retry: ${(retryAfterSeconds ?? RETRY_AFTER_SECONDS.retryable) * SECOND_MS}\n\n`),
        )
      streams.end(group, subscriber, code === 'RATE_LIMITED' ? 'RATE_LIMITED' : 'RESUME')
    }
  }
}

const toReply = ({ status, headers, body }: OperationResponse): HttpResponse => ({
  status,
  headers: { 'content-type': 'application/json; charset=utf-8', ...headers },
  body,
})

/** Subscribers share a group if they see the same: client, customer, scopes, operation and variables. */
function findOrCreateGroup(
  streams: Streams,
  field: SubscriptionField,
  operation: ParsedOperation,
  plan: Plan,
  variables: Readonly<Record<string, unknown>>,
  eventCost: number,
  context: RequestContext & { caller: CustomerCaller },
): SubscriptionGroup {
  const { caller } = context
  const key = digest(
    [caller.clientId, caller.consentId, authorizationKey(caller), JSON.stringify(variables), operation.key].join('\n'),
  )
  const existing = streams.findGroup(caller, key)
  if (existing) return existing
  const emptyState = {
    subscribers: new Set<Subscriber>(),
    published: createBoundedCache<Promise<void>>({ maxBytes: PUBLISHED_CACHE_BYTES, bytesOf: bytesOfData }),
  }
  return { key, field, caller, context, plan, variables, eventCost, ...emptyState }
}

/** Returns the function to call in each keep-alive interval. */
function createKeepAlive(streams: Streams, signals: Signals): () => void {
  let epoch = signals.coherence()
  return () => {
    const currentEpoch = signals.coherence()
    for (const group of streams.allGroups()) {
      // Signals may have been missed: clients reconnect and receive what they missed.
      if (currentEpoch === false || currentEpoch !== epoch) streams.endGroup(group, 'RESUME')
      else for (const subscriber of group.subscribers) streams.send(group, subscriber, KEEP_ALIVE)
    }
    epoch = currentEpoch
  }
}

/** Queues live events until the missed ones have been sent. */
const createSubscriber = (
  response: Subscriber['response'],
  { tokenId, tokenExpiresAtMs: expiresAtMs }: CustomerCaller,
): Subscriber => ({ response, tokenId, expiresAtMs, queued: [], replayedIds: new Set() })
