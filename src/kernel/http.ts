import type { IncomingMessage, ServerResponse } from 'node:http'
import { GatewayError } from './errors.ts'

/** A request as every entrypoint gets it. */
export interface HttpRequest {
  readonly method: string
  readonly url: URL
  /** The `{name}` places of the route's path. */
  readonly params: Readonly<Record<string, string>>
  readonly headers: IncomingMessage['headers']
  readonly requestId: string
  readonly customerIp: string
  /** The body as text; throws `PAYLOAD_TOO_LARGE` past `maxBytes`. */
  body(maxBytes: number): Promise<string>
  readonly raw: { readonly request: IncomingMessage; readonly response: ServerResponse }
}

/** An answer; `HANDED_OVER` where the handler has written or will write to the raw response itself. */
export type HttpReply =
  | { readonly status: number; readonly headers?: Readonly<Record<string, string>>; readonly body?: string }
  | 'HANDED_OVER'

/** A line of an entrypoint's table: methods, path with `{name}` places (or a final `*`), and what answers. */
export interface Route {
  readonly methods: readonly string[]
  readonly path: string
  readonly handle: (request: HttpRequest) => HttpReply | Promise<HttpReply>
}

/** A line of a route table; `methods` are separated by spaces. */
export const route = (methods: string, path: string, handle: Route['handle']): Route => ({
  methods: methods.split(' '),
  path,
  handle,
})

/** An answer with a JSON body. */
export const jsonReply = (
  status: number,
  value: unknown,
  headers: Readonly<Record<string, string>> = {},
): HttpReply => ({
  status,
  headers: { 'content-type': 'application/json; charset=utf-8', ...headers },
  body: JSON.stringify(value),
})

/** Reads a request's body, at most `maxBytes` of it. */
export async function readBody(request: IncomingMessage, maxBytes: number): Promise<string> {
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw new GatewayError('PAYLOAD_TOO_LARGE')
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > maxBytes) throw new GatewayError('PAYLOAD_TOO_LARGE')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
