import { defineCommand } from '../command.ts'
import { queryField, requestClientToken } from '../graph.ts'
import { CUSTOMER, textWithDefault } from '../inputs.ts'
import { PLATFORM_CLIENT, queryCustomer } from '../sandbox.ts'
import { table } from '../view.ts'

const ALERT_FIELDS = 'id type severity requestedAction occurredAt bank { id }'
const DELIVERY_FIELDS = 'id status eventType createdAt attempts { number attemptedAt httpStatus outcome failureCause }'

/** Alerts of customers, and their deliveries to platforms. */
export const ALERT_COMMANDS = [
  defineCommand({
    name: 'alerts list',
    description: "List a sandbox customer's newest alerts.",
    options: { customer: CUSTOMER },
    examples: ['guichet alerts list --customer ada'],
    json: `[{ ${ALERT_FIELDS} }]`,
    view: table({
      ID: 'id',
      BANK: 'bank.id',
      TYPE: 'type',
      SEVERITY: 'severity',
      ACTION: 'requestedAction',
      OCCURRED: 'occurredAt',
    }),
    async run(context, { customer }) {
      const query = `{ customer { alerts { nodes { ${ALERT_FIELDS} } } } }`
      const { alerts } = (await queryCustomer(context, customer, query)) as { alerts: { nodes: unknown[] } }
      return alerts.nodes
    },
  }),
  defineCommand({
    name: 'alerts deliveries',
    description: "List the newest deliveries to a client's webhooks.",
    options: { client: textWithDefault('--client <client>', 'the client, by its name or key file', PLATFORM_CLIENT) },
    examples: ['guichet alerts deliveries'],
    json: `[{ ${DELIVERY_FIELDS} }]`,
    view: (deliveries, terminal) => deliveryTable((deliveries as Delivery[]).map(withLastAttempt), terminal),
    async run(context, { client }) {
      const token = await requestClientToken(context, client, 'deliveries:read')
      const query = `{ client { deliveries { nodes { ${DELIVERY_FIELDS} } } } }`
      const { deliveries } = (await queryField(context, token, query, 'client')) as { deliveries: { nodes: unknown[] } }
      return deliveries.nodes
    },
  }),
]

interface Delivery {
  readonly attempts: readonly unknown[]
}

const withLastAttempt = (delivery: Delivery) => ({
  ...delivery,
  attemptCount: delivery.attempts.length,
  last: delivery.attempts.at(-1),
})

const deliveryTable = table({
  ID: 'id',
  STATUS: 'status',
  EVENT: 'eventType',
  CREATED: 'createdAt',
  ATTEMPTS: 'attemptCount',
  'LAST OUTCOME': 'last.outcome',
  'HTTP STATUS': 'last.httpStatus',
  CAUSE: 'last.failureCause',
})
