import { isUtf8 } from 'node:buffer'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { MIMEType } from 'node:util'
import { GatewayError } from './errors.ts'

/** A request as every entrypoint gets it. */
export interface HttpRequest {
  readonly method: string
  readonly url: URL
  /** The `{name}` places of the route's path. */
  readonly params: Readonly<Record<string, string>>
  readonly headers: IncomingMessage['headers']
  readonly requestId: string
  readonly remoteAddress: string
  /** The body as text; throws `PAYLOAD_TOO_LARGE` past `maxBytes`. */
  body(maxBytes: number): Promise<string>
  readonly raw: { readonly request: IncomingMessage; readonly response: ServerResponse }
}

/** A response that the listener writes. */
export interface BufferedResponse {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  /** Where every character of the body is known to be one byte. */
  readonly isAscii?: true
  /** Why the request was refused, or what failed: for its line in the log only. */
  readonly error?: GatewayError
}

/** A response; `HIJACKED` where the handler has written or will write to the raw response itself. */
export type HttpResponse = BufferedResponse | 'HIJACKED'

/** A line of an entrypoint's table: methods, path with `{name}` places (or a final `*`), and what answers. */
export interface Route {
  readonly methods: readonly string[]
  readonly path: string
  readonly handle: (request: HttpRequest) => HttpResponse | Promise<HttpResponse>
}

/** A line of a route table; `methods` are separated by spaces. */
export const route = (methods: string, path: string, handle: Route['handle']): Route => ({
  methods: methods.split(' '),
  path,
  handle,
})

/** An answer with a JSON body. */
export const jsonResponse = (
  status: number,
  value: unknown,
  headers: Readonly<Record<string, string>> = {},
): HttpResponse => ({
  status,
  headers: { 'content-type': 'application/json; charset=utf-8', ...headers },
  body: JSON.stringify(value),
})

/** Sends the browser on with GET, whatever the method of its request was. */
export const seeOther = (location: string): HttpResponse => ({ status: 303, headers: { location } })

/**
 * The media type of a body that is text in UTF-8; empty where the header is missing or cannot be read. Throws
 * `UNSUPPORTED_MEDIA_TYPE` for another charset, which would be read as something that the sender did not write, and for
 * an encoded body.
 */
export function parseMediaType(headers: IncomingMessage['headers']): string {
  const { 'content-type': contentType = '', 'content-encoding': encoding = 'identity' } = headers
  if (encoding.trim().toLowerCase() !== 'identity') throw new GatewayError('UNSUPPORTED_MEDIA_TYPE')
  const parsed = parseMimeType(contentType)
  if (!/^utf-?8$/i.test(parsed?.params.get('charset') ?? 'utf-8')) throw new GatewayError('UNSUPPORTED_MEDIA_TYPE')
  return parsed?.essence ?? ''
}

function parseMimeType(contentType: string): MIMEType | undefined {
  try {
    return new MIMEType(contentType)
  } catch {
    return undefined
  }
}

/** Reads a request's body, at most `maxBytes` of it, as UTF-8. Throws `PAYLOAD_TOO_LARGE` or `MALFORMED_REQUEST`. */
export function readBody(request: IncomingMessage, maxBytes: number): Promise<string> {
  const tooLarge = (): GatewayError =>
    new GatewayError('PAYLOAD_TOO_LARGE', {
      faults: [{ path: ['body'], message: `The request body may have at most ${maxBytes} bytes.` }],
    })
  parseMediaType(request.headers)
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw tooLarge()
  // A request that is gone emits nothing any more, and whoever waited for its body would wait for ever.
  if (request.destroyed) throw new GatewayError('MALFORMED_REQUEST', { internalMessage: 'cut off' })
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let size = 0
    request.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size <= maxBytes) return void chunks.push(chunk)
      chunks.length = 0
      reject(tooLarge())
    })
    request.on('end', () => {
      const bytes = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)
      // What is no UTF-8 would become other text than was sent.
      if (isUtf8(bytes)) resolve(bytes.toString('utf8'))
      else reject(new GatewayError('MALFORMED_REQUEST', { internalMessage: 'not UTF-8' }))
    })
    // Nothing but a broken connection or its framing makes it fail.
    request.on('error', (cause) => reject(new GatewayError('MALFORMED_REQUEST', { internalMessage: 'cut off', cause })))
    request.on('close', () => {
      if (!request.complete) reject(new GatewayError('MALFORMED_REQUEST', { internalMessage: 'cut off' }))
    })
  })
}
