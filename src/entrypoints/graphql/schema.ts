import { makeExecutableSchema } from '@graphql-tools/schema'
import type { GraphQLSchema } from 'graphql'
import { GatewayError } from '../../kernel/errors.ts'
import { accountsResolvers, customerResolvers } from '../../modules/accounts/index.ts'
import { alertsResolvers } from '../../modules/alerts/index.ts'
import { banksResolvers } from '../../modules/banks/index.ts'
import { clientsResolvers } from '../../modules/clients/index.ts'
import { consentsResolvers } from '../../modules/consents/index.ts'
import { deliveriesResolvers } from '../../modules/deliveries/index.ts'
import { ledgerResolvers } from '../../modules/ledger/index.ts'
import { accessResolvers } from './access.ts'
import type { Contract } from './contract.ts'
import { nodeResolvers } from './nodes.ts'
import { createDocumentParser, InvalidDocument, type ParseDocument } from './read-document.ts'
import { readRules } from './rules.ts'
import { scalars } from './scalars.ts'
import type { Services } from './services.ts'

/** The contract of `typeDefs` with the modules behind it, its rules and its reader. Throws where a part of it is missing. */
export function buildSchema(typeDefs: string, services: Services, issuer: string): Contract {
  const contract = (): Contract => ({ schema, rules, parseDocument })
  const schema: GraphQLSchema = makeExecutableSchema({
    typeDefs,
    resolvers: [
      scalars,
      accountsResolvers(services),
      customerResolvers(services),
      alertsResolvers(services),
      deliveriesResolvers(services),
      consentsResolvers(services),
      banksResolvers({ ...services, issuer }),
      clientsResolvers({ ...services, isValidDocument: (document) => isValidDocument(parseDocument, document) }),
      ledgerResolvers(services),
      nodeResolvers(services),
      accessResolvers(contract, services),
    ],
    resolverValidationOptions: { requireResolversToMatchSchema: 'error' },
  })
  const rules = readRules(schema)
  const parseDocument = createDocumentParser(schema)
  return { schema, rules, parseDocument }
}

/** Whether a document could be executed: it is within the limits, and valid. */
function isValidDocument(parseDocument: ParseDocument, text: string): boolean {
  try {
    parseDocument(text)
    return true
  } catch (thrown) {
    if (thrown instanceof InvalidDocument || thrown instanceof GatewayError) return false
    throw thrown
  }
}
