import { ask, change, needed, own, type Command } from './command.ts'

/** The commands by which admins list and rename platforms. */
export const PLATFORM_COMMANDS: Readonly<Record<string, Command>> = {
  'platforms list': {
    usage: 'platforms list [--as <admin>]',
    does: 'all platforms, with the names that customers read; as admin',
    run: async (terminal, _words, { as = 'admin' }) =>
      ask(terminal, await own(terminal, as, 'platforms:manage'), '{ platforms { id name } }', 'platforms'),
  },
  'platforms update': {
    usage: 'platforms update <platform id> --name <name> [--as <admin>]',
    does: 'renames a platform: the next page that a customer opens shows the new name; as admin',
    async run(terminal, [id], { name, as = 'admin' }) {
      const input = { id: needed(id, 'a platform id'), name: needed(name, '--name') }
      const query =
        'mutation ($input: UpdatePlatformInput!) { updatePlatform(input: $input) { platform { id name } userErrors { code path message } } }'
      return change(
        terminal,
        await own(terminal, as, 'platforms:manage'),
        query,
        { input },
        'updatePlatform',
        'platform',
      )
    },
  },
}
