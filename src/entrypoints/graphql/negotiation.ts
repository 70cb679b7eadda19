import { OperationTypeNode } from 'graphql'
import Negotiator from 'negotiator'
import { GatewayError } from '../../kernel/errors.ts'

/** How an operation is answered: JSON in the older or the current media type of GraphQL over HTTP, or as events. */
export type ResponseFormat = 'JSON' | 'RESPONSE_JSON' | 'EVENT_STREAM'

/** The `Content-Type` of each format. */
export const CONTENT_TYPE: Readonly<Record<ResponseFormat, string>> = {
  JSON: 'application/json; charset=utf-8',
  RESPONSE_JSON: 'application/graphql-response+json; charset=utf-8',
  EVENT_STREAM: 'text/event-stream; charset=utf-8',
}

/** Where a client leaves the choice, it gets the media type that every client reads. */
const JSON_TYPES = [CONTENT_TYPE.JSON, CONTENT_TYPE.RESPONSE_JSON]
/** By name: a client that takes anything does not expect an answer without an end. */
const EVENT_STREAM_TYPE = /^text\/(event-stream|\*)$/i

/**
 * The best format of an `Accept` header for an operation of this type (RFC 9110, 12.5.1; GraphQL over HTTP, 4). A
 * subscription is a stream wherever one is accepted by name, else JSON that says so. Anything else is JSON, by quality;
 * only where no JSON is accepted is it a stream of one event. Throws `NOT_ACCEPTABLE`.
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
 * The status of an answer. A client that asks for `application/json` by name, and gets it, takes a status other than 200
 * for an answer that is not GraphQL (GraphQL over HTTP, 6.4.1).
 */
export const statusForFormat = (format: ResponseFormat, accept: string | undefined, status: number): number =>
  format === 'JSON' && status === 400 && /application\/json/i.test(accept ?? '') ? 200 : status

/** One answer as a whole stream (GraphQL over SSE, distinct connections mode). */
export const toSingleEventStream = (json: string): string => `event: next\ndata: ${json}\n\nevent: complete\ndata:\n\n`
