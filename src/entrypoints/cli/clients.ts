import { readFileSync } from 'node:fs'
import {
  queryAllNodes,
  queryField,
  mutate,
  parseChoice,
  requireOption,
  parsePositiveInteger,
  requestClientToken,
  parseTime,
  type Command,
  type Options,
} from './command.ts'
import { CommandError, UsageError } from './errors.ts'
import { findOrRegisterOrganization } from './organizations.ts'

const CLIENT_FIELDS = 'id name status scopes redirectUris tokenBinding organization { id kind name }'
const CHANGED_FIELDS = `${CLIENT_FIELDS} pointsPerMinute pointsPerCustomerPerMinute operationPolicy`
const UPDATE_OPTIONS =
  '[--name <name>] [--scopes "<scopes>"] [--redirect-uri <uri>]… [--no-redirect-uris] [--file <jwks.json>] [--points-per-minute <points>] [--points-per-customer <points>] [--operations (ANY | REGISTERED_ONLY)]'

/** The commands by which admins register, change and end OAuth clients. */
export const CLIENT_COMMANDS: Readonly<Record<string, Command>> = {
  'clients list': {
    usage: 'clients list [--as <admin>]',
    description: 'all OAuth clients, as admin',
    run: async (context, _args, { as = 'admin' }) =>
      queryAllNodes(
        context,
        await requestClientToken(context, as, 'clients:manage organizations:manage'),
        'clients',
        `${CLIENT_FIELDS} lastUsedAt`,
      ),
  },
  'clients create': {
    usage:
      'clients create --organization <name> [--kind (PLATFORM | BANK | OPERATOR)] --name <name> --file <jwks.json> --scopes "<scopes>" [--redirect-uri <uri>]… [--bearer] [--as <admin>]',
    description:
      'registers an OAuth client, and its organization of that kind (PLATFORM) if there is none of that name; as admin',
    async run(context, _args, options) {
      const token = await requestClientToken(context, options.as ?? 'admin', 'clients:manage organizations:manage')
      const input = {
        organizationId: await findOrRegisterOrganization(
          context,
          token,
          requireOption(options.organization, '--organization'),
          options.kind,
        ),
        name: requireOption(options.name, '--name'),
        jwks: readKeySet(requireOption(options.file, '--file')),
        scopes: requireOption(options.scopes, '--scopes').trim().split(/\s+/),
        redirectUris: options['redirect-uri'] ?? [],
        tokenBinding: options.bearer ? 'BEARER' : 'DPOP',
      }
      const query = `mutation ($input: RegisterClientInput!) { registerClient(input: $input) { client { ${CLIENT_FIELDS} } userErrors { code path message } } }`
      return mutate(context, token, query, { input }, 'registerClient', 'client')
    },
  },
  'clients update': {
    usage: `clients update <client id> ${UPDATE_OPTIONS} [--as <admin>]`,
    description: 'changes what is given, from the next request on; the rest stays; as admin',
    async run(context, [id], options) {
      const input = { clientId: requireOption(id, 'a client id'), ...parseChanges(options) }
      if (Object.keys(input).length === 1) throw new UsageError(`nothing to change: ${UPDATE_OPTIONS}`)
      const query = `mutation ($input: UpdateClientInput!) { updateClient(input: $input) { client { ${CHANGED_FIELDS} } userErrors { code path message } } }`
      const token = await requestClientToken(context, options.as ?? 'admin', 'clients:manage organizations:manage')
      return mutate(context, token, query, { input }, 'updateClient', 'client')
    },
  },
  'clients suspend': lifecycleCommand('suspend', 'suspendClient', 'from now on its tokens open nothing'),
  'clients resume': lifecycleCommand('resume', 'resumeClient', 'lifts a suspension'),
  'clients retire': lifecycleCommand(
    'retire',
    'retireClient',
    'ends it for good: its tokens open nothing, its consents are revoked',
  ),
  'clients usage': {
    usage: 'clients usage <client id> [--since <time>] [--until <time>] [--interval (HOUR | DAY)] [--as <admin>]',
    description: 'what it used: requests, points and errors, by days unless said otherwise; as admin',
    async run(context, [clientId], { since, until, interval = 'DAY', as = 'admin' }) {
      const id = requireOption(clientId, 'a client id')
      const fields =
        'id name lastUsedAt usage(range: $range, interval: $interval) { startsAt requestCount pointCount errorCount }'
      const variables = {
        range: {
          since: since === undefined ? null : parseTime(since),
          until: until === undefined ? null : parseTime(until),
        },
        interval: parseChoice('--interval', interval, ['HOUR', 'DAY']),
      }
      const token = await requestClientToken(context, as, 'clients:manage')
      const query = `query ($range: TimeRangeInput!, $interval: UsageInterval!, $id: ID!) { client(id: $id) { ${fields} } }`
      const foundClient = await queryField(context, token, query, 'client', { ...variables, id })
      if (!foundClient) throw new CommandError('there is no such client: guichet clients list')
      return foundClient
    },
  },
}

/** What the options change of a client. */
function parseChanges(options: Options): Record<string, unknown> {
  const { name, scopes, file, operations } = options
  const redirectUris = options['no-redirect-uris'] ? [] : options['redirect-uri']
  if (options['no-redirect-uris'] && options['redirect-uri'])
    throw new UsageError('--redirect-uri and --no-redirect-uris contradict each other')
  const points = (option: 'points-per-minute' | 'points-per-customer'): number | undefined =>
    options[option] === undefined ? undefined : parsePositiveInteger(`--${option}`, options[option])
  const changes = {
    name,
    redirectUris,
    scopes: scopes?.trim().split(/\s+/),
    jwks: file === undefined ? undefined : readKeySet(file),
    pointsPerMinute: points('points-per-minute'),
    pointsPerCustomerPerMinute: points('points-per-customer'),
    operationPolicy:
      operations === undefined ? undefined : parseChoice('--operations', operations, ['ANY', 'REGISTERED_ONLY']),
  }
  return Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined))
}

function readKeySet(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    throw new CommandError(`${file} holds no JSON that can be read: it must be a JSON Web Key Set, { "keys": [ … ] }`)
  }
}

function lifecycleCommand(verb: string, mutation: string, description: string): Command {
  return {
    usage: `clients ${verb} <client id> [--as <admin>]`,
    description: `${description}; as admin`,
    async run(context, [id], { as = 'admin' }) {
      const inputType = `${mutation.charAt(0).toUpperCase()}${mutation.slice(1)}Input`
      const query = `mutation ($input: ${inputType}!) { ${mutation}(input: $input) { client { id status } userErrors { code path message } } }`
      const input = { clientId: requireOption(id, 'a client id') }
      return mutate(
        context,
        await requestClientToken(context, as, 'clients:manage'),
        query,
        { input },
        mutation,
        'client',
      )
    },
  }
}
