import { z } from 'zod'
import { GatewayError, type InputFault } from '../../kernel/errors.ts'
import { mediaTypeOf, type HttpRequest } from '../../kernel/http.ts'
import { parseJson } from '../../kernel/wire.ts'

/** What a request asks for (GraphQL over HTTP, 5): absent, null and, for texts, empty are the same. */
export interface RequestParameters {
  readonly query: string | undefined
  readonly operationName: string | undefined
  readonly variables: Readonly<Record<string, unknown>>
  readonly extensions: Readonly<Record<string, unknown>>
}

/** Bytes of a posted request. */
const MAX_BODY_BYTES = 65_536

const text = z
  .string('must be a string')
  .nullish()
  .transform((value) => (value === '' ? undefined : (value ?? undefined)))
const map = z
  .record(z.string(), z.unknown(), 'must be a JSON object')
  .nullish()
  .transform((value) => value ?? {})
const shape = z.object(
  { query: text, operationName: text, variables: map, extensions: map },
  'must be one JSON object; a batch of requests is not accepted',
)

/**
 * Reads the parameters of a POST or GET. Throws `UNSUPPORTED_MEDIA_TYPE`, `PAYLOAD_TOO_LARGE`, or `MALFORMED_REQUEST` with
 * every fault.
 */
export async function readParameters(request: HttpRequest): Promise<RequestParameters> {
  const given = request.method === 'POST' ? await posted(request) : searched(request.url.searchParams)
  const parsed = shape.safeParse(given)
  if (!parsed.success)
    throw malformed(parsed.error.issues.map(({ path, message }) => fault(String(path[0] ?? 'body'), message)))
  return parsed.data
}

async function posted(request: HttpRequest): Promise<unknown> {
  if (mediaTypeOf(request.headers) !== 'application/json') throw new GatewayError('UNSUPPORTED_MEDIA_TYPE')
  const body = await request.body(MAX_BODY_BYTES)
  const value = parseJson(body)
  if (value === undefined) throw malformed([fault('body', 'must be JSON')])
  return value
}

function searched(search: URLSearchParams): unknown {
  const faults: InputFault[] = []
  const one = (name: string): string | undefined => {
    const values = search.getAll(name)
    // Of two, a proxy may have read the other one.
    if (values.length > 1) faults.push(fault(name, 'must be given once'))
    return values[0]
  }
  const json = (name: string): unknown => {
    const value = one(name)
    const parsed = value ? parseJson(value) : null
    if (parsed === undefined) faults.push(fault(name, 'must be a JSON object'))
    return parsed
  }
  const given = {
    query: one('query'),
    operationName: one('operationName'),
    variables: json('variables'),
    extensions: json('extensions'),
  }
  if (faults.length > 0) throw malformed(faults)
  return given
}

const fault = (name: string, message: string): InputFault => ({ path: [name], message: `\`${name}\` ${message}.` })
const malformed = (faults: readonly InputFault[]): GatewayError => new GatewayError('MALFORMED_REQUEST', { faults })
