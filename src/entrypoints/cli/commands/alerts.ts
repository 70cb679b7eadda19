import { defineCommand, type CommandContext } from '../command.ts'
import { CommandError } from '../errors.ts'
import { mutate, queryField, requestClientToken } from '../graph.ts'
import { CUSTOMER, requiredText, text, textWithDefault } from '../inputs.ts'
import { getOrCreateToken, openSandbox, PLATFORM_CLIENT, queryCustomer, signPresenceStatement } from '../sandbox.ts'
import { record, table } from '../view.ts'

const ALERT_FIELDS =
  'id type severity requestedAction occurredAt bank { id } responseOptions response { answer status }'
const RESPONSE_FIELDS = 'id bank { id } responseOptions response { answer status respondedAt }'
const DELIVERY_FIELDS =
  'id status eventType createdAt attempts { number attemptedAt httpStatus outcome failureCause setError }'

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
      ANSWER: 'response.answer',
      STATUS: 'response.status',
    }),
    async run(context, { customer }) {
      const query = `{ customer { alerts { nodes { ${ALERT_FIELDS} } } } }`
      const { alerts } = (await queryCustomer(context, customer, query)) as { alerts: { nodes: unknown[] } }
      return alerts.nodes
    },
  }),
  defineCommand({
    name: 'alerts respond',
    description:
      'Answer an alert as a sandbox customer who is present, and wait up to five seconds for what the bank does.',
    options: {
      customer: CUSTOMER,
      answer: requiredText('--answer <answer>', 'one of responseOptions, such as IT_WAS_NOT_ME or FREEZE_REQUESTED'),
      alert: text('--alert <id>', 'the alert (default: the newest that can be answered)'),
    },
    examples: ['guichet alerts respond --customer ada --answer FREEZE_REQUESTED'],
    json: `{ ${RESPONSE_FIELDS} }`,
    view: record({ ALERT: 'id', BANK: 'bank.id', ANSWER: 'response.answer', STATUS: 'response.status' }),
    async run(context, { customer, answer, alert }) {
      const sandbox = openSandbox(context.issuer, context.dataDir)
      const token = await getOrCreateToken(sandbox, customer)
      const alertId = alert ?? (await findAnswerableAlert(context, customer))
      const statement = await signPresenceStatement(sandbox, token)
      const input = { alertId, answer }
      const selection = `alert { ${RESPONSE_FIELDS} }`
      const responded = (await mutate(context, token, 'respondToAlert', input, selection, statement)) as RespondedAlert
      return (await waitForBank(context, customer, alertId)) ?? responded
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

interface RespondedAlert {
  readonly id: string
  readonly responseOptions: readonly string[]
  readonly response: { readonly status: string } | null
}

async function findAnswerableAlert(context: CommandContext, customer: string): Promise<string> {
  const query = '{ customer { alerts { nodes { id responseOptions } } } }'
  const { alerts } = (await queryCustomer(context, customer, query)) as { alerts: { nodes: RespondedAlert[] } }
  const found = alerts.nodes.find(({ responseOptions }) => responseOptions.length > 0)
  if (!found) throw new CommandError(`${customer} has no alert that can be answered now`)
  return found.id
}

const MAX_WAITS = 20
const WAIT_MS = 250

/** The alert once the bank has acted on the answer, or as it is after five seconds. */
async function waitForBank(
  context: CommandContext,
  customer: string,
  alertId: string,
): Promise<RespondedAlert | undefined> {
  const query = `{ customer { alert(id: ${JSON.stringify(alertId)}) { ${RESPONSE_FIELDS} } } }`
  let alert: RespondedAlert | null | undefined
  for (let wait = 0; wait < MAX_WAITS; wait++) {
    ;({ alert } = (await queryCustomer(context, customer, query)) as { alert: RespondedAlert | null })
    if (alert?.response?.status !== 'PENDING' && alert?.response?.status !== 'SENT') break
    await new Promise((resolve) => setTimeout(resolve, WAIT_MS))
  }
  return alert ?? undefined
}

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
