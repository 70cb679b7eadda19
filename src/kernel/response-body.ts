import type { Transform } from 'node:stream'
import { createBrotliDecompress, createGunzip, createInflate, createInflateRaw } from 'node:zlib'
import { OutboundError } from './outbound-error.ts'

/** Collects the bytes of one response, decoded. Calls `onText` or `onError` once, never both. */
export interface BodyReader {
  write(chunk: Buffer): void
  /** The response is complete. `onText` is called when it is decoded. */
  end(): void
  /** Stops decoding. Nothing is called any more. */
  abort(): void
}

/** Where the result of a body goes. */
interface BodyReceiver {
  readonly onText: (text: string) => void
  readonly onError: (error: OutboundError) => void
}

type Decoder = Transform

/** Creates the decoder of a content coding (RFC 9110, 8.4.1), from the first byte of the body. */
const DECODERS: ReadonlyMap<string, (firstByte: number) => Decoder> = new Map<string, (firstByte: number) => Decoder>([
  ['gzip', () => createGunzip()],
  ['x-gzip', () => createGunzip()],
  ['br', () => createBrotliDecompress()],
  // Some servers send deflate data without the zlib format around it (RFC 9110, 8.4.1.2).
  ['deflate', (firstByte) => ((firstByte & 0x0f) === 8 ? createInflate() : createInflateRaw())],
])

/**
 * Creates the reader of a body with this `Content-Encoding`. Servers may compress a response although nobody asked (RFC 9110,
 * 12.5.3). The limit holds for the bytes that arrive and for those that they decode to: decoding stops at the limit, so that a
 * small response cannot fill the memory. An unknown coding, more than one, and damaged data are errors.
 */
export function createBodyReader(encoding: string | undefined, maxBytes: number, receiver: BodyReceiver): BodyReader {
  const codings = (encoding ?? '')
    .toLowerCase()
    .split(',')
    .map((coding) => coding.trim())
    .filter((coding) => coding !== '' && coding !== 'identity')
  const body = collectBytes(maxBytes, receiver)
  const [coding] = codings
  return coding === undefined
    ? body
    : decodeInto(body, codings.length === 1 ? DECODERS.get(coding) : undefined, maxBytes, receiver)
}

function collectBytes(maxBytes: number, { onText, onError }: BodyReceiver): BodyReader {
  const chunks: Buffer[] = []
  let size = 0
  return {
    write(chunk) {
      size += chunk.length
      if (size > maxBytes) onError(tooLarge())
      else chunks.push(chunk)
    },
    end: () => onText(Buffer.concat(chunks).toString('utf8')),
    abort: () => undefined,
  }
}

function decodeInto(
  body: BodyReader,
  createDecoder: ((firstByte: number) => Decoder) | undefined,
  maxBytes: number,
  { onError }: BodyReceiver,
): BodyReader {
  let encodedSize = 0
  let decoder: Decoder | undefined
  const start = (firstByte: number): Decoder | undefined =>
    createDecoder?.(firstByte)
      .on('data', (chunk: Buffer) => body.write(chunk))
      .on('end', () => body.end())
      .on('error', (error) => onError(undecodable(error)))
  return {
    write(chunk) {
      encodedSize += chunk.length
      if (encodedSize > maxBytes) return void onError(tooLarge())
      decoder ??= start(chunk[0]!)
      if (decoder) decoder.write(chunk)
      else onError(undecodable())
    },
    end() {
      // A response without a body can have the header all the same.
      if (decoder) decoder.end()
      else body.end()
    },
    abort: () => void decoder?.destroy(),
  }
}

const tooLarge = (): OutboundError => new OutboundError('OUTBOUND_RESPONSE_TOO_LARGE', 'RESPONSE_TOO_LARGE')
const undecodable = (cause?: unknown): OutboundError =>
  new OutboundError('OUTBOUND_RESPONSE_UNDECODABLE', 'RESPONSE_ENCODING', cause)
