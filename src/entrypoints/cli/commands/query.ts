import { defineCommand } from '../command.ts'
import { CommandError } from '../errors.ts'
import { formatGraphqlErrors } from '../graph.ts'
import { argument, CUSTOMER } from '../inputs.ts'
import { executeGraphql } from '../oauth-client.ts'
import { getOrCreateToken, openSandbox, signPresenceStatement } from '../sandbox.ts'
import { indentedJson } from '../view.ts'

/** A GraphQL operation as a customer's messaging platform sends it. */
export const QUERY_COMMANDS = [
  defineCommand({
    name: 'query',
    description:
      'Send a GraphQL operation as the platform of a sandbox customer who is present; the customer opts in first if they have not.',
    arguments: { operation: argument('<graphql>', 'the operation') },
    options: { customer: CUSTOMER },
    examples: [`guichet query '{ customer { accounts { nodes { displayName } } } }' --customer ada`],
    json: '{ data errors [{ message path extensions }] extensions }, the GraphQL response',
    view: indentedJson,
    async run({ issuer, dataDir }, { operation, customer }) {
      const sandbox = openSandbox(issuer, dataDir)
      const token = await getOrCreateToken(sandbox, customer)
      const statement = await signPresenceStatement(sandbox, token)
      const response = await executeGraphql(issuer, token, operation, {}, statement)
      if (response.errors && response.errors.length > 0)
        throw new CommandError(formatGraphqlErrors(response.errors), response)
      return response
    },
  }),
]
