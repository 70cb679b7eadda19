import { makeExecutableSchema } from '@graphql-tools/schema'
import type { GraphQLSchema } from 'graphql'
import { accountsResolvers, type Accounts } from '../../modules/accounts/index.ts'
import { alertsResolvers, type Alerts } from '../../modules/alerts/index.ts'
import { banksResolvers, type Banks } from '../../modules/banks/index.ts'
import { clientsResolvers, type Clients } from '../../modules/clients/index.ts'
import { consentsResolvers, type Consents } from '../../modules/consents/index.ts'
import { deliveriesResolvers, type Deliveries } from '../../modules/deliveries/index.ts'
import { scalars } from './scalars.ts'

/** The modules behind the contract. */
export interface Services {
  readonly accounts: Accounts
  readonly alerts: Alerts
  readonly banks: Banks
  readonly clients: Clients
  readonly consents: Consents
  readonly deliveries: Deliveries
}

/** The contract of `typeDefs` with the modules behind it. Throws where a resolver has no place in the contract. */
export const buildSchema = (typeDefs: string, services: Services, issuer: string): GraphQLSchema =>
  makeExecutableSchema({
    typeDefs,
    resolvers: [
      scalars,
      accountsResolvers(services),
      alertsResolvers(services),
      deliveriesResolvers(services),
      consentsResolvers(services),
      banksResolvers({ ...services, issuer }),
      clientsResolvers(services),
    ],
    resolverValidationOptions: { requireResolversToMatchSchema: 'error' },
  })
