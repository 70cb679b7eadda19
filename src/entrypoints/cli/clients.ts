import { readFileSync } from 'node:fs'
import {
  ask,
  change,
  choiceOf,
  needed,
  numberOf,
  own,
  timeOf,
  type Command,
  type Options,
  type Terminal,
} from './command.ts'
import type { Token } from './oauth-client.ts'
import { Refusal, Usage } from './refusal.ts'

const CLIENT_FIELDS = 'id name status scopes redirectUris tokenBinding platform { id name }'
const CHANGED_FIELDS = `${CLIENT_FIELDS} quotaPerMinute customerQuotaPerMinute operations`
const UPDATE_OPTIONS =
  '[--name <name>] [--scopes "<scopes>"] [--redirect-uri <uri>]… [--no-redirect-uris] [--file <jwks.json>] [--points-per-minute <points>] [--points-per-customer <points>] [--operations (ANY | REGISTERED)]'

/** The commands by which admins register, change and end OAuth clients. */
export const CLIENT_COMMANDS: Readonly<Record<string, Command>> = {
  'clients list': {
    usage: 'clients list [--as <admin>]',
    does: 'all OAuth clients, as admin',
    run: async (terminal, _words, { as = 'admin' }) =>
      ask(
        terminal,
        await own(terminal, as, 'clients:manage platforms:manage'),
        `{ clients { ${CLIENT_FIELDS} lastUsedAt } }`,
        'clients',
      ),
  },
  'clients create': {
    usage:
      'clients create --platform <name> --name <name> --file <jwks.json> --scopes "<scopes>" [--redirect-uri <uri>]… [--bearer] [--as <admin>]',
    does: 'registers an OAuth client, and its platform where there is none of that name; as admin',
    async run(terminal, _words, options) {
      const token = await own(terminal, options.as ?? 'admin', 'clients:manage platforms:manage')
      const input = {
        platformId: await platformNamed(terminal, token, needed(options.platform, '--platform')),
        name: needed(options.name, '--name'),
        keys: keysIn(needed(options.file, '--file')),
        scopes: needed(options.scopes, '--scopes').trim().split(/\s+/),
        redirectUris: options['redirect-uri'] ?? [],
        tokenBinding: options.bearer ? 'BEARER' : 'DPOP',
      }
      const query = `mutation ($input: RegisterClientInput!) { registerClient(input: $input) { client { ${CLIENT_FIELDS} } userErrors { code path message } } }`
      return change(terminal, token, query, { input }, 'registerClient', 'client')
    },
  },
  'clients update': {
    usage: `clients update <client id> ${UPDATE_OPTIONS} [--as <admin>]`,
    does: 'changes what is given, from the next request on; the rest stays; as admin',
    async run(terminal, [id], options) {
      const input = { id: needed(id, 'a client id'), ...changesIn(options) }
      if (Object.keys(input).length === 1) throw new Usage(`nothing to change: ${UPDATE_OPTIONS}`)
      const query = `mutation ($input: UpdateClientInput!) { updateClient(input: $input) { client { ${CHANGED_FIELDS} } userErrors { code path message } } }`
      const token = await own(terminal, options.as ?? 'admin', 'clients:manage platforms:manage')
      return change(terminal, token, query, { input }, 'updateClient', 'client')
    },
  },
  'clients suspend': turn('suspend', 'suspendClient', 'from now on its tokens open nothing'),
  'clients resume': turn('resume', 'resumeClient', 'lifts a suspension'),
  'clients retire': turn(
    'retire',
    'retireClient',
    'ends it for good: its tokens open nothing, its consents are revoked',
  ),
  'clients usage': {
    usage: 'clients usage <client id> [--since <time>] [--until <time>] [--interval (HOUR | DAY)] [--as <admin>]',
    does: 'what it used: requests, points and errors, by days unless said otherwise; as admin',
    async run(terminal, [given], { since, until, interval = 'DAY', as = 'admin' }) {
      const id = needed(given, 'a client id')
      const fields =
        'id name lastUsedAt usage(range: $range, interval: $interval) { startsAt requestCount pointCount errorCount }'
      const variables = {
        range: { since: since === undefined ? null : timeOf(since), until: until === undefined ? null : timeOf(until) },
        interval: choiceOf('--interval', interval, ['HOUR', 'DAY']),
      }
      const token = await own(terminal, as, 'clients:manage')
      const asked = '$range: TimeRangeInput!, $interval: UsageInterval!'
      // The clients of a sandbox have readable ids, which `node` does not find.
      const found = id.startsWith('clnt_')
        ? await ask(
            terminal,
            token,
            `query (${asked}, $id: ID!) { node(id: $id) { ... on Client { ${fields} } } }`,
            'node',
            { ...variables, id },
          )
        : (
            (await ask(terminal, token, `query (${asked}) { clients { ${fields} } }`, 'clients', variables)) as {
              id: string
            }[]
          ).find((client) => client.id === id)
      if (!found) throw new Refusal('there is no such client: guichet clients list')
      return found
    },
  },
}

/** What the options change of a client. */
function changesIn(options: Options): Record<string, unknown> {
  const { name, scopes, file, operations } = options
  const redirectUris = options['no-redirect-uris'] ? [] : options['redirect-uri']
  if (options['no-redirect-uris'] && options['redirect-uri'])
    throw new Usage('--redirect-uri and --no-redirect-uris contradict each other')
  const points = (option: 'points-per-minute' | 'points-per-customer'): number | undefined =>
    options[option] === undefined ? undefined : numberOf(`--${option}`, options[option])
  const changes = {
    name,
    redirectUris,
    scopes: scopes?.trim().split(/\s+/),
    keys: file === undefined ? undefined : keysIn(file),
    quotaPerMinute: points('points-per-minute'),
    customerQuotaPerMinute: points('points-per-customer'),
    operations: operations === undefined ? undefined : choiceOf('--operations', operations, ['ANY', 'REGISTERED']),
  }
  return Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined))
}

function keysIn(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    throw new Refusal(`${file} holds no JSON that can be read: it must be a JSON Web Key Set, { "keys": [ … ] }`)
  }
}

function turn(verb: string, mutation: string, does: string): Command {
  return {
    usage: `clients ${verb} <client id> [--as <admin>]`,
    does: `${does}; as admin`,
    async run(terminal, [id], { as = 'admin' }) {
      const query = `mutation ($input: ClientInput!) { ${mutation}(input: $input) { client { id status } userErrors { code path message } } }`
      const input = { id: needed(id, 'a client id') }
      return change(terminal, await own(terminal, as, 'clients:manage'), query, { input }, mutation, 'client')
    },
  }
}

async function platformNamed(terminal: Terminal, token: Token, name: string): Promise<string> {
  const platforms = (await ask(terminal, token, '{ platforms { id name } }', 'platforms')) as {
    id: string
    name: string
  }[]
  const known = platforms.find((platform) => platform.name === name)
  if (known) return known.id
  const query =
    'mutation ($input: RegisterPlatformInput!) { registerPlatform(input: $input) { platform { id } userErrors { code path message } } }'
  return ((await change(terminal, token, query, { input: { name } }, 'registerPlatform', 'platform')) as { id: string })
    .id
}
