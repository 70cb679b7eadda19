import {
  queryAllNodes,
  mutate,
  parseChoice,
  requireOption,
  requestClientToken,
  type Command,
  type CommandContext,
} from './command.ts'
import type { Token } from './oauth-client.ts'

const ORGANIZATION_FIELDS = 'id kind name'
const KINDS = ['PLATFORM', 'BANK', 'OPERATOR'] as const

/** The commands by which admins list, register and rename organizations. */
export const ORGANIZATION_COMMANDS: Readonly<Record<string, Command>> = {
  'organizations list': {
    usage: 'organizations list [--as <admin>]',
    description: 'all organizations, with the names that customers read; as admin',
    run: async (context, _args, { as = 'admin' }) =>
      queryAllNodes(
        context,
        await requestClientToken(context, as, 'organizations:manage'),
        'organizations',
        ORGANIZATION_FIELDS,
      ),
  },
  'organizations create': {
    usage: 'organizations create --name <name> [--kind (PLATFORM | BANK | OPERATOR)] [--as <admin>]',
    description: 'registers an organization, a PLATFORM unless said otherwise; as admin',
    async run(context, _args, { name, kind, as = 'admin' }) {
      const token = await requestClientToken(context, as, 'organizations:manage')
      return registerOrganization(context, token, requireOption(name, '--name'), kind)
    },
  },
  'organizations update': {
    usage: 'organizations update <organization id> --name <name> [--as <admin>]',
    description: 'renames an organization: the next page that a customer opens shows the new name; as admin',
    async run(context, [id], { name, as = 'admin' }) {
      const input = { organizationId: requireOption(id, 'an organization id'), name: requireOption(name, '--name') }
      const query = `mutation ($input: UpdateOrganizationInput!) { updateOrganization(input: $input) { organization { ${ORGANIZATION_FIELDS} } userErrors { code path message } } }`
      const token = await requestClientToken(context, as, 'organizations:manage')
      return mutate(context, token, query, { input }, 'updateOrganization', 'organization')
    },
  },
}

function registerOrganization(
  context: CommandContext,
  token: Token,
  name: string,
  kind = 'PLATFORM',
): Promise<unknown> {
  const input = { kind: parseChoice('--kind', kind, KINDS), name }
  const query = `mutation ($input: RegisterOrganizationInput!) { registerOrganization(input: $input) { organization { ${ORGANIZATION_FIELDS} } userErrors { code path message } } }`
  return mutate(context, token, query, { input }, 'registerOrganization', 'organization')
}

/** The id of the organization of this name, which is registered if there is none. */
export async function findOrRegisterOrganization(
  context: CommandContext,
  token: Token,
  name: string,
  kind: string | undefined,
): Promise<string> {
  const filter = `filter: { search: ${JSON.stringify(name.slice(0, 60))} }`
  const found = (await queryAllNodes(context, token, 'organizations', ORGANIZATION_FIELDS, filter)) as {
    id: string
    name: string
  }[]
  const existing = found.find((organization) => organization.name === name)
  return existing?.id ?? ((await registerOrganization(context, token, name, kind)) as { id: string }).id
}
