import { makeExecutableSchema } from '@graphql-tools/schema'
import { parse, validate, type GraphQLSchema } from 'graphql'
import { accountsResolvers } from '../../modules/accounts/index.ts'
import { alertsResolvers } from '../../modules/alerts/index.ts'
import { banksResolvers } from '../../modules/banks/index.ts'
import { clientsResolvers } from '../../modules/clients/index.ts'
import { consentsResolvers } from '../../modules/consents/index.ts'
import { deliveriesResolvers } from '../../modules/deliveries/index.ts'
import { accessResolvers } from './access.ts'
import { checkSize, DOCUMENT_LIMITS } from './limits.ts'
import { nodeResolvers } from './nodes.ts'
import { readRules, type Rules } from './rules.ts'
import { scalars } from './scalars.ts'
import type { Services } from './services.ts'

/** The contract of `typeDefs` with the modules behind it, and its rules. Throws where a part of it is missing. */
export function buildSchema(
  typeDefs: string,
  services: Services,
  issuer: string,
): { schema: GraphQLSchema; rules: Rules } {
  const contract = (): { schema: GraphQLSchema; rules: Rules } => ({ schema, rules })
  const schema: GraphQLSchema = makeExecutableSchema({
    typeDefs,
    resolvers: [
      scalars,
      accountsResolvers(services),
      alertsResolvers(services),
      deliveriesResolvers(services),
      consentsResolvers(services),
      banksResolvers({ ...services, issuer }),
      clientsResolvers({ ...services, fits: (document) => fits(schema, document) }),
      nodeResolvers(services),
      accessResolvers(contract, services),
    ],
    resolverValidationOptions: { requireResolversToMatchSchema: 'error' },
  })
  const rules = readRules(schema)
  return { schema, rules }
}

/** Whether a document could be asked: it is small enough, reads, and fits the contract. */
function fits(schema: GraphQLSchema, text: string): boolean {
  try {
    const document = parse(text, { maxLexicalTokens: DOCUMENT_LIMITS.tokens })
    checkSize(document)
    return validate(schema, document, undefined, { maxErrors: 1 }).length === 0
  } catch {
    return false
  }
}
