import type { GraphQLSchema } from 'graphql'
import type { DocumentReader } from './read-document.ts'
import type { Rules } from './authorization/rules.ts'

/** The contract, who may have what of it, and how documents against it are read. */
export interface Contract {
  readonly schema: GraphQLSchema
  readonly rules: Rules
  readonly documents: DocumentReader
}
