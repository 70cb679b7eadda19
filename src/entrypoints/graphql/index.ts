import { HeaderMap, type ApolloServer, type HTTPGraphQLRequest } from '@apollo/server'
import { OperationTypeNode } from 'graphql'
import { SECOND_MS } from '../../kernel/clock.ts'
import { invalidTokenChallenge } from '../../kernel/challenges.ts'
import { toGatewayError, GatewayError } from '../../kernel/errors.ts'
import { route, type HttpResponse, type HttpRequest, type Route } from '../../kernel/http.ts'
import { ANONYMOUS, type Caller, type CustomerPresence, type CustomerCaller } from '../../kernel/request-context.ts'
import type { Metrics } from '../../kernel/metrics.ts'
import { isPromise } from '../../kernel/maybe-promise.ts'
import type { World } from '../../kernel/world.ts'
import { retryAfterHeader } from '../../kernel/retry-after.ts'
import type { Signals } from '../../storage/signals.ts'
import type { Ledger } from '../../modules/ledger/index.ts'
import { createCors } from './cors.ts'
import { createPersistedQueries } from './persisted-queries.ts'
import { requestError } from './errors.ts'
import {
  CONTENT_TYPE,
  negotiateFormat,
  toSingleEventStream,
  statusForFormat,
  type ResponseFormat,
} from './negotiation.ts'
import { createOperations, MIN_COST } from './execution/operation.ts'
import { readParameters } from './parameters.ts'
import { createPlanner } from './execution/planner.ts'
import { InvalidDocument, type ParsedDocument } from './read-document.ts'
import { buildSchema } from './schema.ts'
import { createApolloServer, PLACEHOLDER_QUERY, type ApolloContext, type GraphqlContext } from './apollo.ts'
import type { Services } from './services.ts'
import { createLoadShedder } from './load-shedding.ts'
import { createSubscriptions } from './subscriptions.ts'
import { createVisibleSchemas } from './authorization/visible-schema.ts'

/** Dependencies of the GraphQL API. */
export interface GraphqlDependencies {
  readonly typeDefs: string
  readonly services: Services
  readonly ledger: Ledger
  readonly signals: Signals
  readonly world: World
  readonly metrics: Pick<Metrics, 'graphqlRequestDuration'>
  readonly issuer: string
  /** The maximum number of concurrent requests. Further requests are rejected. */
  readonly maxConcurrentRequests: number
  readonly authenticate: (request: HttpRequest) => Promise<Caller>
  /** Whether the caller's token, client and consent are still active. */
  readonly isStillAuthorized: (caller: CustomerCaller) => Promise<boolean>
  /** Whether the request proves that the customer is present. */
  readonly checkPresence: (request: HttpRequest, caller: Caller) => CustomerPresence | Promise<CustomerPresence>
}

/** The routes of the GraphQL API, with its start and stop. */
export interface Graphql {
  readonly routes: Route[]
  start(): Promise<void>
  /** Ends all live streams, and every later one at once, so that clients reconnect to another process. */
  endStreams(): void
  /** Call it when no more requests arrive. */
  stop(): Promise<void>
}

/** With the value `all`, a denied field causes an error for the whole request. */
const UNAUTHORIZED_HEADER = 'guichet-unauthorized'

/** Creates the GraphQL API at /graphql. Throws if a field of the schema has no authorization rule. */
export function createGraphql(dependencies: GraphqlDependencies): Graphql {
  const { typeDefs, services, ledger, signals, world, issuer, authenticate, isStillAuthorized, checkPresence } =
    dependencies
  const { metrics } = dependencies
  const { log, timers } = world
  const { schema, rules, documents } = buildSchema(typeDefs, services, issuer, world.clock)
  const { quotas } = services.clients
  const planner = createPlanner(schema, rules, documents)
  const visibleSchemaFor = createVisibleSchemas(schema, rules)
  const operations = createOperations({ schema, planner, visibleSchemaFor, ledger, issuer, clock: world.clock, log })
  const persistedQueries = createPersistedQueries(services.clients)
  const apollo = createApolloServer({ schema, visibleSchemaFor, log })
  const subscriptions = createSubscriptions({
    ...services,
    operations,
    signals,
    isStillAuthorized,
    clock: world.clock,
    timers: world.timers,
    log,
  })

  const loadShedder = createLoadShedder(dependencies.maxConcurrentRequests, world.timers)
  const cors = createCors(services.clients)

  async function handle(request: HttpRequest): Promise<HttpResponse> {
    const startedAtMs = timers.monotonicMs()
    const measurement: Measurement = { operationType: undefined, status: undefined, hasFieldErrors: false }
    let status = 500
    try {
      const reply = await handleMeasured(request, measurement)
      status = measurement.status ?? (reply === 'HIJACKED' ? 200 : reply.status)
      return reply
    } finally {
      const { operationType = 'unknown', hasFieldErrors } = measurement
      const labels = { operation_type: operationType, outcome: outcomeOf(status, hasFieldErrors) }
      metrics.graphqlRequestDuration.observe(labels, (timers.monotonicMs() - startedAtMs) / SECOND_MS)
    }
  }

  async function handleMeasured(request: HttpRequest, measurement: Measurement): Promise<HttpResponse> {
    const { requestId } = request
    let release: () => void = () => undefined
    try {
      release = loadShedder.acquire()
      const caller = await authenticateCaller(request)
      if (request.headers.origin !== undefined) await setCorsHeaders(request, caller)
      const pendingCharge = quotas.charge(caller, MIN_COST)
      const charge = isPromise(pendingCharge) ? await pendingCharge : pendingCharge
      const customerPresence = await checkPresence(request, caller)
      // Nobody would read the response, so an overloaded process does no work for it.
      if (request.raw.response.closed)
        throw new GatewayError('MALFORMED_REQUEST', { internalMessage: 'the sender closed the connection' })
      const rejectUnauthorized = request.headers[UNAUTHORIZED_HEADER] === 'all'
      const context = { caller, requestId, ...customerPresence, rejectUnauthorized, charge }
      return await respond(request, context, measurement).catch((error: unknown) => {
        charge.markFailed()
        throw error
      })
    } catch (thrown) {
      const error = toGatewayError(thrown)
      if (error.definition.category === 'INTERNAL') throw thrown
      // Lets a page read the error, even if its caller was not authenticated.
      if (request.headers.origin !== undefined) await setCorsHeaders(request, ANONYMOUS)
      return errorReply(error, requestId)
    } finally {
      release()
    }
  }

  function errorReply(error: GatewayError, requestId: string): HttpResponse {
    const { definition, retryAfterSeconds } = error
    return {
      status: definition.httpStatus,
      headers: {
        'content-type': CONTENT_TYPE.JSON,
        ...(definition.httpStatus === 405 && { allow: 'POST' }),
        ...(definition.httpStatus === 401 && { 'www-authenticate': invalidTokenChallenge(error, issuer) }),
        ...retryAfterHeader(retryAfterSeconds),
      },
      body: JSON.stringify({ errors: [requestError(error, requestId, world.clock)] }),
      error,
    }
  }

  /** Authenticates the caller. An invalid token is charged to the sender's address, so that guessing tokens is not free. */
  async function authenticateCaller(request: HttpRequest): Promise<Caller> {
    try {
      return await authenticate(request)
    } catch (thrown) {
      if (toGatewayError(thrown).definition.category === 'AUTHENTICATION')
        await quotas.charge({ ...ANONYMOUS, address: request.remoteAddress }, MIN_COST)
      throw thrown
    }
  }

  /** Sets the CORS headers of the response, once. */
  async function setCorsHeaders(request: HttpRequest, caller: Caller): Promise<void> {
    const { response } = request.raw
    if (response.hasHeader('vary')) return
    for (const [name, value] of Object.entries(await cors.headersFor(request, caller))) response.setHeader(name, value)
  }

  async function respond(
    request: HttpRequest,
    context: GraphqlContext,
    measurement: Measurement,
  ): Promise<HttpResponse> {
    const parameters = await readParameters(request)
    const { operationName, variables } = parameters
    const query = await persistedQueries.resolveQuery(parameters, context.caller)
    const parsed = readDocument(query, context.caller)
    const operation = parsed instanceof InvalidDocument ? undefined : planner.findOperation(parsed, operationName)
    const type = operation?.operation.operation
    measurement.operationType = type
    const { accept } = request.headers
    const format = negotiateFormat(accept, type)
    if (type === OperationTypeNode.MUTATION && request.method !== 'POST') throw new GatewayError('METHOD_NOT_ALLOWED')
    if (!(parsed instanceof InvalidDocument)) persistedQueries.save(parameters, context.caller)
    if (!operation) {
      measurement.status = 400
      context.charge.markFailed()
      const invalidDocument = parsed instanceof InvalidDocument ? parsed : undefined
      return respondThroughApollo(apollo, request, format, { ...context, invalidDocument })
    }
    const { rejectUnauthorized, charge } = context
    if (type === OperationTypeNode.SUBSCRIPTION && format === 'EVENT_STREAM') {
      const reply = await subscriptions.subscribe(request, { operation, variables }, context)
      if (reply !== 'HIJACKED' && reply.status >= 400) charge.markFailed()
      return reply
    }

    const response = await operations.run(operation, { context, variables, rejectUnauthorized, charge })
    measurement.status = response.status
    measurement.hasFieldErrors = response.hasFieldErrors ?? false
    if (response.status >= 400) charge.markFailed()
    const isStream = format === 'EVENT_STREAM' && response.status === 200
    return {
      status: statusForFormat(format, accept, response.status),
      headers: {
        'content-type': CONTENT_TYPE[!isStream && format === 'EVENT_STREAM' ? 'JSON' : format],
        ...response.headers,
      },
      body: isStream ? toSingleEventStream(response.body) : response.body,
      isAscii: true,
    }
  }

  function readDocument(text: string, caller: Caller): ParsedDocument | InvalidDocument {
    try {
      return planner.readDocument(text, caller)
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
      loadShedder.start()
    },
    endStreams: () => subscriptions.stop(),
    async stop() {
      loadShedder.stop()
      await apollo.stop()
    },
  }
}

/** The measurements of a request for metrics. `status` is the one before it is adapted to the format. */
interface Measurement {
  operationType: OperationTypeNode | undefined
  status: number | undefined
  hasFieldErrors: boolean
}

function outcomeOf(status: number, hasFieldErrors: boolean): 'success' | 'partial' | 'rejected' | 'failed' {
  if (status >= 500) return 'failed'
  if (status >= 400) return 'rejected'
  return hasFieldErrors ? 'partial' : 'success'
}

/** Lets Apollo respond to a document that cannot be executed. Apollo parses a placeholder; the errors are in the context. */
async function respondThroughApollo(
  apollo: ApolloServer<ApolloContext>,
  request: HttpRequest,
  format: ResponseFormat,
  context: ApolloContext,
): Promise<HttpResponse> {
  const contentType = CONTENT_TYPE[format === 'EVENT_STREAM' ? 'JSON' : format]
  const headers = new HeaderMap([
    ['accept', contentType],
    ['content-type', 'application/json'],
  ])
  const httpGraphQLRequest: HTTPGraphQLRequest = {
    method: 'POST',
    headers,
    search: '',
    body: { query: PLACEHOLDER_QUERY },
  }
  const reply = await apollo.executeHTTPGraphQLRequest({ httpGraphQLRequest, context: () => Promise.resolve(context) })
  if (reply.body.kind !== 'complete')
    throw new GatewayError('INTERNAL', { internalMessage: 'Apollo returned a chunked response' })
  return {
    status: statusForFormat(format, request.headers.accept, reply.status ?? 200),
    headers: Object.fromEntries(reply.headers),
    body: reply.body.string,
  }
}
