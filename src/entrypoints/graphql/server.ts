import { ApolloServer, type ApolloServerPlugin, type BaseContext } from '@apollo/server'
import {
  ApolloServerPluginCacheControlDisabled,
  ApolloServerPluginLandingPageDisabled,
} from '@apollo/server/plugin/disabled'
import {
  execute,
  type ExecutionResult,
  type GraphQLFormattedError,
  type GraphQLSchema,
  type OperationDefinitionNode,
} from 'graphql'
import type { Log } from '../../kernel/log.ts'
import type { RequestContext } from '../../kernel/request.ts'
import { deniedError, documentError, errorOf, executionError } from './errors.ts'
import { blank, PlanTooLarge, type Plan, type Planner } from './plan.ts'

/** What Apollo hands from the request to the plan. */
export interface GraphqlContext extends BaseContext, RequestContext {
  /** Where the client wants the whole request refused rather than fields left out. */
  readonly refuseWhole: boolean
}

const MAX_TOKENS = 1_000

/**
 * Apollo Server, which parses and validates; what is executed is always the caller's plan, by the plugin below, so there
 * is no way past it to an unguarded document.
 */
export function createApollo(schema: GraphQLSchema, planner: Planner, log: Log): ApolloServer<GraphqlContext> {
  return new ApolloServer<GraphqlContext>({
    schema,
    plugins: [
      guardedExecution(schema, planner, log),
      ApolloServerPluginCacheControlDisabled(),
      ApolloServerPluginLandingPageDisabled(),
    ],
    introspection: true,
    hideSchemaDetailsFromClientErrors: true,
    includeStacktraceInErrorResponses: false,
    persistedQueries: false,
    allowBatchedHttpRequests: false,
    // Tokens travel in a header that no other site's page can make a browser send, so there is nothing to forge; and the
    // prevention would refuse the plain GET that GraphQL over HTTP allows.
    csrfPrevention: false,
    stopOnTerminationSignals: false,
    parseOptions: { maxLexicalTokens: MAX_TOKENS },
    formatError: (formatted) => formatted,
    logger: {
      debug: () => undefined,
      info: () => undefined,
      warn: () => undefined,
      error: () => log.error('apollo.failed'),
    },
  })
}

function guardedExecution(schema: GraphQLSchema, planner: Planner, log: Log): ApolloServerPlugin<GraphqlContext> {
  return {
    requestDidStart: () =>
      Promise.resolve({
        async responseForOperation({ request, document, operation, source, contextValue, response }) {
          const { requestId, caller, refuseWhole } = contextValue
          const answer = (result: ExecutionAnswer, status?: number) => {
            if (status !== undefined) response.http.status = status
            return { http: response.http, body: { kind: 'single' as const, singleResult: result } }
          }
          // Apollo comes here, against its own types, when the document holds no such operation.
          if (!(operation as OperationDefinitionNode | undefined))
            return answer(
              { errors: [errorOf('MALFORMED_REQUEST', requestId, { message: 'There is no such operation.' })] },
              400,
            )
          let plan: Plan
          try {
            plan = planner.planOf(source, document, operation, caller)
          } catch (error) {
            if (error instanceof PlanTooLarge) return answer({ errors: [errorOf('PAYLOAD_TOO_LARGE', requestId)] }, 400)
            throw error
          }
          const refused = plan.denied.map((field) => deniedError(field, requestId))
          if (refuseWhole && refused.length > 0) return answer({ errors: refused, data: null }, 403)
          return answer(await run(schema, plan, request.variables ?? {}, contextValue, log))
        },
        willSendResponse({ response, errors, contextValue }) {
          if (response.body.kind !== 'single' || !errors) return Promise.resolve()
          // What Apollo refused itself: the document did not parse, did not fit the schema, or named no operation.
          response.body.singleResult.errors = errors.map((error) =>
            documentError(schema, error, contextValue.requestId),
          )
          return Promise.resolve()
        },
      }),
  }
}

/** What goes back for one operation. */
export interface ExecutionAnswer {
  data?: Record<string, unknown> | null
  errors?: GraphQLFormattedError[]
}

/** Executes a plan and puts each denied field's null and error in its place. */
export async function run(
  schema: GraphQLSchema,
  plan: Plan,
  variableValues: Record<string, unknown>,
  contextValue: RequestContext,
  log: Log,
  rootValue?: unknown,
): Promise<ExecutionAnswer> {
  const result: ExecutionResult = await execute({
    schema,
    document: plan.document,
    variableValues,
    contextValue,
    rootValue,
  })
  const errors = [
    ...(result.errors ?? []).map((error) => executionError(error, contextValue.requestId, log)),
    ...plan.denied.map((field) => deniedError(field, contextValue.requestId)),
  ]
  if (result.data) blank(result.data, plan.denied)
  return {
    ...(result.data !== undefined && { data: result.data }),
    ...(errors.length > 0 && { errors }),
  }
}
