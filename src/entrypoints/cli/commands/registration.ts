import { readFileSync } from 'node:fs'
import { defineCommand } from '../command.ts'
import { CommandError, UsageError } from '../errors.ts'
import { mutate, queryField, requestClientToken } from '../graph.ts'
import { argument, AS_PARTNER, file, flag, requiredFile, text } from '../inputs.ts'
import { openSandbox, sandboxBankUrl } from '../sandbox.ts'
import { indentedJson, items, record, sections, table } from '../view.ts'
import { CONNECTOR_ID, FIELDS, RECORD } from './connectors.ts'
import { isPreview, PREVIEW_FIELDS, previewRegistration, previewView } from './registration-preview.ts'

const PROFILES = table({
  NAME: 'name',
  STANDARD: 'standard',
  BANKS: 'banks',
  'TRIED AT BANK': 'triedAt',
  'IN REACH': 'isInReach',
})

const PROFILE = sections([
  {
    path: '',
    view: record({
      NAME: 'name',
      REVISION: 'revision',
      STANDARD: 'standard',
      BANKS: 'banks',
      'TRIED AT BANK': 'triedAt',
      'OUT OF REACH': 'outOfReach',
    }),
  },
  { heading: 'To be stated by the operator', path: 'missingMembers', view: items, isOptional: true },
  { heading: 'Notes', path: 'notes', view: items, isOptional: true },
  { heading: 'Sources', path: 'sources', view: items },
  { heading: 'Members of the registration', path: 'registration', view: indentedJson },
])

/** Registering banks as connectors, and the gateway at banks. */
export const REGISTRATION_COMMANDS = [
  defineCommand({
    name: 'connectors profiles',
    description: 'List the profiles of named banks, from which a registration can begin.',
    options: { as: AS_PARTNER },
    examples: ['guichet connectors profiles --as <client>'],
    json: '[{ name standard banks triedAt outOfReach missingMembers notes }]',
    view: (result, terminal) =>
      PROFILES(
        (result as readonly { readonly outOfReach: string | null }[]).map((profile) => ({
          ...profile,
          isInReach: profile.outOfReach === null,
        })),
        terminal,
      ),
    async run(context, { as }) {
      const token = await requestClientToken(context, as, 'connectors:manage')
      const query = '{ connectorProfiles { name standard banks triedAt outOfReach missingMembers notes } }'
      return queryField(context, token, query, 'connectorProfiles', {})
    },
  }),
  defineCommand({
    name: 'connectors profile',
    description:
      'Show what the profile of a named bank says, what it leaves to the operator, and where its facts are from.',
    arguments: { name: argument('<profile>', 'name of the profile, see connectors profiles') },
    options: { as: AS_PARTNER },
    examples: ['guichet connectors profile lloyds/halifax --as <client>'],
    json: '{ name revision standard banks triedAt outOfReach missingMembers notes sources registration }',
    view: PROFILE,
    async run(context, { name, as }) {
      const token = await requestClientToken(context, as, 'connectors:manage')
      const fields = 'name revision standard banks triedAt outOfReach missingMembers notes sources registration'
      const query = `{ connectorProfiles { ${fields} } }`
      const profiles = (await queryField(context, token, query, 'connectorProfiles', {})) as readonly { name: string }[]
      const profile = profiles.find((one) => one.name === name)
      if (!profile) throw new CommandError(`there is no profile ${name}: see guichet connectors profiles`)
      return profile
    },
  }),
  defineCommand({
    name: 'connectors register',
    description:
      'Register a bank as a draft: from a file, from the profile of a named bank, or as a sandbox bank, at which the gateway is registered too. With a profile, the file may have { "registration": … } alone: only the members that differ from the profile or that it leaves open. A dry run exits with 1 if something must be stated yet.',
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
    json: `{ ${FIELDS} }, with --dry-run { ${PREVIEW_FIELDS} }`,
    view: (result, terminal) => (isPreview(result) ? previewView : record(RECORD))(result, terminal),
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
