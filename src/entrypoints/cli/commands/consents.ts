import { defineCommand } from '../command.ts'
import { argumentList, CUSTOMER } from '../inputs.ts'
import { getOrCreateToken, openSandbox, queryCustomer, withdrawConsents } from '../sandbox.ts'
import { table } from '../view.ts'

const FIELDS = 'id status scopes purposes expiresAt endedBy bank { id }'

/** The consents of a sandbox customer. */
export const CONSENT_COMMANDS = [
  defineCommand({
    name: 'consents list',
    description: "List a customer's newest 100 consents.",
    options: { customer: CUSTOMER },
    examples: ['guichet consents list --customer ada'],
    json: `[{ ${FIELDS} }]`,
    view: table({
      ID: 'id',
      BANK: 'bank.id',
      STATUS: 'status',
      EXPIRES: 'expiresAt',
      'ENDED BY': 'endedBy',
      SCOPES: 'scopes',
    }),
    async run(context, { customer }) {
      const query = `{ customer { consents(first: 100) { nodes { ${FIELDS} } } } }`
      const { consents } = (await queryCustomer(context, customer, query)) as { consents: { nodes: unknown[] } }
      return consents.nodes
    },
  }),
  defineCommand({
    name: 'consents withdraw',
    description:
      'Withdraw these consents, or all that the customer gave the platform, as STOP SHARING in the chat does.',
    arguments: { consentIds: argumentList('[consent-id...]', 'IDs of the consents') },
    options: { customer: CUSTOMER },
    examples: ['guichet consents withdraw --customer ada', 'guichet consents withdraw <consent id> --customer ada'],
    json: '[{ id status bank { id } }]',
    view: table({ ID: 'id', BANK: 'bank.id', STATUS: 'status' }),
    async run(context, { consentIds, customer }) {
      const token = await getOrCreateToken(openSandbox(context.issuer, context.dataDir), customer)
      return withdrawConsents(context, token, consentIds.length > 0 ? { consentIds } : { all: true })
    },
  }),
]
