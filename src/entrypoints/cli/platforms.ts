import { queryField, mutate, requireOption, requestClientToken, type Command } from './command.ts'

/** The commands by which admins list and rename platforms. */
export const PLATFORM_COMMANDS: Readonly<Record<string, Command>> = {
  'platforms list': {
    usage: 'platforms list [--as <admin>]',
    description: 'all platforms, with the names that customers read; as admin',
    run: async (context, _args, { as = 'admin' }) =>
      queryField(
        context,
        await requestClientToken(context, as, 'platforms:manage'),
        '{ platforms { id name } }',
        'platforms',
      ),
  },
  'platforms update': {
    usage: 'platforms update <platform id> --name <name> [--as <admin>]',
    description: 'renames a platform: the next page that a customer opens shows the new name; as admin',
    async run(context, [id], { name, as = 'admin' }) {
      const input = { id: requireOption(id, 'a platform id'), name: requireOption(name, '--name') }
      const query =
        'mutation ($input: UpdatePlatformInput!) { updatePlatform(input: $input) { platform { id name } userErrors { code path message } } }'
      return mutate(
        context,
        await requestClientToken(context, as, 'platforms:manage'),
        query,
        { input },
        'updatePlatform',
        'platform',
      )
    },
  },
}
