import { readFileSync } from 'node:fs'
import { defineCommand, type Command, type CommandContext } from '../command.ts'
import { CommandError, formatFault, UsageError, type Fault } from '../errors.ts'
import { mutate, queryAllNodes, queryField, queryObject, requestClientToken, requestTokenAs } from '../graph.ts'
import { argument, AS_ADMIN, AS_ADMIN_OR_PARTNER, AS_PARTNER, file, flag, requiredFile, text } from '../inputs.ts'
import type { Token } from '../oauth-client.ts'
import { openSandbox, sandboxBankUrl } from '../sandbox.ts'
import { record, sections, table } from '../view.ts'
import { RUN_FIELDS } from './certification.ts'

const FIELDS = 'id status acceptsNewConsents standard bank { id name } eventsUrl redirectUri jwks clientCertificate'
const DETAIL_FIELDS =
  'clientIdAtBank health { operation status callCount failureCount meanDurationMs failureCauses { cause description count } } responseIssues { code count description }'
/** Lists of a connector, with the arguments and the fields of each. */
const LISTS = {
  certificationRuns: ['(first: 10)', RUN_FIELDS],
  notices: ['', 'kind occurredAt operation'],
  history: ['(first: 50)', 'action occurredAt clientId'],
} as const
const READ_SCOPES = { adminScope: 'banks:manage', partnerScope: 'connectors:read' }
const MANAGE_SCOPES = { adminScope: 'banks:manage', partnerScope: 'connectors:manage' }

const CONNECTOR_ID = argument('<connector-id>', 'ID of the connector')
const RECORD = {
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
    name: 'connectors register',
    description:
      'Register a bank as a draft. With --bank, the registration is that of a sandbox bank, and the gateway is registered there too.',
    options: {
      as: AS_PARTNER,
      registrationFile: file('--file <registration.json>', 'the registration, see docs/ADD-A-BANK.md'),
      bank: text('--bank <bank-id>', 'a sandbox bank in place of a file'),
      dryRun: flag('--dry-run', 'only check the registration'),
    },
    examples: [
      'guichet connectors register --as eastbank-partner --bank eastbank',
      'guichet connectors register --as <client> --file registration.json --dry-run',
    ],
    json: `{ ${FIELDS} }, with --dry-run { acceptable bank { id name } }`,
    view: (result, terminal) =>
      record(isPreview(result) ? { ACCEPTABLE: 'acceptable', BANK: 'bank.id', NAME: 'bank.name' } : RECORD)(
        result,
        terminal,
      ),
    async run(context, { as, registrationFile, bank, dryRun }) {
      const token = await requestClientToken(context, as, 'connectors:manage connectors:read')
      const bankUrl =
        bank === undefined ? undefined : sandboxBankUrl(openSandbox(context.issuer, context.dataDir), bank)
      const input = await readRegistration(bankUrl, registrationFile)
      if (dryRun) return previewRegistration(context, token, input)
      const connector = await mutate(context, token, 'registerConnector', input, `connector { ${FIELDS} }`)
      if (bankUrl !== undefined) await registerGatewayAtSandboxBank(bankUrl, input, connector as RegisteredConnector)
      return connector
    },
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
      { path: '', view: record({ ...RECORD, 'CLIENT ID AT BANK': 'clientIdAtBank' }) },
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
        view: table({ ID: 'id', TRIGGER: 'trigger', STATUS: 'status', STARTED: 'startedAt', FINISHED: 'finishedAt' }),
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
    name: 'connectors register-at-bank',
    description: 'Register the gateway at the bank of a draft, if its standard has dynamic client registration.',
    arguments: { connectorId: CONNECTOR_ID },
    options: { as: AS_PARTNER, statementFile: requiredFile('--file <statement.jwt>', 'the software statement') },
    examples: ['guichet connectors register-at-bank <connector id> --as <client> --file statement.jwt'],
    json: '{ id status clientIdAtBank }',
    view: record({ ID: 'id', STATUS: 'status', 'CLIENT ID AT BANK': 'clientIdAtBank' }),
    async run(context, { connectorId, as, statementFile }) {
      const softwareStatement = readTextFile(statementFile).trim()
      const token = await requestClientToken(context, as, 'connectors:manage connectors:read')
      const selection = 'connector { id status clientIdAtBank }'
      return mutate(context, token, 'registerGatewayAtBank', { connectorId, softwareStatement }, selection)
    },
  }),
  lifecycleCommand('activate', 'activateConnector', 'Activate a certified connector, or lift a suspension.', {
    isForAdmins: true,
  }),
  lifecycleCommand('suspend', 'suspendConnector', 'Suspend a connector: no data of its bank is disclosed.'),
  lifecycleCommand('retire', 'retireConnector', 'End a connector permanently.'),
]

interface Registration {
  readonly registration: { readonly clientId: string }
}

interface RegisteredConnector {
  readonly jwks: object
  readonly redirectUri: string
  readonly eventsUrl: string
}

async function readRegistration(bankUrl: string | undefined, path: string | undefined): Promise<Registration> {
  if ((bankUrl === undefined) === (path === undefined)) throw new UsageError('name either --file or --bank')
  const registration =
    bankUrl === undefined ? readTextFile(path!) : await (await fetch(`${bankUrl}/sandbox/registration`)).text()
  try {
    return JSON.parse(registration) as Registration
  } catch {
    throw new CommandError('the file holds no JSON: it must be { "standard": …, "registration": { … } }')
  }
}

function readTextFile(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new CommandError(`${path} cannot be read (${String((error as NodeJS.ErrnoException).code)})`)
  }
}

async function registerGatewayAtSandboxBank(
  bankUrl: string,
  { registration }: Registration,
  { jwks, redirectUri, eventsUrl }: RegisteredConnector,
): Promise<void> {
  const url = `${bankUrl}/sandbox/clients/${registration.clientId}`
  await fetch(url, { method: 'PUT', body: JSON.stringify({ ...jwks, redirectUri, eventsUrl }) })
}

/** What registering would do. Nothing is stored. */
async function previewRegistration(context: CommandContext, token: Token, input: object): Promise<unknown> {
  const query =
    'query ($input: RegisterConnectorInput!) { connectorPreview(input: $input) { bankId bankName userErrors { code path message } } }'
  const preview = (await queryField(context, token, query, 'connectorPreview', { input })) as {
    readonly bankId: string
    readonly bankName: string
    readonly userErrors: readonly Fault[]
  }
  if (preview.userErrors.length > 0) throw new CommandError(preview.userErrors.map(formatFault))
  return { acceptable: true, bank: { id: preview.bankId, name: preview.bankName } }
}

const isPreview = (result: unknown): boolean => Object.hasOwn(result as object, 'acceptable')

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
