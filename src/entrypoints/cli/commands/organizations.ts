import { defineCommand, type CommandContext } from '../command.ts'
import { mutate, queryAllNodes, requestClientToken } from '../graph.ts'
import { argument, AS_ADMIN, choiceWithDefault, requiredText } from '../inputs.ts'
import type { Token } from '../oauth-client.ts'
import { record, table } from '../view.ts'

const FIELDS = 'id kind name'
const COLUMNS = { ID: 'id', KIND: 'kind', NAME: 'name' }
const KINDS = ['PLATFORM', 'BANK', 'OPERATOR'] as const
const NAME = requiredText('--name <name>', 'the name that customers see')

/** The kind of an organization. */
export type OrganizationKind = (typeof KINDS)[number]

/** The kind of an organization that is registered. */
export const KIND = choiceWithDefault('--kind <kind>', 'the kind of the organization', KINDS, 'PLATFORM')

/** Organizations, which own clients. */
export const ORGANIZATION_COMMANDS = [
  defineCommand({
    name: 'organizations list',
    description: 'List all organizations, with the names that customers see.',
    options: { as: AS_ADMIN },
    examples: ['guichet organizations list'],
    json: `[{ ${FIELDS} }]`,
    view: table(COLUMNS),
    run: async (context, { as }) =>
      queryAllNodes(context, await requestClientToken(context, as, 'organizations:manage'), 'organizations', FIELDS),
  }),
  defineCommand({
    name: 'organizations create',
    description: 'Register an organization.',
    options: { name: NAME, kind: KIND, as: AS_ADMIN },
    examples: ['guichet organizations create --kind PLATFORM --name "Parley"'],
    json: `{ ${FIELDS} }`,
    view: record(COLUMNS),
    async run(context, { name, kind, as }) {
      const token = await requestClientToken(context, as, 'organizations:manage')
      return registerOrganization(context, token, name, kind)
    },
  }),
  defineCommand({
    name: 'organizations update',
    description: 'Rename an organization. The next page that a customer opens shows the new name.',
    arguments: { organizationId: argument('<organization-id>', 'ID of the organization') },
    options: { name: NAME, as: AS_ADMIN },
    examples: ['guichet organizations update <organization id> --name "Parley"'],
    json: `{ ${FIELDS} }`,
    view: record(COLUMNS),
    async run(context, { organizationId, name, as }) {
      const token = await requestClientToken(context, as, 'organizations:manage')
      return mutate(context, token, 'updateOrganization', { organizationId, name }, `organization { ${FIELDS} }`)
    },
  }),
]

const registerOrganization = (
  context: CommandContext,
  token: Token,
  name: string,
  kind: OrganizationKind,
): Promise<unknown> => mutate(context, token, 'registerOrganization', { kind, name }, `organization { ${FIELDS} }`)

const MAX_SEARCH_LENGTH = 60

/** ID of the organization with this name. Registers it with this kind if there is none. */
export async function findOrRegisterOrganization(
  context: CommandContext,
  token: Token,
  name: string,
  kind: OrganizationKind,
): Promise<string> {
  const filter = `filter: { search: ${JSON.stringify(name.slice(0, MAX_SEARCH_LENGTH))} }`
  const found = (await queryAllNodes(context, token, 'organizations', FIELDS, filter)) as { id: string; name: string }[]
  const existing = found.find((organization) => organization.name === name)
  return existing?.id ?? ((await registerOrganization(context, token, name, kind)) as { id: string }).id
}
