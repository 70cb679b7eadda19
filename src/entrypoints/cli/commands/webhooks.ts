import { defineCommand } from '../command.ts'
import { UsageError } from '../errors.ts'
import { mutate, mutatePayload, queryField, requestClientToken } from '../graph.ts'
import {
  argument,
  argumentList,
  choice,
  choiceWithDefault,
  flag,
  requiredText,
  SINCE,
  text,
  textWithDefault,
  UNTIL,
} from '../inputs.ts'
import { PLATFORM_CLIENT } from '../sandbox.ts'
import { record, sections, table } from '../view.ts'

const FIELDS =
  'id url format ordering status publicKey secretOverlapEndsAt disabledAt disabledReason failingSince lastSuccessAt'
const CONTACT_FIELDS = 'contactEmail notices { nodes { kind occurredAt subjectId } }'
const COLUMNS = { ID: 'id', URL: 'url', FORMAT: 'format', STATUS: 'status' }
const ORDERINGS = ['NONE', 'PER_CUSTOMER'] as const
const FORMATS = ['STANDARD_WEBHOOKS', 'SECURITY_EVENT_TOKEN'] as const
const RECORD = {
  ...COLUMNS,
  ORDERING: 'ordering',
  'PUBLIC KEY': 'publicKey',
  'DISABLED AT': 'disabledAt',
  REASON: 'disabledReason',
  'FAILING SINCE': 'failingSince',
  'LAST SUCCESS': 'lastSuccessAt',
}
const ENDPOINT_ID = argument('<webhook-endpoint-id>', 'ID of the endpoint')
const AS_PLATFORM = textWithDefault('--as <client>', "the platform's client, by its name or key file", PLATFORM_CLIENT)

/** The endpoint of a payload with its secret. */
const flatten = ({ webhookEndpoint, signingSecret }: Readonly<Record<string, unknown>>): object => ({
  ...(webhookEndpoint as object),
  signingSecret,
})

/** A client's webhook endpoints. */
export const WEBHOOK_COMMANDS = [
  defineCommand({
    name: 'webhooks list',
    description: "List a client's webhook endpoints.",
    options: { as: AS_PLATFORM },
    examples: ['guichet webhooks list'],
    json: `[{ ${FIELDS} }]`,
    view: table({ ...COLUMNS, REASON: 'disabledReason', 'LAST SUCCESS': 'lastSuccessAt' }),
    async run(context, { as }) {
      const token = await requestClientToken(context, as, 'webhooks:manage')
      const query = `{ client { webhookEndpoints { ${FIELDS} } } }`
      const client = (await queryField(context, token, query, 'client')) as { webhookEndpoints: unknown[] }
      return client.webhookEndpoints
    },
  }),
  defineCommand({
    name: 'webhooks contact',
    description:
      'Show the notices of a client, such as a disabled endpoint, and the email address that they are sent to; or set or remove the address.',
    options: {
      email: text('--email <address>', 'the new address'),
      none: flag('--none', 'remove the address'),
      as: AS_PLATFORM,
    },
    examples: ['guichet webhooks contact', 'guichet webhooks contact --email team@parley.example'],
    json: `{ ${CONTACT_FIELDS} }`,
    view: sections([
      { path: '', view: record({ CONTACT: 'contactEmail' }) },
      {
        heading: 'Notices',
        path: 'notices.nodes',
        view: table({ OCCURRED: 'occurredAt', KIND: 'kind', SUBJECT: 'subjectId' }),
      },
    ]),
    async run(context, { email, none, as }) {
      if (none && email !== undefined) throw new UsageError('name one of --email and --none')
      const token = await requestClientToken(context, as, 'webhooks:manage')
      if (none || email !== undefined)
        await mutate(context, token, 'setContact', { contactEmail: email ?? null }, 'client { id }')
      return queryField(context, token, `{ client { ${CONTACT_FIELDS} } }`, 'client')
    },
  }),
  defineCommand({
    name: 'webhooks create',
    description: 'Register a webhook endpoint. Its signing secret is printed only here.',
    options: {
      url: requiredText('--url <url>', 'where messages are posted'),
      format: choiceWithDefault('--format <format>', 'the format of messages', FORMATS, 'STANDARD_WEBHOOKS'),
      ordering: choiceWithDefault('--ordering <ordering>', 'the order of messages', ORDERINGS, 'NONE'),
      as: AS_PLATFORM,
    },
    examples: ['guichet webhooks create --url https://parley.example/webhooks --as parley.json'],
    json: '{ id url format status publicKey signingSecret }',
    view: record({ ...COLUMNS, 'SIGNING SECRET': 'signingSecret', 'PUBLIC KEY': 'publicKey' }),
    async run(context, { url, format, ordering, as }) {
      const token = await requestClientToken(context, as, 'webhooks:manage')
      const selection = 'webhookEndpoint { id url format status publicKey } signingSecret'
      return flatten(
        await mutatePayload(context, token, 'registerWebhookEndpoint', { url, format, ordering }, selection),
      )
    },
  }),
  defineCommand({
    name: 'webhooks test',
    description: 'Send a test event to an endpoint. Its outcome is in alerts deliveries.',
    arguments: { webhookEndpointId: ENDPOINT_ID },
    options: {
      event: textWithDefault('--event <type>', 'the type of message that it has an example of', 'alert.received'),
      as: AS_PLATFORM,
    },
    examples: [
      'guichet webhooks test <webhook endpoint id>',
      'guichet webhooks test <webhook endpoint id> --event consent.expiring',
    ],
    json: '{ id status eventType }',
    view: record({ ID: 'id', STATUS: 'status', EVENT: 'eventType' }),
    async run(context, { webhookEndpointId, event, as }) {
      const token = await requestClientToken(context, as, 'webhooks:manage')
      const input = { webhookEndpointId, eventType: event }
      return mutate(context, token, 'sendTestEvent', input, 'delivery { id status eventType }')
    },
  }),
  defineCommand({
    name: 'webhooks replay',
    description: 'Send deliveries of the last 30 days again: those with the given IDs, or all of a range of time.',
    arguments: { deliveryIds: argumentList('[delivery-id...]', 'IDs of deliveries') },
    options: {
      since: SINCE,
      until: UNTIL,
      endpoint: text('--endpoint <webhook-endpoint-id>', 'only deliveries to this endpoint'),
      as: AS_PLATFORM,
    },
    examples: ['guichet webhooks replay --since=-24h', 'guichet webhooks replay <delivery id>'],
    json: '{ replayedCount }',
    view: record({ REPLAYED: 'replayedCount' }),
    async run(context, { deliveryIds, since, until, endpoint, as }) {
      const hasRange = since !== undefined || until !== undefined
      if (hasRange === deliveryIds.length > 0) throw new UsageError('name IDs of deliveries, or a range of time')
      const token = await requestClientToken(context, as, 'webhooks:manage')
      const select = hasRange ? { created: { since, until } } : { deliveryIds }
      const input = { select, ...(endpoint !== undefined && { webhookEndpointId: endpoint }) }
      return { replayedCount: await mutate(context, token, 'replayDeliveries', input, 'replayedCount') }
    },
  }),
  defineCommand({
    name: 'webhooks rotate-secret',
    description:
      'Replace the secret and the key pair of an endpoint. The new secret is printed only here; the earlier one also signs for a while.',
    arguments: { webhookEndpointId: ENDPOINT_ID },
    options: {
      overlapHours: text('--overlap-hours <hours>', 'how long the earlier one also signs: 0 to 168, by default 24'),
      as: AS_PLATFORM,
    },
    examples: ['guichet webhooks rotate-secret <webhook endpoint id> --overlap-hours 48'],
    json: '{ id publicKey secretOverlapEndsAt signingSecret }',
    view: record({
      ID: 'id',
      'SIGNING SECRET': 'signingSecret',
      'PUBLIC KEY': 'publicKey',
      'OVERLAP ENDS': 'secretOverlapEndsAt',
    }),
    async run(context, { webhookEndpointId, overlapHours = '24', as }) {
      if (!/^\d{1,3}$/.test(overlapHours)) throw new UsageError('--overlap-hours must be a whole number from 0 to 168')
      const token = await requestClientToken(context, as, 'webhooks:manage')
      const input = { webhookEndpointId, overlapHours: Number(overlapHours) }
      const selection = 'webhookEndpoint { id publicKey secretOverlapEndsAt } signingSecret'
      return flatten(await mutatePayload(context, token, 'rotateWebhookSecret', input, selection))
    },
  }),
  defineCommand({
    name: 'webhooks update',
    description: 'Change what is given. The rest stays. What is pending for a disabled endpoint is dropped.',
    arguments: { webhookEndpointId: ENDPOINT_ID },
    options: {
      status: choice('--status <status>', 'whether it receives webhooks', ['ACTIVE', 'DISABLED']),
      url: text('--url <url>', 'where messages are posted'),
      format: choice('--format <format>', 'the format of new messages', FORMATS),
      ordering: choice('--ordering <ordering>', 'the order of new messages', ORDERINGS),
      as: AS_PLATFORM,
    },
    examples: ['guichet webhooks update <webhook endpoint id> --status ACTIVE'],
    json: `{ ${FIELDS} }`,
    view: record(RECORD),
    async run(context, { webhookEndpointId, as, ...changes }) {
      if (Object.values(changes).every((value) => value === undefined))
        throw new UsageError('nothing to change: name at least one option, see guichet webhooks update --help')
      const token = await requestClientToken(context, as, 'webhooks:manage')
      const input = { webhookEndpointId, ...changes }
      return mutate(context, token, 'updateWebhookEndpoint', input, `webhookEndpoint { ${FIELDS} }`)
    },
  }),
]
