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

/** What Apollo hands through to the plan. */
export interface GraphqlContext extends BaseContext, RequestContext {
  /** Where the client wants the whole request refused rather than fields left out. */
  readonly rejectUnauthorized: boolean
  readonly charge: Charge
}

/** A request that Apollo answers: its document is not valid, or has no operation of the name that it gives. */
export interface ApolloContext extends GraphqlContext {
  readonly invalidDocument: InvalidDocument | undefined
}

/** What Apollo Server is put around. */
export interface ApolloDependencies {
  readonly schema: GraphQLSchema
  readonly visibleSchemaFor: VisibleSchemaFor
  readonly log: Log
}

/** Stands for a request's document: Apollo never gets to read what a caller wrote. */
export const PLACEHOLDER_QUERY = '{__typename}'

/**
 * Apollo Server, which answers for documents that cannot be executed. Whatever it is asked, the plugin below answers: there
 * is no way through it to a resolver.
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

function errorPlugin({ visibleSchemaFor }: ApolloDependencies): ApolloServerPlugin<ApolloContext> {
  return {
    requestDidStart: () =>
      Promise.resolve({
        responseForOperation({ contextValue, response: { http } }) {
          const { invalidDocument, requestId, caller } = contextValue
          const errors = invalidDocument
            ? documentErrors(visibleSchemaFor(caller), invalidDocument, requestId)
            : [buildError('MALFORMED_REQUEST', requestId, { message: 'There is no such operation.' })]
          http.status = 400
          return Promise.resolve({ http, body: { kind: 'single', singleResult: { errors } } })
        },
        willSendResponse({ response, errors, contextValue }) {
          if (response.body.kind !== 'single' || !errors) return Promise.resolve()
          // What Apollo refused itself, by the protocol.
          response.body.singleResult.errors = errors.map((error) =>
            documentError(visibleSchemaFor(contextValue.caller), error, contextValue.requestId),
          )
          return Promise.resolve()
        },
      }),
  }
}
