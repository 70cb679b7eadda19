import { ApolloServer, type ApolloServerPlugin, type BaseContext } from '@apollo/server'
import {
  ApolloServerPluginCacheControlDisabled,
  ApolloServerPluginLandingPageDisabled,
} from '@apollo/server/plugin/disabled'
import type { GraphQLSchema } from 'graphql'
import type { Log } from '../../kernel/log.ts'
import type { RequestContext } from '../../kernel/request-context.ts'
import type { Charge } from '../../modules/clients/index.ts'
import { documentError, documentErrors } from './operation-errors.ts'
import { buildError } from './errors.ts'
import type { InvalidDocument } from './read-document.ts'
import type { VisibleSchemaFor } from './authorization/visible-schema.ts'

/** The context of one GraphQL request. */
export interface GraphqlContext extends BaseContext, RequestContext {
  /** Whether the client prefers an error for the whole request to a response without the denied fields. */
  readonly rejectUnauthorized: boolean
  readonly charge: Charge
}

/** The context of a request that Apollo responds to: its document is invalid or has no operation with the requested name. */
export interface ApolloContext extends GraphqlContext {
  readonly invalidDocument: InvalidDocument | undefined
}

/** Dependencies of the Apollo server. */
export interface ApolloDependencies {
  readonly schema: GraphQLSchema
  readonly visibleSchemaFor: VisibleSchemaFor
  readonly log: Log
}

/** Passed to Apollo instead of the request's document, so that Apollo never parses input. */
export const PLACEHOLDER_QUERY = '{__typename}'

/**
 * Creates the Apollo server, which responds to requests whose document cannot be executed. The plugin below produces every
 * response, so Apollo never calls a resolver.
 */
export function createApolloServer(dependencies: ApolloDependencies): ApolloServer<ApolloContext> {
  return new ApolloServer<ApolloContext>({
    schema: dependencies.schema,
    plugins: [
      errorPlugin(dependencies),
      ApolloServerPluginCacheControlDisabled(),
      ApolloServerPluginLandingPageDisabled(),
    ],
    introspection: true,
    hideSchemaDetailsFromClientErrors: true,
    includeStacktraceInErrorResponses: false,
    persistedQueries: false,
    allowBatchedHttpRequests: false,
    // Tokens are sent in a header that a page of another site cannot set, so requests cannot be forged. The prevention would
    // also reject the plain GET that GraphQL over HTTP allows.
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

const NO_SUCH_OPERATION =
  'The document has no operation with the requested name, or has several operations and no name was requested.'

function errorPlugin({ visibleSchemaFor }: ApolloDependencies): ApolloServerPlugin<ApolloContext> {
  return {
    requestDidStart: () =>
      Promise.resolve({
        responseForOperation({ contextValue, response: { http } }) {
          const { invalidDocument, requestId, caller } = contextValue
          const errors = invalidDocument
            ? documentErrors(visibleSchemaFor(caller), invalidDocument, requestId)
            : [buildError('MALFORMED_REQUEST', requestId, { message: NO_SUCH_OPERATION })]
          http.status = 400
          return Promise.resolve({ http, body: { kind: 'single', singleResult: { errors } } })
        },
        willSendResponse({ response, errors, contextValue }) {
          if (response.body.kind !== 'single' || !errors) return Promise.resolve()
          // Errors of Apollo itself, such as protocol errors.
          response.body.singleResult.errors = errors.map((error) =>
            documentError(visibleSchemaFor(contextValue.caller), error, contextValue.requestId),
          )
          return Promise.resolve()
        },
      }),
  }
}
