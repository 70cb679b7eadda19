import { z } from 'zod'
import { GatewayError, type InputFault } from '../../kernel/errors.ts'
import { parseMediaType, type HttpRequest } from '../../kernel/http.ts'
import { parseJson } from '../../kernel/wire.ts'

/** The parameters of a request (GraphQL over HTTP, 5). Null and empty strings are treated as absent. */
export interface RequestParameters {
  readonly query: string | undefined
  readonly operationName: string | undefined
  readonly variables: Readonly<Record<string, unknown>>
  readonly extensions: Readonly<Record<string, unknown>>
}

/** The maximum size of a request body. */
const MAX_BODY_BYTES = 65_536

const optionalString = z
  .string('must be a string')
  .nullish()
  .transform((value) => (value === '' ? undefined : (value ?? undefined)))
const optionalObject = z
  .record(z.string(), z.unknown(), 'must be a JSON object')
  .nullish()
  .transform((value) => value ?? {})
const parametersSchema = z.object(
  { query: optionalString, operationName: optionalString, variables: optionalObject, extensions: optionalObject },
  'must be one JSON object; a batch of requests is not accepted',
)

/**
 * Reads the parameters of a POST or GET. Throws `UNSUPPORTED_MEDIA_TYPE`, `PAYLOAD_TOO_LARGE`, or `MALFORMED_REQUEST` with
 * every fault.
 */
export async function readParameters(request: HttpRequest): Promise<RequestParameters> {
  const raw = request.method === 'POST' ? await readPost(request) : readGet(request.url.searchParams)
  const parsed = parametersSchema.safeParse(raw)
  if (!parsed.success)
    throw malformedRequest(
      parsed.error.issues.map(({ path, message }) => parameterFault(String(path[0] ?? 'body'), message)),
    )
  return parsed.data
}

async function readPost(request: HttpRequest): Promise<unknown> {
  if (parseMediaType(request.headers) !== 'application/json') throw new GatewayError('UNSUPPORTED_MEDIA_TYPE')
  const body = await request.body(MAX_BODY_BYTES)
  const value = parseJson(body)
  if (value === undefined) throw malformedRequest([parameterFault('body', 'must be JSON')])
  return value
}

function readGet(search: URLSearchParams): unknown {
  const faults: InputFault[] = []
  const readSingle = (name: string): string | undefined => {
    const values = search.getAll(name)
    // A proxy and the gateway could read different ones.
    if (values.length > 1) faults.push(parameterFault(name, 'must be given once'))
    return values[0]
  }
  const readJson = (name: string): unknown => {
    const value = readSingle(name)
    const parsed = value ? parseJson(value) : null
    if (parsed === undefined) faults.push(parameterFault(name, 'must be a JSON object'))
    return parsed
  }
  const raw = {
    query: readSingle('query'),
    operationName: readSingle('operationName'),
    variables: readJson('variables'),
    extensions: readJson('extensions'),
  }
  if (faults.length > 0) throw malformedRequest(faults)
  return raw
}

const parameterFault = (name: string, message: string): InputFault => ({
  path: [name],
  message: `\`${name}\` ${message}.`,
})
const malformedRequest = (faults: readonly InputFault[]): GatewayError =>
  new GatewayError('MALFORMED_REQUEST', { faults })
