import addFormats from 'ajv-formats'
import { generateSync, type JsonSchema } from 'json-schema-faker'
import { OpenAPIBackend, type Document } from 'openapi-backend'
import Enforcer from 'openapi-enforcer'
import { readOfficialFile, type OfficialFile } from './official-files.ts'

/** A request as it arrived, with the path below the base URL of the API. */
export interface ApiRequest {
  readonly method: string
  readonly path: string
  readonly query: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: unknown
}

/** What each validator finds wrong with a request. */
export type RequestFaults = Readonly<Record<'openapi-backend' | 'openapi-enforcer', readonly string[]>>

/** One official file, for the requests that it allows and the responses that it defines. */
export interface OfficialApi {
  /** The operation of a request; undefined if the file has none. */
  operationOf(request: ApiRequest): string | undefined
  /** The status with which the operation succeeds. */
  successStatus(operation: string): number
  /** What is wrong with the request, by two validators that share no code. */
  findRequestFaults(request: ApiRequest): RequestFaults
  /** What is wrong with a response body. */
  findResponseFaults(operation: string, body: unknown, status?: number): string[]
  /** A random response body, the same one for the same seed. */
  createResponse(operation: string, seed: number, status?: number): unknown
  /** The response bodies that the file has as examples, by name; one made from the schema if it has none. */
  examples(operation: string, status?: number): ReadonlyMap<string, unknown>
}

interface MediaType {
  readonly schema?: JsonSchema
  readonly examples?: Readonly<Record<string, { readonly value: unknown }>>
}
type Content = Record<string, MediaType>
interface OperationObject {
  readonly operationId: string
  readonly requestBody?: { readonly content: Content }
  readonly responses: Record<string, { readonly content?: Content }>
}
type PathItem = Record<string, OperationObject>
interface EnforcerApi {
  request(request: unknown, options?: unknown): readonly [unknown, { toString(): string } | undefined]
}

/** Mistakes of the files themselves, which make a validator reject the file: each is corrected to what its text says. */
const CORRECTIONS: Partial<Record<OfficialFile, (file: Record<string, unknown>) => void>> = {
  'Berlin Group 1.3.11': (file) => {
    // OpenAPI 3.0 has a boolean there (5.2.1.1 of JSON Schema's draft 4); the description says "at least 1".
    const { schemas } = file['components'] as { schemas: Record<string, Record<string, unknown>> }
    delete schemas['frequencyPerDay']!['exclusiveMinimum']
    schemas['frequencyPerDay']!['minimum'] = 1
    // Every body matches the empty schema, and so two; the example of that alternative is the empty object.
    for (const { requestBody } of operationsOf(file))
      for (const { schema } of Object.values(requestBody?.content ?? {}))
        for (const alternative of (schema as { oneOf?: Record<string, unknown>[] } | undefined)?.oneOf ?? [])
          if (Object.keys(alternative).length === 0) Object.assign(alternative, { type: 'object', maxProperties: 0 })
  },
}

/** Reads one official file, with only these paths: the others are not for account information, or cost the validators seconds. */
export async function loadOfficialApi(name: OfficialFile, paths: readonly string[]): Promise<OfficialApi> {
  const file = readOfficialFile(name)
  CORRECTIONS[name]?.(file)
  file['paths'] = Object.fromEntries(
    Object.entries(file['paths'] as Record<string, PathItem>).filter(([path]) => paths.includes(path)),
  )
  delete file['servers']
  removeUnusedComponents(file)
  const mediaTypes = new Map(
    operationsOf(file).map(({ operationId, requestBody }) => [operationId, Object.keys(requestBody?.content ?? {})]),
  )
  // Both validators know only bodies of the type `application/json`, and the file may name the character set as well.
  for (const { requestBody } of operationsOf(file)) {
    const json = jsonOf(requestBody?.content ?? {})
    if (requestBody && json) requestBody.content['application/json'] = json
  }
  const backend = await createBackend(structuredClone(file))
  const enforcer = await createEnforcer(structuredClone(file))
  const contentOf = (operation: string, status: number): MediaType => {
    const { responses } = backend.router.getOperation(operation) as unknown as OperationObject
    return jsonOf(responses[String(status)]?.content ?? {}) ?? {}
  }
  return {
    operationOf: (request) => backend.router.matchOperation(toBackendRequest(request))?.operationId,
    findRequestFaults(request) {
      const [, fault] = enforcer.request({
        method: request.method,
        path: request.path + request.query,
        headers: request.headers,
        ...(request.body !== undefined && { body: request.body }),
      })
      const operation = backend.router.matchOperation(toBackendRequest(request))
      const backendFaults = operation
        ? (backend.validator.validateRequest(toBackendRequest(request), operation).errors ?? []).map(
            ({ instancePath, message }) => `${instancePath} ${message ?? ''}`,
          )
        : [`no operation for ${request.method} ${request.path}`]
      const types = mediaTypes.get(operation?.operationId ?? '') ?? []
      const type = request.headers['content-type']?.replace(/;\s*/, '; ')
      if (request.body !== undefined && types.length > 0 && !types.includes(type ?? ''))
        backendFaults.push(`the content type is not ${types.join(' or ')}`)
      return { 'openapi-backend': backendFaults, 'openapi-enforcer': fault ? [fault.toString()] : [] }
    },
    successStatus: (operation) => {
      const { responses } = backend.router.getOperation(operation) as unknown as OperationObject
      return Number(Object.keys(responses).find((status) => status.startsWith('2')))
    },
    findResponseFaults: (operation, body, status = 200) =>
      (backend.validator.validateResponse(body, operation, status).errors ?? []).map(
        ({ instancePath, message }) => `${instancePath} ${message ?? ''}`,
      ),
    createResponse: (operation, seed, status = 200) =>
      generateSync(contentOf(operation, status).schema ?? {}, { seed, optionalsProbability: 0.6, maxDefaultItems: 4 }),
    examples(operation, status = 200) {
      const named = Object.entries(contentOf(operation, status).examples ?? {})
      if (named.length > 0) return new Map(named.map(([example, { value }]) => [example, value]))
      return new Map([['schema', backend.mockResponseForOperation(operation, { code: status }).mock as unknown]])
    },
  }
}

/** Removes the components that no path refers to, with which the validators would take seconds. */
function removeUnusedComponents(file: Record<string, unknown>): void {
  const components = file['components'] as Record<string, Record<string, unknown>>
  const used = new Set<string>()
  const visit = (node: unknown): void => {
    for (const [, kind, name] of JSON.stringify(node).matchAll(/"\$ref":"#\/components\/(\w+)\/([^"]+)"/g))
      if (!used.has(`${kind}/${name}`)) {
        used.add(`${kind}/${name}`)
        visit(components[kind!]?.[name!] ?? {})
      }
  }
  visit(file['paths'])
  for (const [kind, entries] of Object.entries(components))
    if (kind !== 'securitySchemes')
      components[kind] = Object.fromEntries(Object.entries(entries).filter(([name]) => used.has(`${kind}/${name}`)))
}

const operationsOf = (file: Record<string, unknown>): OperationObject[] =>
  Object.values(file['paths'] as Record<string, PathItem>)
    .flatMap((item) => Object.values(item))
    .filter((member) => typeof member === 'object' && 'responses' in member)

/** The JSON of a content map, of whichever character set. */
const jsonOf = (content: Content): MediaType | undefined =>
  Object.entries(content).find(([type]) => type.startsWith('application/json'))?.[1]

const toBackendRequest = ({ method, path, query, headers, body }: ApiRequest) => ({
  method,
  path,
  query: query.replace(/^\?/, ''),
  headers: { ...headers },
  body: body as object,
})

async function createBackend(file: Record<string, unknown>): Promise<OpenAPIBackend> {
  const backend = new OpenAPIBackend({
    definition: file as unknown as Document,
    validate: true,
    strict: true,
    coerceTypes: true,
    ajvOpts: { strict: false, logger: false, unicodeRegExp: false },
    customizeAjv: (ajv) => {
      addFormats.default(ajv)
      return ajv
    },
  })
  await backend.init()
  return backend
}

async function createEnforcer(file: Record<string, unknown>): Promise<EnforcerApi> {
  // It reads requests only: some examples of responses in the official files are none that it can read.
  for (const operation of operationsOf(file))
    Object.assign(operation, { responses: { default: { description: 'any' } } })
  delete (file['components'] as Record<string, unknown>)['responses']
  const [api, fault] = (await (Enforcer as (file: unknown, options: unknown) => Promise<unknown>)(file, {
    fullResult: true,
  })) as readonly [EnforcerApi, { toString(): string } | undefined]
  if (fault) throw new Error(`openapi-enforcer cannot read the file: ${fault.toString()}`)
  return api
}
