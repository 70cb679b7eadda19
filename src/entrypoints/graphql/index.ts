import { HeaderMap, type ApolloServer, type HTTPGraphQLRequest } from '@apollo/server'
import { z } from 'zod'
import { asGatewayError, GatewayError } from '../../kernel/errors.ts'
import { jsonReply, route, type HttpReply, type HttpRequest, type Route } from '../../kernel/http.ts'
import type { Caller } from '../../kernel/request.ts'
import { parseJson } from '../../kernel/wire.ts'
import type { World } from '../../kernel/world.ts'
import type { Outbox } from '../../modules/outbox/index.ts'
import { errorOf } from './errors.ts'
import { createPlanner } from './plan.ts'
import { readRules } from './rules.ts'
import { buildSchema, type Services } from './schema.ts'
import { createApollo, type GraphqlContext } from './server.ts'
import { createSubscriptions, type Subscriptions } from './subscriptions.ts'

/** What the graph stands on. */
export interface GraphqlDependencies {
  readonly typeDefs: string
  readonly services: Services
  readonly outbox: Outbox
  readonly world: World
  readonly issuer: string
  readonly authenticate: (request: HttpRequest) => Promise<Caller>
  /** The `WWW-Authenticate` of a refusal. */
  readonly challenge: (error: GatewayError) => string
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
export function createGraphql({
  typeDefs,
  services,
  outbox,
  world,
  issuer,
  authenticate,
  challenge,
}: GraphqlDependencies): Graphql {
  const schema = buildSchema(typeDefs, services, issuer)
  const planner = createPlanner(schema, readRules(schema))
  const apollo = createApollo(schema, planner, world.log)
  const { alerts, consents } = services
  const subscriptions = createSubscriptions({ schema, planner, alerts, consents, outbox, log: world.log })

  async function handle(request: HttpRequest): Promise<HttpReply> {
    const { requestId } = request
    try {
      const caller = await authenticate(request)
      const context: GraphqlContext = { caller, requestId, refuseWhole: request.headers[REFUSE_HEADER] === 'all' }
      return await answer(apollo, subscriptions, request, context)
    } catch (thrown) {
      const error = asGatewayError(thrown)
      if (error.facts.category === 'INTERNAL') throw thrown
      world.log.debug('graphql.refused', { requestId, code: error.code })
      const headers = error.facts.status === 401 ? { 'www-authenticate': challenge(error) } : {}
      return jsonReply(error.facts.status, { errors: [errorOf(error.code, requestId)] }, headers)
    }
  }

  return {
    routes: [route('POST GET', '/graphql', handle)],
    async start() {
      await apollo.start()
      await subscriptions.start()
    },
    async stop() {
      await subscriptions.stop()
      await apollo.stop()
    },
  }
}

async function answer(
  apollo: ApolloServer<GraphqlContext>,
  subscriptions: Subscriptions,
  request: HttpRequest,
  context: GraphqlContext,
): Promise<HttpReply> {
  const body = request.method === 'POST' ? await readPosted(request) : undefined
  if ((request.headers.accept ?? '').includes('text/event-stream')) {
    const query = body?.query ?? request.url.searchParams.get('query')
    if (!query) throw new GatewayError('MALFORMED_REQUEST')
    const { operationName, variables } = body ?? {}
    return subscriptions.subscribe(
      request,
      { query, ...(operationName && { operationName }), ...(variables && { variables }) },
      context,
    )
  }
  if (!body && !request.url.searchParams.get('query')) throw new GatewayError('MALFORMED_REQUEST')
  const headers = new HeaderMap()
  for (const [name, value] of Object.entries(request.headers))
    if (value !== undefined) headers.set(name, Array.isArray(value) ? value.join(', ') : value)
  const httpGraphQLRequest: HTTPGraphQLRequest = { method: request.method, headers, search: request.url.search, body }
  const reply = await apollo.executeHTTPGraphQLRequest({ httpGraphQLRequest, context: () => Promise.resolve(context) })
  if (reply.body.kind !== 'complete') throw new GatewayError('INTERNAL', { internal: 'chunked answer' })
  return {
    status: statusFor(request, reply.status),
    headers: Object.fromEntries(reply.headers),
    body: reply.body.string,
  }
}

/**
 * A client that asks for `application/json` by name is of the time before `application/graphql-response+json`, and takes a
 * status other than 200 for an answer that is not GraphQL (draft, 6.4.1).
 */
function statusFor({ headers }: HttpRequest, status: number | undefined): number {
  const legacy =
    (headers.accept ?? '').includes('application/json') && !(headers.accept ?? '').includes('graphql-response+json')
  return legacy && status === 400 ? 200 : (status ?? 200)
}

/** A request as GraphQL over HTTP has it (draft, 5.4). */
const postedBody = z.object({
  query: z.string().min(1),
  operationName: z.string().nullish(),
  variables: z.record(z.string(), z.unknown()).nullish(),
  extensions: z.record(z.string(), z.unknown()).nullish(),
})
type PostedBody = z.output<typeof postedBody>

async function readPosted(request: HttpRequest): Promise<PostedBody> {
  const contentType = (request.headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase()
  if (contentType !== 'application/json') throw new GatewayError('UNSUPPORTED_MEDIA_TYPE')
  const body = postedBody.safeParse(parseJson(await request.body(MAX_BODY_BYTES)))
  if (!body.success) throw new GatewayError('MALFORMED_REQUEST')
  return body.data
}
