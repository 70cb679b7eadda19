import { isUtf8 } from 'node:buffer'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { MIMEType } from 'node:util'
import { GatewayError } from './errors.ts'

/** A request as every entrypoint receives it. */
export interface HttpRequest {
  readonly method: string
  readonly url: URL
  /** Values of the `{name}` placeholders of the route's path. */
  readonly params: Readonly<Record<string, string>>
  readonly headers: IncomingMessage['headers']
  readonly requestId: string
  readonly remoteAddress: string
  /** Reads the body as text; throws `PAYLOAD_TOO_LARGE` beyond `maxBytes`. */
  body(maxBytes: number): Promise<string>
  readonly raw: { readonly request: IncomingMessage; readonly response: ServerResponse }
}

/** A response that the listener writes. */
export interface BufferedResponse {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  /** Set if the body is known to be ASCII, so that its length is its number of bytes. */
  readonly isAscii?: true
  /** Why the request was refused or failed; for its log line only. */
  readonly error?: GatewayError
}

/** A response, or `HIJACKED` if the handler writes to the raw response itself. */
export type HttpResponse = BufferedResponse | 'HIJACKED'

/** An entry of a route table. `path` can hold `{name}` placeholders and a final `*`. */
export interface Route {
  readonly methods: readonly string[]
  readonly path: string
  readonly handle: (request: HttpRequest) => HttpResponse | Promise<HttpResponse>
}

/** Creates an entry of a route table; `methods` are separated by spaces. */
export const route = (methods: string, path: string, handle: Route['handle']): Route => ({
  methods: methods.split(' '),
  path,
  handle,
})

/** A response with a JSON body. */
export const jsonResponse = (
  status: number,
  value: unknown,
  headers: Readonly<Record<string, string>> = {},
): HttpResponse => ({
  status,
  headers: { 'content-type': 'application/json; charset=utf-8', ...headers },
  body: JSON.stringify(value),
})

/** A redirect that the browser follows with GET, for any method of its request. */
export const seeOther = (location: string): HttpResponse => ({ status: 303, headers: { location } })

/** Redirects with the same method and body, so that a posted form stays out of every address. */
export const temporaryRedirect = (location: string): HttpResponse => ({ status: 307, headers: { location } })

/**
 * The media type of the body, such as `application/json`; empty if the header is missing or malformed. Throws
 * `UNSUPPORTED_MEDIA_TYPE` for a charset other than UTF-8 and for an encoded body.
 */
export function parseMediaType(headers: IncomingMessage['headers']): string {
  const { 'content-type': contentType = '', 'content-encoding': encoding = 'identity' } = headers
  if (encoding.trim().toLowerCase() !== 'identity') throw new GatewayError('UNSUPPORTED_MEDIA_TYPE')
  // Most clients write it like this, and parsing takes microseconds.
  if (contentType === 'application/json') return contentType
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

/** Reads a body of at most `maxBytes` as UTF-8. Throws `PAYLOAD_TOO_LARGE`, `UNSUPPORTED_MEDIA_TYPE` or `MALFORMED_REQUEST`. */
export function readBody(request: IncomingMessage, maxBytes: number): Promise<string> {
  const tooLarge = (): GatewayError =>
    new GatewayError('PAYLOAD_TOO_LARGE', {
      faults: [{ path: ['body'], message: `The request body may have at most ${maxBytes} bytes.` }],
    })
  parseMediaType(request.headers)
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw tooLarge()
  // A destroyed request emits no more events, so the promise below would never settle.
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
      // Decoding invalid UTF-8 would change the text.
      if (isUtf8(bytes)) resolve(bytes.toString('utf8'))
      else reject(new GatewayError('MALFORMED_REQUEST', { internalMessage: 'not UTF-8' }))
    })
    request.on('error', (cause) => reject(new GatewayError('MALFORMED_REQUEST', { internalMessage: 'cut off', cause })))
    request.on('close', () => {
      if (!request.complete) reject(new GatewayError('MALFORMED_REQUEST', { internalMessage: 'cut off' }))
    })
  })
}
