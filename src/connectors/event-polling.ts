import { z } from 'zod'
import { parseResponse } from './bank-api.ts'
import type { ConnectorTools, EventAcknowledgements, PolledEvent, PollEvents } from './connector.ts'
import type { EventsApi } from './events-api.ts'

/** The longest token of an event. */
const MAX_EVENT_LENGTH = 16_384
/** The longest `jti` (RFC 8936, 2.3) that a valid event can have. */
const MAX_EVENT_ID_LENGTH = 256
/** The maximum number of events in one poll. */
const MAX_EVENTS = 50
const DESCRIPTION = 'the event is invalid'

/** The response to a poll: signed events, by `jti`. Each is checked when it is read, so that none affects others. */
export const pollResponse = z.object({
  sets: z
    .record(z.string(), z.unknown())
    .nullish()
    .transform((sets) => sets ?? {}),
})

/** The body of a poll (RFC 8936, 2.2): acknowledges and rejects the events of the previous one, and asks for the next without a wait. */
export const pollRequest = ({ acknowledged, rejected }: EventAcknowledgements) => ({
  maxEvents: MAX_EVENTS,
  returnImmediately: true,
  ack: acknowledged,
  setErrs: Object.fromEntries(rejected.map(({ id, err }) => [id, { err, description: DESCRIPTION }])),
})

/**
 * The events of a poll, at most 50: what is left is still in the queue of the bank. A token under an id that no valid event has, and one
 * that is no text or too long, becomes an empty one, which is rejected like a forged one, so that it does not stay in the queue.
 */
export const toPolledEvents = (
  { sets }: z.output<typeof pollResponse>,
  { eventsUrl }: Pick<ConnectorTools, 'eventsUrl'>,
): PolledEvent[] =>
  Object.entries(sets)
    .slice(0, MAX_EVENTS)
    .map(([id, token]) => ({
      id,
      event: {
        contentType: 'application/jwt',
        headers: {},
        body: isReadable(id, token) ? token : '',
        url: eventsUrl,
        audience: eventsUrl,
        isPolled: true,
      },
    }))

const isReadable = (id: string, token: unknown): token is string =>
  id !== '' && id.length <= MAX_EVENT_ID_LENGTH && typeof token === 'string' && token.length <= MAX_EVENT_LENGTH

/** Creates the poller of a bank that has a queue of its own for the gateway (RFC 8936), at `url`. */
export const createSetPoller =
  (url: string, callEventsApi: EventsApi, tools: Pick<ConnectorTools, 'eventsUrl' | 'report'>): PollEvents =>
  async (acknowledgements) =>
    toPolledEvents(
      parseResponse(
        pollResponse,
        await callEventsApi({ method: 'POST', url, body: pollRequest(acknowledgements) }),
        tools.report,
      ),
      tools,
    )
