import type { SandboxBank, EventStreamState } from './bank.ts'
import { pollQueue, requireClient } from './event-polling.ts'
import { pushVerification } from './events.ts'
import { json, HttpError, type Routes, type SandboxRequest } from './server.ts'

/** Where clients poll for their events (RFC 8936). */
export const POLL_PATH = '/ssf/poll'
const PUSH = 'urn:ietf:rfc:8935'
const STATUSES = ['enabled', 'paused', 'disabled'] as const

/** The endpoints of a transmitter of the Shared Signals Framework 1.0, for registered clients. Each client has one stream at most. */
export function sharedSignalsRoutes(bank: SandboxBank): Routes {
  const streamBody = (clientId: string, { id }: EventStreamState) => ({
    stream_id: id,
    iss: bank.origin,
    aud: bank.client(clientId)!.eventsUrl,
    delivery: { method: PUSH, endpoint_url: bank.client(clientId)!.eventsUrl },
    events_delivered: [],
  })
  /** The client's stream, which the request names. */
  const requireStream = (request: SandboxRequest, id: string | null | undefined): [string, EventStreamState] => {
    const clientId = requireClient(bank, request)
    const stream = bank.eventStream(clientId)
    if (!stream || stream.id !== id) throw new HttpError({ status: 404, body: '' })
    return [clientId, stream]
  }

  return {
    'GET /.well-known/ssf-configuration': () =>
      json(200, {
        spec_version: '1_0',
        issuer: bank.origin,
        jwks_uri: `${bank.origin}/jwks`,
        delivery_methods_supported: [PUSH],
        configuration_endpoint: `${bank.origin}/ssf/streams`,
        status_endpoint: `${bank.origin}/ssf/status`,
        verification_endpoint: `${bank.origin}/ssf/verify`,
        authorization_schemes: [{ spec_urn: 'urn:ietf:rfc:6749' }],
        default_subjects: 'ALL',
      }),

    'GET /ssf/streams': (request) => {
      const clientId = requireClient(bank, request)
      const stream = bank.eventStream(clientId)
      return json(200, stream ? [streamBody(clientId, stream)] : [])
    },
    'POST /ssf/streams': (request) => {
      const clientId = requireClient(bank, request)
      if (bank.eventStream(clientId)) return { status: 409 }
      const { delivery } = JSON.parse(request.body) as { delivery: { method: string; endpoint_url: string } }
      if (delivery.method !== PUSH || delivery.endpoint_url !== bank.client(clientId)?.eventsUrl) return { status: 400 }
      return json(201, streamBody(clientId, bank.createEventStream(clientId)))
    },

    'GET /ssf/status': (request) => {
      const [, { id, status }] = requireStream(request, request.url.searchParams.get('stream_id'))
      return json(200, { stream_id: id, status })
    },
    'POST /ssf/status': (request) => {
      const { stream_id: id, status } = JSON.parse(request.body) as { stream_id: string; status: string }
      const [clientId] = requireStream(request, id)
      const known = STATUSES.find((name) => name === status)
      if (!known) return { status: 400 }
      bank.setEventStreamStatus(clientId, known)
      return json(200, { stream_id: id, status: known })
    },

    'POST /ssf/verify': (request) => {
      const { stream_id: id, state } = JSON.parse(request.body) as { stream_id: string; state?: string }
      const [clientId] = requireStream(request, id)
      // After the response, as real banks send it.
      setImmediate(() => void pushVerification(bank, clientId, id, state))
      return { status: 204 }
    },

    [`POST ${POLL_PATH}`]: (request) => {
      const clientId = requireClient(bank, request)
      // A stream that does not transmit holds its events.
      return bank.eventStream(clientId)?.status === 'paused'
        ? json(200, { sets: {} })
        : pollQueue(bank, clientId, request)
    },
  }
}
