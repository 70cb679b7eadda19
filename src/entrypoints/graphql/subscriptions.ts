import type { ServerResponse } from 'node:http'
import { bytesOfData, createCache, type Cache } from '../../kernel/cache.ts'
import { SECOND_MS, type Clock } from '../../kernel/clock.ts'
import { asGatewayError, GatewayError } from '../../kernel/errors.ts'
import type { HttpReply, HttpRequest } from '../../kernel/http.ts'
import { digest } from '../../kernel/ids.ts'
import { traceOf, type Log } from '../../kernel/log.ts'
import type { CustomerCaller, RequestContext } from '../../kernel/request.ts'
import type { Alert, Alerts } from '../../modules/alerts/index.ts'
import type { Charge, Clients } from '../../modules/clients/index.ts'
import type { Consent, Consents } from '../../modules/consents/index.ts'
import type { Outbox, Signal } from '../../modules/outbox/index.ts'
import { CONTENT_TYPE } from './negotiation.ts'
import { LEAST_COST, type OperationAnswer, type Operations } from './operation.ts'
import type { Plan } from './plan.ts'
import { authorizationKey } from './planner.ts'
import type { ParsedOperation } from './read-document.ts'
import type { GraphqlContext } from './server.ts'
import { completeEvent, createExpiryWatch, type StreamEnd } from './stream-end.ts'

/** What subscriptions depend on. */
export interface SubscriptionDependencies {
  readonly operations: Operations
  readonly alerts: Alerts
  readonly clients: Clients
  readonly consents: Consents
  readonly outbox: Outbox
  /** Whether the caller's token, its client and its consent still open anything. */
  readonly isOpen: (caller: CustomerCaller) => Promise<boolean>
  readonly clock: Clock
  readonly log: Log
}

type Field = 'alertReceived' | 'consentChanged'

interface Listener {
  readonly response: ServerResponse
  readonly tokenId: string
  /** When its token expires: from then on it is sent nothing. */
  readonly expiresAtMs: number
  /** What came live before the listener was ready for it. */
  waiting: Event[] | undefined
  /** What one that came back was given of what it missed. */
  readonly given: Set<string>
}

/** Listeners who ask the same of the same: an event is answered and recorded once, and written to each. */
interface Group {
  readonly key: string
  readonly field: Field
  readonly caller: CustomerCaller
  readonly context: RequestContext
  readonly plan: Plan
  readonly variables: Readonly<Record<string, unknown>>
  /** Points for one event: what beginning costs, and each event that is sent again. */
  readonly eventCost: number
  readonly listeners: Set<Listener>
  /** The newest events by their IDs, since the signal of one arrives in several ways. */
  readonly published: Cache<Promise<void>>
}

interface Event {
  readonly id: string
  readonly rootValue: object
  /** Each event is a reading of its own. */
  readonly context: RequestContext
}

const KEEP_ALIVE_MS = 12_000
/** A listener that reads nothing is cut rather than waited for. */
const MAX_UNREAD_BYTES = 262_144
/** Open streams of one client for one customer, in one process, and of everybody. */
const MAX_PER_CUSTOMER = 100
const MAX_STREAMS = 20_000
/** About 64 events of a group, so that none is published twice. */
const PUBLISHED_BYTES = 20_480

/** Subscriptions over server-sent events, in the distinct-connections mode of the GraphQL-over-SSE protocol. */
export interface Subscriptions {
  subscribe(
    request: HttpRequest,
    requested: { readonly operation: ParsedOperation; readonly variables: Readonly<Record<string, unknown>> },
    context: GraphqlContext,
  ): Promise<HttpReply>
  start(): void
  stop(): void
}

/** Keeps the live listeners of this process; each event is opened by the live consent before anything is sent. */
export function createSubscriptions(dependencies: SubscriptionDependencies): Subscriptions {
  const { operations, alerts, clients, consents, outbox, isOpen, clock, log } = dependencies
  const groups = new Map<string, Map<string, Group>>()
  let streams = 0
  let keepAlive: NodeJS.Timeout | undefined
  let expiring: NodeJS.Timeout | undefined
  const expiries = createExpiryWatch()
  let unlisten: () => void = () => undefined

  const everyGroup = (): Group[] => [...groups.values()].flatMap((ofCustomer) => [...ofCustomer.values()])
  const groupsOf = (customerId: string | null): Group[] => [...(groups.get(customerId ?? '')?.values() ?? [])]

  function hear(signal: Signal): void {
    if (streams === 0) return
    react(signal).catch((error: unknown) => {
      // What was not sent live is not lost: clients reconnect with the ID of the last event that they received.
      log.error('subscription.failed', { trace: traceOf(error) })
      for (const group of everyGroup()) endGroup(group, 'RESUME')
    })
  }

  async function react(signal: Signal): Promise<void> {
    // Nothing is read for a listener whose token has expired.
    endExpired()
    if (signal.kind === 'ALERT') {
      const found = await alerts.withCustomer(signal.id)
      const concerned = groupsOf(found?.customerId ?? null).filter(({ field }) => field === 'alertReceived')
      if (found) await Promise.all(concerned.map((group) => publishAlert(group, found.alert)))
    }
    if (signal.kind === 'CONSENT') {
      const changed = await consents.find(signal.id)
      for (const group of groupsOf(signal.customerId)) {
        if (changed?.clientId !== group.caller.clientId) continue
        if (group.field === 'consentChanged') await publish(group, eventOfConsent(group, changed))
        if (changed.id === group.caller.consentId && changed.status !== 'ACTIVE') endGroup(group, 'NOT_AUTHORIZED')
      }
    }
    if (signal.kind === 'CLIENT' && (await clients.find(signal.id))?.status !== 'ACTIVE')
      for (const group of everyGroup()) if (group.caller.clientId === signal.id) endGroup(group, 'NOT_AUTHORIZED')
    if (signal.kind === 'TOKEN')
      for (const group of everyGroup())
        for (const listener of group.listeners)
          if (listener.tokenId === signal.id) end(group, listener, 'NOT_AUTHORIZED')
  }

  async function publishAlert(group: Group, alert: Alert): Promise<void> {
    const context = { ...group.context }
    const opened = await alerts.openFor(group.caller, context, alert)
    if (opened) await publish(group, { id: opened.publicId, rootValue: { alertReceived: opened }, context })
  }

  /** Answers an event once for all listeners of the group. A listener that still catches up gets it after that. */
  function publish(group: Group, event: Event): Promise<void> {
    let publishing = group.published.get(event.id)
    if (!publishing) group.published.set(event.id, (publishing = publishNew(group, event)))
    return publishing
  }

  async function publishNew(group: Group, event: Event): Promise<void> {
    const ready: Listener[] = []
    for (const listener of group.listeners)
      if (listener.waiting) listener.waiting.push(event)
      else if (!listener.given.has(event.id)) ready.push(listener)
    if (ready.length > 0) await write(group, event, ready)
  }

  async function write(group: Group, event: Event, to: readonly Listener[]): Promise<void> {
    const { plan, variables } = group
    const { context, rootValue } = event
    const answer = await operations.answerEvent(plan, variables, { context, variables, rootValue })
    const text = chunkOf(`event: next\nid: ${event.id}\ndata: ${answer}\n\n`)
    for (const listener of to) if (group.listeners.has(listener)) send(group, listener, text)
  }

  function send(group: Group, listener: Listener, chunk: Buffer): void {
    const { socket } = listener.response
    if (clock.now().getTime() >= listener.expiresAtMs) return void end(group, listener, 'TOKEN_EXPIRED')
    if (!socket || socket.writableLength > MAX_UNREAD_BYTES) return void end(group, listener, 'RESUME')
    socket.write(chunk)
  }

  function end(group: Group, listener: Listener, reason: StreamEnd): void {
    if (!group.listeners.delete(listener)) return
    streams--
    listener.response.end(completeEvent(reason))
    if (group.listeners.size > 0) return
    const ofCustomer = groups.get(group.caller.customerId)
    ofCustomer?.delete(group.key)
    if (ofCustomer?.size === 0) groups.delete(group.caller.customerId)
  }

  function endGroup(group: Group, reason: StreamEnd): void {
    for (const listener of group.listeners) end(group, listener, reason)
  }

  /** Ends the streams whose token has expired. */
  function endExpired(): void {
    const nowMs = clock.now().getTime()
    if (!expiries.due(nowMs)) return
    for (const group of everyGroup())
      for (const listener of group.listeners) if (nowMs >= listener.expiresAtMs) end(group, listener, 'TOKEN_EXPIRED')
    expiries.restart(everyGroup().flatMap(({ listeners }) => [...listeners]))
  }

  function groupFor(
    field: Field,
    operation: ParsedOperation,
    plan: Plan,
    variables: Readonly<Record<string, unknown>>,
    eventCost: number,
    context: RequestContext & { caller: CustomerCaller },
  ): Group {
    const { caller } = context
    const key = digest(
      [caller.clientId, caller.consentId, authorizationKey(caller), JSON.stringify(variables), operation.key].join(
        '\n',
      ),
    )
    const ofCustomer = groups.get(caller.customerId)
    let count = 0
    for (const group of ofCustomer?.values() ?? [])
      if (group.caller.clientId === caller.clientId) count += group.listeners.size
    if (count >= MAX_PER_CUSTOMER || streams >= MAX_STREAMS) throw new GatewayError('RATE_LIMITED', { retryAfterS: 30 })
    const sets = {
      listeners: new Set<Listener>(),
      published: createCache<Promise<void>>({ maxBytes: PUBLISHED_BYTES, bytesOf: bytesOfData }),
    }
    return ofCustomer?.get(key) ?? { key, field, caller, context, plan, variables, eventCost, ...sets }
  }

  function join(group: Group, listener: Listener): void {
    const ofCustomer = groups.get(group.caller.customerId) ?? new Map<string, Group>()
    groups.set(group.caller.customerId, ofCustomer.set(group.key, group))
    group.listeners.add(listener)
    expiries.note(listener)
    streams++
  }

  /** What happened since the event that the client had last, the oldest first. One that is not known any more: everything. */
  async function missed(group: Group, lastEventId: string): Promise<Event[]> {
    const { caller, field } = group
    const context = { ...group.context }
    if (field === 'alertReceived') await alerts.noteReads(caller, context)
    const all: Event[] =
      field === 'alertReceived'
        ? (await alerts.newest(caller)).map((alert) => ({
            id: alert.publicId,
            rootValue: { alertReceived: alert },
            context,
          }))
        : (await consents.ofCustomer(caller.customerId, caller.clientId))
            .map((consent) => ({ at: consent.endedAt ?? consent.activatedAt ?? consent.createdAt, consent }))
            .sort((one, other) => other.at.getTime() - one.at.getTime())
            .map(({ consent }) => eventOfConsent(group, consent))
    const index = all.findIndex(({ id }) => id === lastEventId)
    return (index < 0 ? all : all.slice(0, index)).reverse()
  }

  /** First what was missed by one that came back, then what came meanwhile and is not among it. */
  async function catchUp(
    group: Group,
    listener: Listener,
    charge: Charge,
    lastEventId: string | undefined,
  ): Promise<void> {
    for (const event of lastEventId === undefined ? [] : await missed(group, lastEventId)) {
      // Each is answered for this listener alone. Where the points run out, the stream ends at the last one that was sent.
      await charge.add(group.eventCost)
      listener.given.add(event.id)
      await write(group, event, [listener])
    }
    for (let event = listener.waiting?.shift(); event; event = listener.waiting?.shift())
      if (!listener.given.has(event.id)) await write(group, event, [listener])
    listener.waiting = undefined
  }

  return {
    start() {
      unlisten = outbox.onSignal(hear)
      let epoch = outbox.hearing()
      keepAlive = setInterval(() => {
        const now = outbox.hearing()
        for (const group of everyGroup()) {
          // Whoever may have missed something comes back for it.
          if (now === false || now !== epoch) endGroup(group, 'RESUME')
          else for (const listener of group.listeners) send(group, listener, STILL_HERE)
        }
        epoch = now
      }, KEEP_ALIVE_MS)
      expiring = setInterval(endExpired, SECOND_MS)
    },

    stop() {
      unlisten()
      clearInterval(keepAlive)
      clearInterval(expiring)
      for (const group of everyGroup()) endGroup(group, 'RESUME')
    },

    async subscribe(request, { operation, variables }, context) {
      const { caller, requestId, charge } = context
      // Events are framed once for all listeners, as chunks, which HTTP/1.0 does not have.
      if (request.raw.request.httpVersion === '1.0')
        throw new GatewayError('MALFORMED_REQUEST', { internal: 'a stream needs HTTP/1.1' })
      const ready = operations.prepare(operation, { context, variables })
      if ('status' in ready) return textReply(ready)
      const { plan, coerced } = ready
      // A subscription has one root field; where that is closed there is nothing to listen to.
      const [root] = plan.root.fields
      if (root?.kind !== 'open' || caller.kind !== 'CUSTOMER')
        return textReply(operations.refuseDenied(plan.denied, context))
      const eventCost = Math.max(LEAST_COST, plan.cost(coerced))
      const limited = await operations.charge(charge, eventCost, requestId)
      if (limited) return textReply(limited)
      const group = groupFor(root.name as Field, operation, plan, coerced, eventCost, { ...context, caller })
      if (request.method === 'HEAD') return { status: 200, headers: STREAM_HEADERS }
      await open(request, group, caller, charge)
      return 'HANDED_OVER'
    },
  }

  async function open(
    { raw: { request, response }, headers }: HttpRequest,
    group: Group,
    caller: CustomerCaller,
    charge: Charge,
  ): Promise<void> {
    // Who left meanwhile closes no more, and would hold a place among the streams for good.
    if (response.closed || response.destroyed) return
    response.writeHead(200, STREAM_HEADERS)
    response.write(':\n\n')
    request.socket.setTimeout(0)
    const lastEventId = headers['last-event-id']
    const listener: Listener = {
      response,
      tokenId: caller.tokenId,
      expiresAtMs: caller.tokenExpiresAtMs,
      waiting: [],
      given: new Set(),
    }
    join(group, listener)
    response.on('close', () => end(group, listener, 'RESUME'))
    try {
      // What ended before this listener was there to hear of it is seen now; what ends later is heard.
      if (await isOpen(caller))
        await catchUp(group, listener, charge, lastEventId === undefined ? undefined : String(lastEventId))
      else end(group, listener, 'NOT_AUTHORIZED')
    } catch (error) {
      // Without what was missed there would be a gap that nobody sees: they come back and ask for it again.
      charge.fail()
      const { code, retryAfterS } = asGatewayError(error)
      if (code !== 'RATE_LIMITED') log.error('subscription.failed', { trace: traceOf(error) })
      else send(group, listener, chunkOf(`retry: ${(retryAfterS ?? 60) * 1_000}\n\n`))
      end(group, listener, code === 'RATE_LIMITED' ? 'RATE_LIMITED' : 'RESUME')
    }
  }
}

/** A chunk of HTTP/1.1 (RFC 9112, 7.1), framed once for all who get it, and written past what would frame it for each. */
function chunkOf(text: string): Buffer {
  const body = Buffer.from(text)
  return Buffer.concat([Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from('\r\n')])
}
const STREAM_HEADERS = {
  'content-type': CONTENT_TYPE.EVENT_STREAM,
  'x-accel-buffering': 'no',
}
const STILL_HERE = chunkOf(':\n\n')

const textReply = ({ status, headers, body }: OperationAnswer): HttpReply => ({
  status,
  headers: { 'content-type': 'application/json; charset=utf-8', ...headers },
  body,
})

const eventOfConsent = ({ context }: Group, consent: Consent): Event => ({
  id: `${consent.id}.${consent.status}`,
  rootValue: { consentChanged: consent },
  context: { ...context },
})
