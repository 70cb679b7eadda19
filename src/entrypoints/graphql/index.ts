import { HeaderMap, type ApolloServer, type HTTPGraphQLRequest } from '@apollo/server'
import { OperationTypeNode } from 'graphql'
import { refusalChallenge } from '../../kernel/challenges.ts'
import { asGatewayError, GatewayError } from '../../kernel/errors.ts'
import { route, type HttpReply, type HttpRequest, type Route } from '../../kernel/http.ts'
import { ANONYMOUS, type Caller, type Attendance, type CustomerCaller } from '../../kernel/request.ts'
import type { World } from '../../kernel/world.ts'
import type { Ledger } from '../../modules/ledger/index.ts'
import type { Outbox } from '../../modules/outbox/index.ts'
import { createCors } from './cors.ts'
import { createDocuments } from './documents.ts'
import { requestError } from './errors.ts'
import { CONTENT_TYPE, formatFor, oneEvent, statusIn, type Format } from './negotiation.ts'
import { createOperations, LEAST_COST } from './operation.ts'
import { readParameters } from './parameters.ts'
import { createPlanner } from './planner.ts'
import { InvalidDocument, type ParsedDocument } from './read-document.ts'
import { buildSchema } from './schema.ts'
import { createApollo, STAND_IN, type ApolloContext, type GraphqlContext } from './server.ts'
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
  const apollo = createApollo({ schema, visible, log })
  const subscriptions = createSubscriptions({ ...services, operations, outbox, isOpen, clock: world.clock, log })

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
      return await answer(request, { caller, requestId, ...attendance, refuseWhole, charge }).catch(
        (error: unknown) => {
          charge.fail()
          throw error
        },
      )
    } catch (thrown) {
      const error = asGatewayError(thrown)
      if (error.facts.category === 'INTERNAL') throw thrown
      // A page learns why it was refused, too, whether or not it got as far as being known.
      if (request.headers.origin !== undefined) await letRead(request, ANONYMOUS)
      return refusal(error, requestId)
    } finally {
      leave()
    }
  }

  function refusal(error: GatewayError, requestId: string): HttpReply {
    const { facts, retryAfterS } = error
    return {
      status: facts.status,
      headers: {
        'content-type': CONTENT_TYPE.JSON,
        ...(facts.status === 405 && { allow: 'POST' }),
        ...(facts.status === 401 && { 'www-authenticate': refusalChallenge(error, issuer) }),
        ...(retryAfterS !== undefined && { 'retry-after': String(retryAfterS) }),
      },
      body: JSON.stringify({ errors: [requestError(error, requestId)] }),
      error,
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
    const parameters = await readParameters(request)
    const { operationName, variables } = parameters
    const text = await documents.textOf(parameters, context.caller)
    const parsed = planner.find(text) ?? readNew(text, context.caller)
    const operation = parsed instanceof InvalidDocument ? undefined : planner.operation(parsed, operationName)
    const type = operation?.operation.operation
    const { accept } = request.headers
    const format = formatFor(accept, type)
    if (type === OperationTypeNode.MUTATION && request.method !== 'POST') throw new GatewayError('METHOD_NOT_ALLOWED')
    if (!(parsed instanceof InvalidDocument)) documents.store(parameters, context.caller)
    if (!operation) {
      context.charge.fail()
      const requested = parsed instanceof InvalidDocument ? parsed : undefined
      return throughApollo(apollo, request, format, { ...context, requested })
    }
    const { refuseWhole, charge } = context
    if (type === OperationTypeNode.SUBSCRIPTION && format === 'EVENT_STREAM') {
      const reply = await subscriptions.subscribe(request, { operation, variables }, context)
      if (reply !== 'HANDED_OVER' && reply.status >= 400) charge.fail()
      return reply
    }

    const answer = await operations.run(operation, { context, variables, refuseWhole, charge })
    if (answer.status >= 400) charge.fail()
    const streams = format === 'EVENT_STREAM' && answer.status === 200
    return {
      status: statusIn(format, accept, answer.status),
      headers: {
        'content-type': CONTENT_TYPE[!streams && format === 'EVENT_STREAM' ? 'JSON' : format],
        ...answer.headers,
      },
      body: streams ? oneEvent(answer.body) : answer.body,
      ascii: true,
    }
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

/** Has Apollo answer for a document that cannot be executed. It reads a stand-in; what is wrong goes beside it. */
async function throughApollo(
  apollo: ApolloServer<ApolloContext>,
  request: HttpRequest,
  format: Format,
  context: ApolloContext,
): Promise<HttpReply> {
  const contentType = CONTENT_TYPE[format === 'EVENT_STREAM' ? 'JSON' : format]
  const headers = new HeaderMap([
    ['accept', contentType],
    ['content-type', 'application/json'],
  ])
  const httpGraphQLRequest: HTTPGraphQLRequest = { method: 'POST', headers, search: '', body: { query: STAND_IN } }
  const reply = await apollo.executeHTTPGraphQLRequest({ httpGraphQLRequest, context: () => Promise.resolve(context) })
  if (reply.body.kind !== 'complete') throw new GatewayError('INTERNAL', { internal: 'chunked answer' })
  return {
    status: statusIn(format, request.headers.accept, reply.status ?? 200),
    headers: Object.fromEntries(reply.headers),
    body: reply.body.string,
  }
}
