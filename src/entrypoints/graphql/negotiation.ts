import { OperationTypeNode } from 'graphql'
import Negotiator from 'negotiator'
import { GatewayError } from '../../kernel/errors.ts'

/** The format of a response: JSON in the older or the current media type of GraphQL over HTTP, or an event stream. */
export type ResponseFormat = 'JSON' | 'RESPONSE_JSON' | 'EVENT_STREAM'

/** The `Content-Type` of each format. */
export const CONTENT_TYPE: Readonly<Record<ResponseFormat, string>> = {
  JSON: 'application/json; charset=utf-8',
  RESPONSE_JSON: 'application/graphql-response+json; charset=utf-8',
  EVENT_STREAM: 'text/event-stream; charset=utf-8',
}

/** In order of preference: if a client accepts both, it gets the media type that every client supports. */
const JSON_TYPES = [CONTENT_TYPE.JSON, CONTENT_TYPE.RESPONSE_JSON]
/** A client that accepts any media type does not expect a stream, so a stream must be accepted explicitly. */
const EVENT_STREAM_TYPE = /^text\/(event-stream|\*)$/i

/**
 * Chooses the response format by the `Accept` header and the type of the operation (RFC 9110, 12.5.1; GraphQL over HTTP, 4). A
 * subscription gets a stream if one is accepted explicitly, otherwise a JSON error. Queries and mutations get JSON in the
 * preferred media type, or a stream of one event if no JSON is accepted. Throws `NOT_ACCEPTABLE`.
 */
export function negotiateFormat(accept: string | undefined, type: OperationTypeNode | undefined): ResponseFormat {
  const negotiator = new Negotiator({ headers: { accept: accept?.trim() ? accept : undefined } })
  const json = negotiator.mediaType(JSON_TYPES)
  const acceptsStream = negotiator.mediaTypes().some((name) => EVENT_STREAM_TYPE.test(name))
  if (acceptsStream && (type === OperationTypeNode.SUBSCRIPTION || json === undefined)) return 'EVENT_STREAM'
  if (json === undefined) throw new GatewayError('NOT_ACCEPTABLE')
  return json === CONTENT_TYPE.JSON ? 'JSON' : 'RESPONSE_JSON'
}

/**
 * The status of a response. A client that accepts `application/json` explicitly interprets a status other than 200 as a response
 * of another server than GraphQL (GraphQL over HTTP, 6.4.1), so a 400 becomes a 200 for it.
 */
export const statusForFormat = (format: ResponseFormat, accept: string | undefined, status: number): number =>
  format === 'JSON' && status === 400 && /application\/json/i.test(accept ?? '') ? 200 : status

/** A stream with one response (GraphQL over SSE, distinct connections mode). */
export const toSingleEventStream = (json: string): string => `event: next\ndata: ${json}\n\nevent: complete\ndata:\n\n`
