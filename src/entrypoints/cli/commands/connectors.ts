import { defineCommand, type Command, type CommandContext } from '../command.ts'
import { mutate, queryAllNodes, queryObject, requestTokenAs } from '../graph.ts'
import { argument, AS_ADMIN, AS_ADMIN_OR_PARTNER } from '../inputs.ts'
import type { Token } from '../oauth-client.ts'
import { record, sections, table } from '../view.ts'
import { RUN_FIELDS } from './certification.ts'

/** The fields of a connector that every command shows. */
export const FIELDS =
  'id status acceptsNewConsents standard bank { id name } eventsUrl redirectUri jwks clientCertificate'
const DETAIL_FIELDS =
  'profile profileRevision clientIdAtBank jwksUrl hasClientSecret eventStream { status checkedAt verificationRequestedAt verifiedAt } certificates { id use status subject expiresAt } health { operation status callCount failureCount meanDurationMs failureCauses { cause description count } } responseIssues { code count description }'
const EVENT_COUNT_FIELDS = 'day outcome eventType count'
/** Lists of a connector, with the arguments and the fields of each. */
const LISTS = {
  certificationRuns: ['(first: 10)', RUN_FIELDS],
  notices: ['', 'kind occurredAt operation'],
  history: ['(first: 50)', 'action occurredAt clientId'],
} as const
const READ_SCOPES = { adminScope: 'banks:manage', partnerScope: 'connectors:read' }
const MANAGE_SCOPES = { adminScope: 'banks:manage', partnerScope: 'connectors:manage' }

/** The argument of commands about one connector. */
export const CONNECTOR_ID = argument('<connector-id>', 'ID of the connector')
/** A connector for people. */
export const RECORD = {
  ID: 'id',
  BANK: 'bank.id',
  NAME: 'bank.name',
  STANDARD: 'standard',
  STATUS: 'status',
  'NEW CONSENTS': 'acceptsNewConsents',
  'EVENTS URL': 'eventsUrl',
  'REDIRECT URI': 'redirectUri',
  'PUBLIC KEYS': 'jwks',
  CERTIFICATE: 'clientCertificate',
}

/** Connectors, from the draft to the retirement. */
export const CONNECTOR_COMMANDS = [
  defineCommand({
    name: 'connectors list',
    description: 'List the connectors of a bank partner, or as admin all of them.',
    options: { as: AS_ADMIN_OR_PARTNER },
    examples: ['guichet connectors list', 'guichet connectors list --as eastbank-partner'],
    json: `[{ ${FIELDS} }]`,
    view: table({
      ID: 'id',
      BANK: 'bank.id',
      STANDARD: 'standard',
      STATUS: 'status',
      'NEW CONSENTS': 'acceptsNewConsents',
    }),
    run: async (context, { as }) =>
      queryAllNodes(context, await requestTokenAs(context, as, READ_SCOPES), 'connectors', FIELDS),
  }),
  defineCommand({
    name: 'connectors show',
    description: 'Show a connector: health, issues in responses, certification runs, notices and history.',
    arguments: { connectorId: CONNECTOR_ID },
    options: { as: AS_ADMIN_OR_PARTNER },
    examples: ['guichet connectors show <connector id> --as eastbank-partner'],
    json: `{ ${FIELDS} ${DETAIL_FIELDS} ${Object.entries(LISTS)
      .map(([list, [, fields]]) => `${list} [{ ${fields} }]`)
      .join(' ')} }`,
    view: sections([
      {
        path: '',
        view: record({
          ...RECORD,
          PROFILE: 'profile',
          'PROFILE REVISION': 'profileRevision',
          'KEYS URL': 'jwksUrl',
          'CLIENT ID AT BANK': 'clientIdAtBank',
          'CLIENT SECRET': 'hasClientSecret',
          'EVENT STREAM': 'eventStream.status',
          'STREAM VERIFIED': 'eventStream.verifiedAt',
        }),
      },
      {
        heading: 'Certificates',
        path: 'certificates',
        view: table({ ID: 'id', USE: 'use', STATUS: 'status', SUBJECT: 'subject', EXPIRES: 'expiresAt' }),
      },
      {
        heading: 'Health in the last 15 minutes',
        path: 'health',
        view: table({
          OPERATION: 'operation',
          STATUS: 'status',
          CALLS: 'callCount',
          FAILURES: 'failureCount',
          'MEAN MS': 'meanDurationMs',
          CAUSES: 'failureCauses',
        }),
      },
      {
        heading: 'Issues in responses',
        path: 'responseIssues',
        view: table({ CODE: 'code', COUNT: 'count', DESCRIPTION: 'description' }),
      },
      {
        heading: 'Certification runs',
        path: 'certificationRuns',
        view: table({
          ID: 'id',
          LEVEL: 'level',
          TRIGGER: 'trigger',
          STATUS: 'status',
          STARTED: 'startedAt',
          FINISHED: 'finishedAt',
        }),
      },
      {
        heading: 'Notices',
        path: 'notices',
        view: table({ OCCURRED: 'occurredAt', KIND: 'kind', OPERATION: 'operation' }),
      },
      {
        heading: 'History',
        path: 'history',
        view: table({ OCCURRED: 'occurredAt', ACTION: 'action', CLIENT: 'clientId' }),
      },
    ]),
    async run(context, { connectorId, as }) {
      const token = await requestTokenAs(context, as, READ_SCOPES)
      const selections = Object.entries(LISTS).map(([list, [args, fields]]) => `${list}${args} { nodes { ${fields} } }`)
      const connector = await findConnector(
        context,
        token,
        connectorId,
        [FIELDS, DETAIL_FIELDS, ...selections].join(' '),
      )
      const lists = Object.keys(LISTS).map((list) => [list, (connector[list] as { nodes: unknown[] }).nodes])
      return { ...connector, ...(Object.fromEntries(lists) as Record<string, unknown>) }
    },
  }),
  defineCommand({
    name: 'connectors events',
    description: "Count what became of a bank's events, today and in the six days before (UTC).",
    arguments: { connectorId: CONNECTOR_ID },
    options: { as: AS_ADMIN_OR_PARTNER },
    examples: ['guichet connectors events <connector id> --as eastbank-partner'],
    json: `[{ ${EVENT_COUNT_FIELDS} }]`,
    view: table({ DAY: 'day', OUTCOME: 'outcome', COUNT: 'count', TYPE: 'eventType' }),
    async run(context, { connectorId, as }) {
      const token = await requestTokenAs(context, as, READ_SCOPES)
      const connector = await findConnector(context, token, connectorId, `eventCounts { ${EVENT_COUNT_FIELDS} }`)
      return connector['eventCounts']
    },
  }),
  lifecycleCommand('activate', 'activateConnector', 'Activate a certified connector, or lift a suspension.', {
    isForAdmins: true,
  }),
  lifecycleCommand('suspend', 'suspendConnector', 'Suspend a connector: no data of its bank is disclosed.'),
  lifecycleCommand('retire', 'retireConnector', 'End a connector permanently.'),
]

/** The connector with this ID and these fields. Throws `CommandError` if the token's client has none. */
export function findConnector(
  context: CommandContext,
  token: Token,
  id: string,
  fields: string,
): Promise<Record<string, unknown>> {
  const query = `query ($id: ID!) { connector(id: $id) { ${fields} } }`
  const missing = 'there is no such connector: see guichet connectors list'
  return queryObject(context, token, { query, field: 'connector', id, missing })
}

function lifecycleCommand(
  verb: string,
  mutation: string,
  description: string,
  { isForAdmins = false }: { readonly isForAdmins?: boolean } = {},
): Command {
  return defineCommand({
    name: `connectors ${verb}`,
    description,
    arguments: { connectorId: CONNECTOR_ID },
    options: { as: isForAdmins ? AS_ADMIN : AS_ADMIN_OR_PARTNER },
    examples: [`guichet connectors ${verb} <connector id>`],
    json: '{ id status bank { id } }',
    view: record({ ID: 'id', BANK: 'bank.id', STATUS: 'status' }),
    async run(context, { connectorId, as }) {
      const token = await requestTokenAs(context, as, MANAGE_SCOPES)
      return mutate(context, token, mutation, { connectorId }, 'connector { id status bank { id } }')
    },
  })
}
