import { ApolloServer, type ApolloServerPlugin, type BaseContext } from '@apollo/server'
import {
  ApolloServerPluginCacheControlDisabled,
  ApolloServerPluginLandingPageDisabled,
} from '@apollo/server/plugin/disabled'
import type { FormattedExecutionResult, GraphQLSchema, OperationDefinitionNode } from 'graphql'
import type { Log } from '../../kernel/log.ts'
import type { RequestContext } from '../../kernel/request.ts'
import { documentError, errorOf } from './errors.ts'
import { DOCUMENT_LIMITS } from './limits.ts'
import type { Operations } from './operation.ts'
import type { Planner } from './plan.ts'
import type { Visible } from './visible.ts'

/** What Apollo hands from the request to the plan. */
export interface GraphqlContext extends BaseContext, RequestContext {
  /** Where the client wants the whole request refused rather than fields left out. */
  readonly refuseWhole: boolean
}

/** What Apollo Server is put around. */
export interface ApolloDependencies {
  readonly schema: GraphQLSchema
  readonly planner: Planner
  readonly operations: Operations
  readonly visible: Visible
  readonly log: Log
}

/**
 * Apollo Server, which reads a request by the protocol, parses and validates; what is executed is always the caller's
 * plan, by the plugin below, so there is no way past it to an unguarded document.
 */
export function createApollo(dependencies: ApolloDependencies): ApolloServer<GraphqlContext> {
  return new ApolloServer<GraphqlContext>({
    schema: dependencies.schema,
    plugins: [
      guardedExecution(dependencies),
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
    parseOptions: { maxLexicalTokens: DOCUMENT_LIMITS.tokens },
    formatError: (formatted) => formatted,
    logger: {
      debug: () => undefined,
      info: () => undefined,
      warn: () => undefined,
      error: () => dependencies.log.error('apollo.failed'),
    },
  })
}

function guardedExecution({ planner, operations, visible }: ApolloDependencies): ApolloServerPlugin<GraphqlContext> {
  return {
    requestDidStart: () =>
      Promise.resolve({
        async responseForOperation({ request, document, operation, source, contextValue, response }) {
          const { requestId, refuseWhole } = contextValue
          // Apollo comes here, against its own types, when the document holds no such operation.
          if (!(operation as OperationDefinitionNode | undefined)) {
            response.http.status = 400
            const message = 'There is no such operation.'
            const errors = [errorOf('MALFORMED_REQUEST', requestId, { message })]
            return { http: response.http, body: { kind: 'single', singleResult: { errors } } }
          }
          const known = planner.learn(source, request.operationName, document, operation)
          const variables = request.variables ?? {}
          const answer = await operations.run(known, { context: contextValue, variables, refuseWhole })
          if (answer.status !== 200) response.http.status = answer.status
          for (const [name, value] of Object.entries(answer.headers ?? {})) response.http.headers.set(name, value)
          return {
            http: response.http,
            body: { kind: 'single', singleResult: JSON.parse(answer.body) as FormattedExecutionResult },
          }
        },
        willSendResponse({ response, errors, contextValue }) {
          if (response.body.kind !== 'single' || !errors) return Promise.resolve()
          // What Apollo refused itself: the document did not parse, did not fit the schema, or named no operation.
          response.body.singleResult.errors = errors.map((error) =>
            documentError(visible(contextValue.caller), error, contextValue.requestId),
          )
          return Promise.resolve()
        },
      }),
  }
}
