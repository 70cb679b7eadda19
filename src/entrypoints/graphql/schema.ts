import { makeExecutableSchema } from '@graphql-tools/schema'
import type { GraphQLSchema } from 'graphql'
import type { Clock } from '../../kernel/clock.ts'
import { accountsResolvers, balanceLineResolvers, customerResolvers } from '../../modules/accounts/index.ts'
import { alertsResolvers } from '../../modules/alerts/index.ts'
import { banksResolvers } from '../../modules/banks/index.ts'
import { clientsResolvers } from '../../modules/clients/index.ts'
import { consentsResolvers } from '../../modules/consents/index.ts'
import { deliveriesResolvers } from '../../modules/deliveries/index.ts'
import { jobsResolvers } from '../../modules/jobs/index.ts'
import { ledgerResolvers } from '../../modules/ledger/index.ts'
import { accessResolvers } from './authorization/explain-access.ts'
import type { Contract } from './contract.ts'
import { nodeResolvers } from './nodes.ts'
import { createDocumentReader } from './read-document.ts'
import { readRules } from './authorization/rules.ts'
import { scalars } from './scalars.ts'
import type { Services } from './services.ts'

/** The schema of `typeDefs` with its resolvers, rules and document reader. Throws if a resolver or a rule is missing. */
export function buildSchema(typeDefs: string, services: Services, issuer: string, clock: Clock): Contract {
  const contract = (): Contract => ({ schema, rules, documents })
  const schema: GraphQLSchema = makeExecutableSchema({
    typeDefs,
    resolvers: [
      scalars,
      accountsResolvers(services),
      balanceLineResolvers(services),
      customerResolvers(services),
      alertsResolvers(services),
      deliveriesResolvers(services),
      consentsResolvers(services),
      banksResolvers({ ...services, issuer }),
      clientsResolvers({ ...services, isValidDocument: (text) => documents.readIfValid(text) !== undefined }),
      ledgerResolvers(services),
      jobsResolvers(services),
      nodeResolvers(services),
      accessResolvers(contract, { ...services, clock }),
    ],
    resolverValidationOptions: { requireResolversToMatchSchema: 'error' },
  })
  const rules = readRules(schema)
  const documents = createDocumentReader(schema)
  return { schema, rules, documents }
}
