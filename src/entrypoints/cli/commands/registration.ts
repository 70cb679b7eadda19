import { readFileSync } from 'node:fs'
import { defineCommand, type CommandContext } from '../command.ts'
import { CommandError, formatFault, UsageError, type Fault } from '../errors.ts'
import { mutate, queryField, requestClientToken } from '../graph.ts'
import { AS_PARTNER, file, flag, requiredFile, text } from '../inputs.ts'
import type { Token } from '../oauth-client.ts'
import { openSandbox, sandboxBankUrl } from '../sandbox.ts'
import { record, sections, table } from '../view.ts'
import { CONNECTOR_ID, FIELDS, RECORD } from './connectors.ts'

const PLAN_FIELDS =
  'requests { purpose method url authentication headers parameters } requestedData requirements missingMembers'

/** What registering would do, for people. */
const PREVIEW = sections([
  {
    path: '',
    view: record({
      ACCEPTABLE: 'acceptable',
      BANK: 'bank.id',
      NAME: 'bank.name',
      'DATA REQUESTED': 'requestedData',
      'STILL NEEDED': 'requirements',
      'TO BE STATED': 'missingMembers',
    }),
  },
  {
    heading: 'Requests to the bank',
    path: 'requests',
    view: table({
      PURPOSE: 'purpose',
      METHOD: 'method',
      URL: 'url',
      AUTHENTICATION: 'authentication',
      HEADERS: 'headers',
    }),
  },
])

/** Registering banks as connectors, and the gateway at banks. */
export const REGISTRATION_COMMANDS = [
  defineCommand({
    name: 'connectors profiles',
    description: 'List the profiles of named banks, from which a registration can begin.',
    options: { as: AS_PARTNER },
    examples: ['guichet connectors profiles --as <client>'],
    json: '[{ name standard banks triedAt outOfReach missingMembers notes }]',
    view: table({
      NAME: 'name',
      STANDARD: 'standard',
      BANKS: 'banks',
      'TRIED AT BANK': 'triedAt',
      'OUT OF REACH': 'outOfReach',
    }),
    async run(context, { as }) {
      const token = await requestClientToken(context, as, 'connectors:manage')
      const query = '{ connectorProfiles { name standard banks triedAt outOfReach missingMembers notes } }'
      return queryField(context, token, query, 'connectorProfiles', {})
    },
  }),
  defineCommand({
    name: 'connectors register',
    description:
      'Register a bank as a draft: from a file, from the profile of a named bank, or as a sandbox bank, at which the gateway is registered too.',
    options: {
      as: AS_PARTNER,
      registrationFile: file('--file <registration.json>', 'the registration, see docs/ADD-A-BANK.md'),
      profile: text('--profile <profile>', 'the profile of a named bank; --file has the members that differ from it'),
      clientId: text('--client-id <id>', "the gateway's client ID at the bank"),
      bank: text('--bank <bank-id>', 'a sandbox bank in place of a file'),
      dryRun: flag('--dry-run', 'only check the registration, and show what the gateway would do'),
    },
    examples: [
      'guichet connectors register --as eastbank-partner --bank eastbank',
      'guichet connectors register --as <client> --file registration.json --dry-run',
      'guichet connectors register --as <client> --profile monzo --dry-run',
    ],
    json: `{ ${FIELDS} }, with --dry-run { acceptable bank { id name } ${PLAN_FIELDS} }`,
    view: (result, terminal) => (isPreview(result) ? PREVIEW : record(RECORD))(result, terminal),
    async run(context, { as, registrationFile, profile, clientId, bank, dryRun }) {
      const bankUrl =
        bank === undefined ? undefined : sandboxBankUrl(openSandbox(context.issuer, context.dataDir), bank)
      const input = await readInput({ bankUrl, registrationFile, profile, clientId })
      const token = await requestClientToken(context, as, 'connectors:manage connectors:read')
      if (dryRun) return previewRegistration(context, token, input)
      const connector = await mutate(context, token, 'registerConnector', input, `connector { ${FIELDS} }`)
      if (bankUrl !== undefined) await registerGatewayAtSandboxBank(bankUrl, input, connector as RegisteredConnector)
      return connector
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
]

interface RegistrationInput {
  readonly standard?: string
  readonly profile?: string
  readonly registration: { readonly clientId?: string }
}

interface RegisteredConnector {
  readonly jwks: object
  readonly redirectUri: string
  readonly eventsUrl: string
}

interface RegistrationSources {
  readonly bankUrl: string | undefined
  readonly registrationFile: string | undefined
  readonly profile: string | undefined
  readonly clientId: string | undefined
}

async function readInput(sources: RegistrationSources): Promise<RegistrationInput> {
  const { bankUrl, registrationFile, profile, clientId } = sources
  if (bankUrl !== undefined && (registrationFile !== undefined || profile !== undefined))
    throw new UsageError('name either --bank, or --profile and --file')
  if (bankUrl === undefined && registrationFile === undefined && profile === undefined)
    throw new UsageError('name --file, --profile or --bank')
  const stated = await readRegistration(bankUrl, registrationFile)
  return {
    ...stated,
    ...(profile !== undefined && { profile }),
    registration: { ...stated.registration, ...(clientId !== undefined && { clientId }) },
  }
}

/** With a profile, a file may hold only `{ "registration": … }`. */
async function readRegistration(bankUrl: string | undefined, path: string | undefined): Promise<RegistrationInput> {
  if (bankUrl === undefined && path === undefined) return { registration: {} }
  const content =
    bankUrl === undefined ? readTextFile(path!) : await (await fetch(`${bankUrl}/sandbox/registration`)).text()
  try {
    return JSON.parse(content) as RegistrationInput
  } catch {
    throw new CommandError('the file holds no JSON: it must be { "standard": …, "registration": { … } }')
  }
}

/** The text of a file. Throws `CommandError` if it cannot be read. */
export function readTextFile(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new CommandError(`${path} cannot be read (${String((error as NodeJS.ErrnoException).code)})`)
  }
}

async function registerGatewayAtSandboxBank(
  bankUrl: string,
  { registration }: RegistrationInput,
  { jwks, redirectUri, eventsUrl }: RegisteredConnector,
): Promise<void> {
  const url = `${bankUrl}/sandbox/clients/${registration.clientId ?? ''}`
  await fetch(url, { method: 'PUT', body: JSON.stringify({ ...jwks, redirectUri, eventsUrl }) })
}

interface Preview {
  readonly bankId: string | null
  readonly bankName: string | null
  readonly missingMembers: readonly string[]
  readonly userErrors: readonly Fault[]
}

/** What registering would do. Nothing is stored. */
async function previewRegistration(context: CommandContext, token: Token, input: object): Promise<unknown> {
  const query = `query ($input: RegisterConnectorInput!) { connectorPreview(input: $input) { bankId bankName ${PLAN_FIELDS} userErrors { code path message } } }`
  const { bankId, bankName, userErrors, ...plan } = (await queryField(context, token, query, 'connectorPreview', {
    input,
  })) as Preview
  if (userErrors.length > 0) throw new CommandError(userErrors.map(formatFault))
  return { acceptable: plan.missingMembers.length === 0, bank: { id: bankId, name: bankName }, ...plan }
}

const isPreview = (result: unknown): boolean => Object.hasOwn(result as object, 'acceptable')
