import { randomUUID } from 'node:crypto'
import type { SandboxBank } from './bank.ts'
import { authenticateBearer } from './oauth.ts'
import type { SandboxBankConfig } from './personas.ts'
import { json, HttpError, type Routes, type SandboxRequest, type SandboxResponse } from './server.ts'

/** Base path of the events API. */
export const eventsApiBase = ({ version }: SandboxBankConfig): string =>
  `/open-banking/${version === '3.1.11' ? 'v3.1' : 'v4.0'}`

/** The client of a request with its own token. Throws an `HttpError` if there is none. */
export function requireClient(bank: SandboxBank, request: SandboxRequest): string {
  const caller = authenticateBearer(bank, request)
  if (!caller || caller.consent) throw new HttpError({ status: 401, body: '' })
  return caller.clientId
}

interface PollRequest {
  readonly maxEvents?: number
  readonly ack?: readonly string[]
  readonly setErrs?: Readonly<Record<string, { err: string; description: string }>>
}

/** Open Banking event notification subscriptions and aggregated polling, for registered clients. */
export function eventPollingRoutes(bank: SandboxBank): Routes {
  const BASE = eventsApiBase(bank.config)
  const authenticateClient = (request: SandboxRequest): string => requireClient(bank, request)
  return {
    [`GET ${BASE}/event-subscriptions`]: (request) =>
      json(200, {
        Data: { EventSubscription: bank.subscriptionsOf(authenticateClient(request)) },
        Links: {},
        Meta: {},
      }),
    [`POST ${BASE}/event-subscriptions`]: (request) => {
      const { Data } = JSON.parse(request.body) as { Data: { CallbackUrl?: string; Version: string } }
      const subscription = { EventSubscriptionId: randomUUID(), ...Data }
      bank.subscribe(authenticateClient(request), subscription)
      return json(201, { Data: subscription, Links: {}, Meta: {} })
    },
    [`POST ${BASE}/events`]: (request) => pollQueue(bank, authenticateClient(request), request),
  }
}

/** A poll (RFC 8936, 2.4), of which Open Banking has the same form. */
export function pollQueue(bank: SandboxBank, clientId: string, { body }: SandboxRequest): SandboxResponse {
  const { maxEvents = 100, ack = [], setErrs = {} } = JSON.parse(body) as PollRequest
  for (const jti of [...ack, ...Object.keys(setErrs)]) bank.acknowledgeEvent(clientId, jti)
  const queued = Object.entries(bank.queuedEvents(clientId))
  return json(200, {
    moreAvailable: queued.length > maxEvents,
    sets: Object.fromEntries(queued.slice(0, maxEvents)),
  })
}
