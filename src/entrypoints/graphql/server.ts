import { ApolloServer, type ApolloServerPlugin, type BaseContext } from '@apollo/server'
import {
  ApolloServerPluginCacheControlDisabled,
  ApolloServerPluginLandingPageDisabled,
} from '@apollo/server/plugin/disabled'
import {
  OperationTypeNode,
  type FormattedExecutionResult,
  type GraphQLFormattedError,
  type GraphQLSchema,
} from 'graphql'
import type { Log } from '../../kernel/log.ts'
import type { RequestContext } from '../../kernel/request.ts'
import type { Charge } from '../../modules/clients/index.ts'
import { documentError, errorOf } from './errors.ts'
import type { Operations } from './operation.ts'
import type { InvalidDocument, ParsedOperation } from './read-document.ts'
import type { Visible } from './visible.ts'

/** What a request is for, as our own reader found it: an operation, none of that name, or no valid document. */
export type Requested = ParsedOperation | InvalidDocument | undefined

/** What Apollo hands through to the plan. */
export interface GraphqlContext extends BaseContext, RequestContext {
  /** Where the client wants the whole request refused rather than fields left out. */
  readonly refuseWhole: boolean
  readonly charge: Charge
}

/** A request on its way through Apollo. */
export interface ApolloContext extends GraphqlContext {
  readonly requested: Requested
  readonly variables: Readonly<Record<string, unknown>>
}

/** What Apollo Server is put around. */
export interface ApolloDependencies {
  readonly schema: GraphQLSchema
  readonly operations: Operations
  readonly visible: Visible
  readonly log: Log
}

/**
 * Stands for a request's document: Apollo keeps to the protocol, which asks whether an operation changes anything, and
 * never gets to read what a caller wrote.
 */
export function standInFor(requested: Requested): string {
  const changes = requested && 'operation' in requested && requested.operation.operation !== OperationTypeNode.QUERY
  return changes ? 'mutation{__typename}' : '{__typename}'
}

/**
 * Apollo Server, which answers by the protocol; what is executed is always the caller's plan, by the plugin below, so
 * there is no way past it to an unguarded document.
 */
export function createApollo(dependencies: ApolloDependencies): ApolloServer<ApolloContext> {
  return new ApolloServer<ApolloContext>({
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
    formatError: (formatted) => formatted,
    logger: {
      debug: () => undefined,
      info: () => undefined,
      warn: () => undefined,
      error: () => dependencies.log.error('apollo.failed'),
    },
  })
}

function guardedExecution({ operations, visible }: ApolloDependencies): ApolloServerPlugin<ApolloContext> {
  return {
    requestDidStart: () =>
      Promise.resolve({
        async responseForOperation({ contextValue, response }) {
          const { requested, requestId, refuseWhole, variables, charge, caller } = contextValue
          const { http } = response
          const refuse = (errors: GraphQLFormattedError[]) => {
            http.status = 400
            return { http, body: { kind: 'single' as const, singleResult: { errors } } }
          }
          if (requested === undefined)
            return refuse([errorOf('MALFORMED_REQUEST', requestId, { message: 'There is no such operation.' })])
          if ('errors' in requested)
            return refuse(requested.errors.map((error) => documentError(visible(caller), error, requestId)))
          const answer = await operations.run(requested, { context: contextValue, variables, refuseWhole, charge })
          if (answer.status !== 200) http.status = answer.status
          for (const [name, value] of Object.entries(answer.headers ?? {})) http.headers.set(name, value)
          return { http, body: { kind: 'single', singleResult: JSON.parse(answer.body) as FormattedExecutionResult } }
        },
        willSendResponse({ response, errors, contextValue }) {
          if (response.body.kind !== 'single' || !errors) return Promise.resolve()
          // What Apollo refused itself, by the protocol.
          response.body.singleResult.errors = errors.map((error) =>
            documentError(visible(contextValue.caller), error, contextValue.requestId),
          )
          return Promise.resolve()
        },
      }),
  }
}
