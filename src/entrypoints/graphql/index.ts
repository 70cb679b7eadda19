import { HeaderMap, type ApolloServer, type HTTPGraphQLRequest } from '@apollo/server'
import { OperationTypeNode } from 'graphql'
import { z } from 'zod'
import { refusalChallenge } from '../../kernel/challenges.ts'
import { asGatewayError, GatewayError } from '../../kernel/errors.ts'
import { jsonReply, route, type HttpReply, type HttpRequest, type Route } from '../../kernel/http.ts'
import { ANONYMOUS, type Caller, type Attendance, type CustomerCaller } from '../../kernel/request.ts'
import { parseJson } from '../../kernel/wire.ts'
import type { World } from '../../kernel/world.ts'
import type { Ledger } from '../../modules/ledger/index.ts'
import type { Outbox } from '../../modules/outbox/index.ts'
import { createCors } from './cors.ts'
import { createDocuments } from './documents.ts'
import { errorOf } from './errors.ts'
import { createOperations, LEAST_COST } from './operation.ts'
import { createPlanner } from './planner.ts'
import { InvalidDocument, type ParsedDocument } from './read-document.ts'
import { buildSchema } from './schema.ts'
import { createApollo, standInFor, type ApolloContext, type GraphqlContext } from './server.ts'
import type { Services } from './services.ts'
import { createShedding } from './shedding.ts'
import { createSubscriptions } from './subscriptions.ts'
import { createVisible } from './visible.ts'

/** What the graph stands on. */
export interface GraphqlDependencies {
  readonly typeDefs: string
  readonly services: Services
  readonly ledger: Ledger
  readonly outbox: Outbox
  readonly world: World
  readonly issuer: string
  /** How many requests may be under way at once before new ones are refused. */
  readonly maxUnderWay: number
  readonly authenticate: (request: HttpRequest) => Promise<Caller>
  /** Whether what the caller came in with still opens anything. */
  readonly isOpen: (caller: CustomerCaller) => Promise<boolean>
  /** Whether the request shows that the caller's customer is present. */
  readonly presenceOf: (request: HttpRequest, caller: Caller) => Attendance | Promise<Attendance>
}

/** The graph as routes, with its life. */
export interface Graphql {
  readonly routes: Route[]
  start(): Promise<void>
  stop(): Promise<void>
}

const MAX_BODY_BYTES = 65_536
/** A client that would rather have nothing than less sends this with `all`. */
const REFUSE_HEADER = 'guichet-unauthorized'

/** The one graph at /graphql. Throws at once where a field of the contract has no authorization rule. */
export function createGraphql(dependencies: GraphqlDependencies): Graphql {
  const { typeDefs, services, ledger, outbox, world, issuer, authenticate, isOpen, presenceOf } = dependencies
  const { log } = world
  const { schema, rules, read } = buildSchema(typeDefs, services, issuer)
  const { quotas } = services.clients
  const planner = createPlanner(schema, rules, read)
  const visible = createVisible(schema, rules)
  const operations = createOperations({ schema, planner, visible, ledger, issuer, log })
  const documents = createDocuments(services.clients)
  const apollo = createApollo({ schema, operations, visible, log })
  const subscriptions = createSubscriptions({
    ...services,
    planner,
    visible,
    operations,
    outbox,
    isOpen,
    clock: world.clock,
    log,
  })

  const shedding = createShedding(dependencies.maxUnderWay)
  const cors = createCors(services.clients)

  async function handle(request: HttpRequest): Promise<HttpReply> {
    const { requestId } = request
    let leave: () => void = () => undefined
    try {
      leave = shedding.enter()
      const caller = await callerOf(request)
      if (request.headers.origin !== undefined) await letRead(request, caller)
      const charging = quotas.charge(caller, LEAST_COST)
      const charge = charging instanceof Promise ? await charging : charging
      const attendance = await presenceOf(request, caller)
      // Nobody would read the answer, and a process with too much to do has others to answer.
      if (request.raw.response.closed)
        throw new GatewayError('MALFORMED_REQUEST', { internal: 'the sender left before the operation began' })
      const refuseWhole = request.headers[REFUSE_HEADER] === 'all'
      return await answer(request, { caller, requestId, ...attendance, refuseWhole, charge })
    } catch (thrown) {
      const error = asGatewayError(thrown)
      if (error.facts.category === 'INTERNAL') throw thrown
      // A page learns why it was refused, too, whether or not it got as far as being known.
      if (request.headers.origin !== undefined) await letRead(request, ANONYMOUS)
      log.debug('graphql.refused', { requestId, code: error.code })
      return jsonReply(
        error.facts.status,
        { errors: [errorOf(error.code, requestId)] },
        {
          ...(error.facts.status === 401 && { 'www-authenticate': refusalChallenge(error, issuer) }),
          ...(error.retryAfterS !== undefined && { 'retry-after': String(error.retryAfterS) }),
        },
      )
    } finally {
      leave()
    }
  }

  /** Who sent the request. A token that is not accepted is charged to the address: guessing is no cheaper than asking. */
  async function callerOf(request: HttpRequest): Promise<Caller> {
    try {
      return await authenticate(request)
    } catch (thrown) {
      if (asGatewayError(thrown).facts.category === 'AUTHENTICATION')
        await quotas.charge({ ...ANONYMOUS, address: request.customerIp }, LEAST_COST)
      throw thrown
    }
  }

  /** Lets the page that asks read the answer, where its origin is known; said once. */
  async function letRead(request: HttpRequest, caller: Caller): Promise<void> {
    const { response } = request.raw
    if (response.hasHeader('vary')) return
    for (const [name, value] of Object.entries(await cors.headersFor(request, caller))) response.setHeader(name, value)
  }

  async function answer(request: HttpRequest, context: GraphqlContext): Promise<HttpReply> {
    const asked = request.method === 'POST' ? await readPosted(request) : readSearched(request)
    const text = await documents.textOf(asked, context.caller)
    const { operationName } = asked
    const variables = asked.variables ?? {}
    const { accept = '' } = request.headers
    const parsed = planner.find(text) ?? readNew(text, context.caller)
    if (!(parsed instanceof InvalidDocument)) documents.store(asked, context.caller)
    if (accept.includes('text/event-stream'))
      return subscriptions.subscribe(request, { parsed, operationName, variables }, context)

    const requested = parsed instanceof InvalidDocument ? parsed : planner.operation(parsed, operationName)
    // What is requested in the plainest way needs no more than its plan.
    const contentType = plainly(accept)
    if (contentType && requested && 'operation' in requested && isPlain(requested.operation.operation, request)) {
      const { refuseWhole, charge } = context
      const answer = await operations.run(requested, { context, variables, refuseWhole, charge })
      return {
        status: statusFor(accept, answer.status),
        headers: { 'content-type': contentType, ...answer.headers },
        body: answer.body,
        ascii: true,
      }
    }
    return throughApollo(apollo, request, { ...context, requested, variables })
  }

  function readNew(text: string, caller: Caller): ParsedDocument | InvalidDocument {
    try {
      return planner.read(text, caller)
    } catch (thrown) {
      if (thrown instanceof InvalidDocument) return thrown
      throw thrown
    }
  }

  return {
    routes: [route('POST GET', '/graphql', handle), route('OPTIONS', '/graphql', (request) => cors.preflight(request))],
    async start() {
      await apollo.start()
      subscriptions.start()
      shedding.start()
    },
    async stop() {
      shedding.stop()
      subscriptions.stop()
      await apollo.stop()
    },
  }
}

const isPlain = (type: OperationTypeNode, { method }: HttpRequest): boolean =>
  type === OperationTypeNode.QUERY || (type === OperationTypeNode.MUTATION && method === 'POST')

/** Has Apollo weigh the rest of the protocol. It reads a stand-in; the operation and its variables go beside it. */
async function throughApollo(
  apollo: ApolloServer<ApolloContext>,
  request: HttpRequest,
  context: ApolloContext,
): Promise<HttpReply> {
  const headers = new HeaderMap()
  for (const [name, value] of Object.entries(request.headers))
    if (value !== undefined) headers.set(name, Array.isArray(value) ? value.join(', ') : value)
  const query = standInFor(context.requested)
  const posted = request.method === 'POST'
  const httpGraphQLRequest: HTTPGraphQLRequest = {
    method: request.method,
    headers,
    search: posted ? '' : `?${new URLSearchParams({ query }).toString()}`,
    body: posted ? { query } : undefined,
  }
  const reply = await apollo.executeHTTPGraphQLRequest({ httpGraphQLRequest, context: () => Promise.resolve(context) })
  if (reply.body.kind !== 'complete') throw new GatewayError('INTERNAL', { internal: 'chunked answer' })
  return {
    status: statusFor(request.headers.accept ?? '', reply.status ?? 200),
    headers: Object.fromEntries(reply.headers),
    body: reply.body.string,
  }
}

const LEGACY = 'application/json; charset=utf-8'
const CURRENT = 'application/graphql-response+json; charset=utf-8'

/** The content type for an `Accept` that leaves no choice; everything else is Apollo's to weigh. */
function plainly(accept: string): string | undefined {
  switch (accept) {
    case '':
    case '*/*':
    case 'application/json':
      return LEGACY
    case 'application/graphql-response+json':
      return CURRENT
    default:
      return undefined
  }
}

/**
 * A client that asks for `application/json` by name is of the time before `application/graphql-response+json`, and takes a
 * status other than 200 for an answer that is not GraphQL (draft, 6.4.1).
 */
function statusFor(accept: string, status: number): number {
  const legacy = accept.includes('application/json') && !accept.includes('graphql-response+json')
  return legacy && status === 400 ? 200 : status
}

/** A request as GraphQL over HTTP has it (draft, 5.4). */
const askedShape = z.object({
  query: z.string().min(1).nullish(),
  operationName: z.string().nullish(),
  variables: z.record(z.string(), z.unknown()).nullish(),
  extensions: z.record(z.string(), z.unknown()).nullish(),
})
type Asked = z.output<typeof askedShape>

async function readPosted(request: HttpRequest): Promise<Asked> {
  const contentType = (request.headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase()
  if (contentType !== 'application/json') throw new GatewayError('UNSUPPORTED_MEDIA_TYPE')
  const body = askedShape.safeParse(parseJson(await request.body(MAX_BODY_BYTES)))
  if (!body.success) throw new GatewayError('MALFORMED_REQUEST')
  return body.data
}

function readSearched({ url }: HttpRequest): Asked {
  const given = Object.fromEntries(url.searchParams)
  const json = (name: string): unknown => (given[name] ? parseJson(given[name]) : undefined)
  const asked = askedShape.safeParse({ ...given, variables: json('variables'), extensions: json('extensions') })
  if (!asked.success) throw new GatewayError('MALFORMED_REQUEST')
  return asked.data
}
