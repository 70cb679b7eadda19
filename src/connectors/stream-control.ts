import { z } from 'zod'
import { HOUR_MS } from '../kernel/clock.ts'
import { GatewayError } from '../kernel/errors.ts'
import { parseResponse } from './bank-api.ts'
import type { ConnectorTools } from './connector.ts'
import type { EndpointCheck } from './endpoints.ts'
import type { EventSender } from './event-rules.ts'
import type { EventsApi } from './events-api.ts'
import type { EventStreamControl, EventStreamStatus } from './stream-status.ts'
import { optionalMember } from './wire-members.ts'

/** The configuration of a transmitter is used for this long. */
const CONFIGURATION_TTL_MS = HOUR_MS
const WELL_KNOWN_PATH = '/.well-known/ssf-configuration'
/** The methods of delivery (6.1), and their names in the drafts of RISC. */
const PUSH_METHODS = ['urn:ietf:rfc:8935', 'https://schemas.openid.net/secevent/risc/delivery-method/push']
const POLL_METHODS = ['urn:ietf:rfc:8936', 'https://schemas.openid.net/secevent/risc/delivery-method/poll']

const endpoint = z.string().max(2_048)
/** The configuration of a transmitter (7.1), without what the gateway does not use. */
const configurationSchema = z.object({
  issuer: z.string().max(512),
  configuration_endpoint: endpoint,
  status_endpoint: endpoint.optional(),
  verification_endpoint: endpoint.optional(),
  delivery_methods_supported: z.array(z.string().max(256)).max(20).optional(),
})
const streamSchema = z.object({
  stream_id: z.string().min(1).max(512),
  /** Required, but banks omit it. */
  iss: optionalMember(z.string().max(512)),
  delivery: z.object({ method: z.string().max(256), endpoint_url: z.string().max(2_048).optional() }),
})
/** The streams of a receiver (8.1.1.2); drafts return the only one instead of a list. */
const streamsSchema = z.preprocess(
  (value): unknown[] => (Array.isArray(value) ? (value as unknown[]) : [value]),
  z.array(streamSchema.optional().catch(undefined)).max(100),
)
const statusSchema = z.object({ status: z.enum(['enabled', 'paused', 'disabled']) })
const STATUSES = { enabled: 'ENABLED', paused: 'PAUSED', disabled: 'DISABLED' } as const

type Configuration = z.output<typeof configurationSchema>
type Stream = z.output<typeof streamSchema>

/**
 * The address of a transmitter's configuration (7.2). Undefined if the bank has no stream control, or if the registration states
 * neither an address nor an issuer that is a URL.
 */
export function configurationUrlOf({ stream, issuer }: Pick<EventSender, 'stream' | 'issuer'>): string | undefined {
  if (stream?.configurationUrl !== undefined || !stream) return stream?.configurationUrl
  const url = URL.parse(issuer)
  return url?.protocol.startsWith('http')
    ? `${url.origin}${WELL_KNOWN_PATH}${url.pathname.replace(/\/$/, '')}`
    : undefined
}

/** The dependencies of stream control. */
export interface StreamControlDependencies {
  readonly configurationUrl: string
  /** The issuer of the bank's events. */
  readonly issuer: string
  readonly pollUrl: string | undefined
  /** The event types that a new stream requests. */
  readonly eventTypes: readonly string[]
  readonly callEventsApi: EventsApi
  /** The same without a token, for documents that anybody can read. */
  readonly fetchDocument: EventsApi
  readonly checkEndpoint: EndpointCheck
  readonly tools: Pick<ConnectorTools, 'clock' | 'eventsUrl' | 'report'>
}

/** Creates the control of the stream in which a bank sends its events (Shared Signals Framework 1.0, 8). */
export function createStreamControl(dependencies: StreamControlDependencies): EventStreamControl {
  const { configurationUrl, issuer, pollUrl, eventTypes, callEventsApi, fetchDocument, checkEndpoint, tools } =
    dependencies
  let cached: { readonly configuration: Configuration; readonly loadedAtMs: number } | undefined

  async function loadConfiguration(): Promise<Configuration> {
    const nowMs = tools.clock.now().getTime()
    if (cached && nowMs - cached.loadedAtMs <= CONFIGURATION_TTL_MS) return cached.configuration
    const response = await fetchDocument({ method: 'GET', url: configurationUrl })
    const configuration = parseResponse(configurationSchema, response, tools.report)
    if (configuration.issuer !== issuer) throw invalidConfiguration('another issuer')
    const {
      configuration_endpoint: streams,
      status_endpoint: status,
      verification_endpoint: verification,
    } = configuration
    for (const url of [streams, status, verification])
      // The gateway sends its access token there.
      if (url !== undefined && checkEndpoint(url) !== undefined)
        throw invalidConfiguration('an endpoint at an address that is not registered')
    cached = { configuration, loadedAtMs: nowMs }
    return configuration
  }

  /** A pushed stream without an address is one of the gateway: a bank lists only the streams of the client that requests them. */
  const leadsHere = ({ delivery: { method, endpoint_url: url } }: Stream): boolean =>
    (PUSH_METHODS.includes(method) && (url === undefined || isSameAddress(url, tools.eventsUrl))) ||
    (POLL_METHODS.includes(method) && url !== undefined && pollUrl !== undefined && isSameAddress(url, pollUrl))
  const isOwn = (stream: Stream): boolean =>
    leadsHere(stream) && (stream.iss === undefined || isSameAddress(stream.iss, issuer))

  /**
   * The stream that delivers to the gateway. Throws `BANK_RESPONSE_INVALID` if `createsIfMissing` and only one of another issuer
   * does: a further one would deliver every event twice.
   */
  async function findStream(
    { configuration_endpoint: url }: Configuration,
    createsIfMissing = false,
  ): Promise<Stream | undefined> {
    const response = await callEventsApi({ method: 'GET', url, returnedStatus: 404 })
    if (response.status === 404) return undefined
    const streams = parseResponse(streamsSchema, response, tools.report).filter((stream) => stream !== undefined)
    const own = streams.find(isOwn)
    if (!own && createsIfMissing && streams.some(leadsHere))
      throw invalidConfiguration('a stream to the gateway from another issuer')
    return own
  }

  /** Undefined if the bank allows no further stream, or does not push. */
  async function createStream(configuration: Configuration): Promise<Stream | undefined> {
    const { configuration_endpoint: url, delivery_methods_supported: methods = [PUSH_METHODS[0]!] } = configuration
    const method = PUSH_METHODS.find((name) => methods.includes(name))
    if (method === undefined) return undefined
    const body = { delivery: { method, endpoint_url: tools.eventsUrl }, events_requested: eventTypes }
    const response = await callEventsApi({ method: 'POST', url, body, returnedStatus: 409 })
    if (response.status === 409) return undefined
    const stream = parseResponse(streamSchema, response, tools.report)
    if (!isOwn(stream)) throw invalidConfiguration('a new stream that leads elsewhere')
    return stream
  }

  async function requireStream(configuration: Configuration): Promise<Stream> {
    const stream = await findStream(configuration)
    if (!stream) throw new GatewayError('BANK_REFUSED', { internalMessage: 'the bank has no stream for the gateway' })
    return stream
  }

  return {
    async readEventStream(createsIfMissing) {
      const configuration = await loadConfiguration()
      const stream =
        (await findStream(configuration, createsIfMissing)) ??
        (createsIfMissing ? await createStream(configuration) : undefined)
      if (!stream) return 'NOT_FOUND'
      const { status_endpoint: statusEndpoint } = configuration
      if (statusEndpoint === undefined) return 'UNKNOWN'
      const url = new URL(statusEndpoint)
      url.searchParams.set('stream_id', stream.stream_id)
      const response = await callEventsApi({ method: 'GET', url: url.href, returnedStatus: 404 })
      return response.status === 404 ? 'NOT_FOUND' : parseStatus(response)
    },

    async setEventStreamStatus(status) {
      const configuration = await loadConfiguration()
      const { status_endpoint: url } = configuration
      if (url === undefined) return 'UNKNOWN'
      const { stream_id } = await requireStream(configuration)
      const body = { stream_id, status: status.toLowerCase() }
      const response = await callEventsApi({ method: 'POST', url, body })
      // The bank has not decided yet (8.1.2.2).
      return response.status === 202 ? 'UNKNOWN' : parseStatus(response)
    },

    async requestStreamVerification(state) {
      const configuration = await loadConfiguration()
      const { verification_endpoint: url } = configuration
      if (url === undefined) return false
      const { stream_id } = await requireStream(configuration)
      await callEventsApi({ method: 'POST', url, body: { stream_id, state } })
      return true
    },
  }

  function parseStatus(response: { readonly text: string }): EventStreamStatus {
    return STATUSES[parseResponse(statusSchema, response, tools.report).status]
  }
}

/** Whether two addresses are equal but for the spelling of the host, the default port and a slash at the end. */
function isSameAddress(one: string, other: string): boolean {
  const spelled = (address: string): string => (URL.parse(address)?.href ?? address).replace(/\/$/, '')
  return spelled(one) === spelled(other)
}

const invalidConfiguration = (what: string): GatewayError =>
  new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: `the transmitter of events names ${what}` })
