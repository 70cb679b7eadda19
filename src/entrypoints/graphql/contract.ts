import type { GraphQLSchema } from 'graphql'
import type { DocumentReader } from './read-document.ts'
import type { Rules } from './authorization/rules.ts'

/** The schema, its authorization rules, and the reader of documents that are written against it. */
export interface Contract {
  readonly schema: GraphQLSchema
  readonly rules: Rules
  readonly documents: DocumentReader
}
