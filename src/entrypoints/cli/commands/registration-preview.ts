import type { CommandContext } from '../command.ts'
import { CommandError, formatFault, type Fault } from '../errors.ts'
import { queryField } from '../graph.ts'
import type { Token } from '../oauth-client.ts'
import { items, record, sections, type View } from '../view.ts'

const PLAN_FIELDS =
  'signIn requestedData requirements missingMembers requests { purpose method url authentication headers parameters }'
/** The shape of a preview in JSON. */
export const PREVIEW_FIELDS = `acceptable bank { id name } ${PLAN_FIELDS} triedAt notes sources`

interface PlannedRequest {
  readonly purpose: string
  readonly method: string
  readonly url: string
  readonly authentication: string
  readonly headers: readonly string[]
  readonly parameters: readonly string[]
}

interface Preview {
  readonly acceptable: boolean
  readonly requirements: readonly string[]
  readonly missingMembers: readonly string[]
  readonly requests: readonly PlannedRequest[]
}

interface Profile {
  readonly name: string
  readonly triedAt: string | null
  readonly notes: readonly string[]
  readonly sources: readonly string[]
}

/** What each requirement means, and the command for it. */
const REQUIREMENTS: Readonly<Record<string, string>> = {
  CLIENT_ID: "the gateway's client ID at the bank: state it as `clientId`",
  CLIENT_SECRET: 'the client secret that the bank assigned: `guichet connectors set-client-secret`',
  TRANSPORT_CERTIFICATE:
    'a certificate for mutual TLS, such as an OBWAC or a QWAC: `guichet connectors request-certificate --use TRANSPORT`, then `upload-certificate`',
  SIGNING_CERTIFICATE:
    'a certificate for signatures, such as an OBSeal or a QSealC: `guichet connectors request-certificate --use SIGNING`, then `upload-certificate`',
  SOFTWARE_STATEMENT:
    "a software statement of the scheme's directory: `guichet connectors register-at-bank`. Or state `clientId` if the bank has registered the gateway already",
  KEYS_AT_BANK: 'the trust of the bank in the keys of the connector: give it `jwks` or `jwksUrl` of the registration',
}

/**
 * What a registration would do; nothing is stored. Throws `CommandError` with every fault, and with the preview if members are
 * to be stated yet.
 */
export async function previewRegistration(
  context: CommandContext,
  token: Token,
  input: { readonly profile?: string },
): Promise<unknown> {
  const query = `query ($input: RegisterConnectorInput!) { connectorPreview(input: $input) { bankId bankName ${PLAN_FIELDS} userErrors { code path message } } }`
  const { bankId, bankName, userErrors, ...plan } = (await queryField(context, token, query, 'connectorPreview', {
    input,
  })) as Omit<Preview, 'acceptable'> & {
    readonly bankId: string | null
    readonly bankName: string | null
    readonly userErrors: readonly Fault[]
  }
  if (userErrors.length > 0) throw new CommandError(userErrors.map(formatFault))
  const { triedAt = null, notes = [], sources = [] } = (await findProfile(context, token, input.profile)) ?? {}
  const acceptable = plan.missingMembers.length === 0
  const preview = { acceptable, bank: { id: bankId, name: bankName }, ...plan, triedAt, notes, sources }
  if (!acceptable)
    throw new CommandError(`cannot be registered: state ${plan.missingMembers.join(', ')} in --file`, preview)
  return preview
}

async function findProfile(context: CommandContext, token: Token, name?: string): Promise<Profile | undefined> {
  if (name === undefined) return undefined
  const query = '{ connectorProfiles { name triedAt notes sources } }'
  const profiles = (await queryField(context, token, query, 'connectorProfiles', {})) as readonly Profile[]
  return profiles.find((profile) => profile.name === name)
}

/** Whether a result is a preview. */
export const isPreview = (result: unknown): result is Preview => Object.hasOwn(result as object, 'acceptable')

/** A preview for people. */
export const previewView: View = (result, terminal) => {
  const preview = result as Preview
  const requirements = preview.requirements.map((name) => `${name}: ${REQUIREMENTS[name] ?? ''}`)
  return PREVIEW({ ...preview, requirements, requests: preview.requests.map(describeRequest) }, terminal)
}

const PREVIEW = sections([
  {
    path: '',
    view: record({
      ACCEPTABLE: 'acceptable',
      BANK: 'bank.id',
      NAME: 'bank.name',
      'SIGN-IN': 'signIn',
      'DATA REQUESTED': 'requestedData',
      'TRIED AT BANK': 'triedAt',
    }),
  },
  { heading: 'To be stated in --file', path: 'missingMembers', view: items, isOptional: true },
  { heading: 'Still needed', path: 'requirements', view: items, isOptional: true },
  { heading: 'Notes of the profile', path: 'notes', view: items, isOptional: true },
  { heading: 'Sources of the profile', path: 'sources', view: items, isOptional: true },
  { heading: 'Requests to the bank', path: 'requests', view: items },
])

/** A request in lines: what for, where, and with what. */
function describeRequest({ purpose, method, url, authentication, headers, parameters }: PlannedRequest): string {
  return [
    purpose,
    `${method} ${url}`,
    `authentication: ${authentication}`,
    ...(headers.length === 0 ? [] : [`headers: ${headers.join(', ')}`]),
    ...(parameters.length === 0 ? [] : [`parameters: ${parameters.join(', ')}`]),
  ].join('\n')
}
