import { readFileSync } from 'node:fs'
import { defineCommand, type Command } from '../command.ts'
import { CommandError, UsageError } from '../errors.ts'
import { mutate, queryAllNodes, queryObject, requestClientToken } from '../graph.ts'
import {
  argument,
  AS_ADMIN,
  choice,
  choiceWithDefault,
  file,
  flag,
  positiveInteger,
  requiredFile,
  requiredText,
  requiredWords,
  SINCE,
  text,
  textList,
  UNTIL,
  words,
  type ValuesOf,
} from '../inputs.ts'
import { record, sections, table } from '../view.ts'
import { findOrRegisterOrganization, KIND } from './organizations.ts'

const FIELDS = 'id name status scopes redirectUris tokenBinding organization { id kind name }'
const LIST_FIELDS = `${FIELDS} lastUsedAt`
const LIMIT_FIELDS = `${FIELDS} contactEmail pointsPerMinute pointsPerCustomerPerMinute operationPolicy`
const USAGE_FIELDS = 'startsAt requestCount pointCount errorCount'
const SCOPES = 'clients:manage organizations:manage'

const CLIENT_ID = argument('<client-id>', 'ID of the client')
const REDIRECT_URI = textList('--redirect-uri <uri>', 'where customers return to')
const KEY_SET_DESCRIPTION = 'the public keys, a JSON Web Key Set'

const RECORD = {
  ID: 'id',
  NAME: 'name',
  STATUS: 'status',
  ORGANIZATION: 'organization.name',
  KIND: 'organization.kind',
  SCOPES: 'scopes',
  'REDIRECT URIS': 'redirectUris',
  'TOKEN BINDING': 'tokenBinding',
}

/** What `clients update` can change. */
const CHANGES = {
  name: text('--name <name>', 'the name that admins see'),
  scopes: words('--scopes <scopes>', 'all scopes, separated by spaces'),
  redirectUris: REDIRECT_URI,
  noRedirectUris: flag('--no-redirect-uris', 'remove all redirect URIs'),
  keyFile: file('--file <jwks.json>', KEY_SET_DESCRIPTION),
  pointsPerMinute: positiveInteger('--points-per-minute <points>', 'the limit of the client'),
  pointsPerCustomer: positiveInteger('--points-per-customer <points>', 'its limit for one customer in a minute'),
  contactEmail: text('--contact-email <address>', 'where notices are sent'),
  operations: choice('--operations <policy>', 'the operations that it may send', ['ANY', 'REGISTERED_ONLY']),
}

/** OAuth clients, as an admin registers, changes and ends them. */
export const CLIENT_COMMANDS = [
  defineCommand({
    name: 'clients list',
    description: 'List all OAuth clients.',
    options: { as: AS_ADMIN },
    examples: ['guichet clients list'],
    json: `[{ ${LIST_FIELDS} }]`,
    view: table({
      ID: 'id',
      NAME: 'name',
      ORGANIZATION: 'organization.name',
      KIND: 'organization.kind',
      STATUS: 'status',
      'LAST USED': 'lastUsedAt',
    }),
    run: async (context, { as }) =>
      queryAllNodes(context, await requestClientToken(context, as, SCOPES), 'clients', LIST_FIELDS),
  }),
  defineCommand({
    name: 'clients create',
    description: 'Register an OAuth client, and its organization if there is none with that name.',
    options: {
      organization: requiredText('--organization <name>', 'the organization that owns the client'),
      kind: KIND,
      name: requiredText('--name <name>', 'the name that admins see'),
      keyFile: requiredFile('--file <jwks.json>', KEY_SET_DESCRIPTION),
      scopes: requiredWords('--scopes <scopes>', 'the scopes, separated by spaces'),
      redirectUris: REDIRECT_URI,
      bearer: flag('--bearer', 'plain bearer tokens instead of DPoP; not in production'),
      as: AS_ADMIN,
    },
    examples: [
      'guichet clients create --organization Parley --name "Parley chat" --file jwks.json --scopes "accounts:read alerts:read" --redirect-uri https://parley.example/callback',
    ],
    json: `{ ${FIELDS} }`,
    view: record(RECORD),
    async run(context, { organization, kind, name, keyFile, scopes, redirectUris = [], bearer, as }) {
      const jwks = readKeySet(keyFile)
      const token = await requestClientToken(context, as, SCOPES)
      const organizationId = await findOrRegisterOrganization(context, token, organization, kind)
      const tokenBinding = bearer ? 'BEARER' : 'DPOP'
      const input = { organizationId, name, jwks, scopes, redirectUris, tokenBinding }
      return mutate(context, token, 'registerClient', input, `client { ${FIELDS} }`)
    },
  }),
  defineCommand({
    name: 'clients update',
    description: 'Change what is given, from the next request on. The rest stays.',
    arguments: { clientId: CLIENT_ID },
    options: { ...CHANGES, as: AS_ADMIN },
    examples: ['guichet clients update <client id> --name "Parley chat" --points-per-minute 300000'],
    json: `{ ${LIMIT_FIELDS} }`,
    view: record({
      ...RECORD,
      CONTACT: 'contactEmail',
      'POINTS PER MINUTE': 'pointsPerMinute',
      'PER CUSTOMER': 'pointsPerCustomerPerMinute',
      OPERATIONS: 'operationPolicy',
    }),
    async run(context, { clientId, as, ...options }) {
      const changes = parseChanges(options)
      const token = await requestClientToken(context, as, SCOPES)
      return mutate(context, token, 'updateClient', { clientId, ...changes }, `client { ${LIMIT_FIELDS} }`)
    },
  }),
  lifecycleCommand('suspend', 'suspendClient', 'Suspend a client: from now on its tokens give no access.'),
  lifecycleCommand('resume', 'resumeClient', 'Lift the suspension of a client.'),
  lifecycleCommand('retire', 'retireClient', 'End a client permanently and revoke all consents that it was given.'),
  defineCommand({
    name: 'clients usage',
    description: 'Show what a client used: requests, points and errors, by day or hour.',
    arguments: { clientId: CLIENT_ID },
    options: {
      since: SINCE,
      until: UNTIL,
      interval: choiceWithDefault('--interval <interval>', 'the length of a row', ['HOUR', 'DAY'], 'DAY'),
      as: AS_ADMIN,
    },
    examples: ['guichet clients usage <client id> --interval HOUR --since -24h'],
    json: `{ id name lastUsedAt usage { ${USAGE_FIELDS} } }`,
    view: sections([
      { path: '', view: record({ ID: 'id', NAME: 'name', 'LAST USED': 'lastUsedAt' }) },
      {
        path: 'usage',
        view: table({ STARTS: 'startsAt', REQUESTS: 'requestCount', POINTS: 'pointCount', ERRORS: 'errorCount' }),
      },
    ]),
    async run(context, { clientId, since = null, until = null, interval, as }) {
      const query = `query ($range: TimeRangeInput!, $interval: UsageInterval!, $id: ID!) { client(id: $id) {
        id name lastUsedAt usage(range: $range, interval: $interval) { ${USAGE_FIELDS} } } }`
      return queryObject(context, await requestClientToken(context, as, 'clients:manage'), {
        query,
        field: 'client',
        id: clientId,
        missing: 'there is no such client: see guichet clients list',
        variables: { range: { since, until }, interval },
      })
    },
  }),
]

/** The input of `updateClient`, with the fields that change. Throws `UsageError` if there are none. */
function parseChanges({
  name,
  scopes,
  redirectUris,
  noRedirectUris,
  keyFile,
  pointsPerMinute,
  pointsPerCustomer,
  operations,
  contactEmail,
}: ValuesOf<typeof CHANGES>): object {
  if (noRedirectUris && redirectUris)
    throw new UsageError('--redirect-uri and --no-redirect-uris contradict each other')
  const changes = Object.entries({
    name,
    scopes,
    redirectUris: noRedirectUris ? [] : redirectUris,
    jwks: keyFile === undefined ? undefined : readKeySet(keyFile),
    pointsPerMinute,
    pointsPerCustomerPerMinute: pointsPerCustomer,
    operationPolicy: operations,
    contactEmail,
  }).filter(([, value]) => value !== undefined)
  if (changes.length === 0)
    throw new UsageError('nothing to change: name at least one option, see guichet clients update --help')
  return Object.fromEntries(changes)
}

function readKeySet(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    throw new CommandError(`${path} holds no JSON that can be read: it must be a JSON Web Key Set, { "keys": [ … ] }`)
  }
}

function lifecycleCommand(verb: string, mutation: string, description: string): Command {
  return defineCommand({
    name: `clients ${verb}`,
    description,
    arguments: { clientId: CLIENT_ID },
    options: { as: AS_ADMIN },
    examples: [`guichet clients ${verb} <client id>`],
    json: '{ id status }',
    view: record({ ID: 'id', STATUS: 'status' }),
    async run(context, { clientId, as }) {
      const token = await requestClientToken(context, as, 'clients:manage')
      return mutate(context, token, mutation, { clientId }, 'client { id status }')
    },
  })
}
