import { defineText, type Command } from '../command.ts'
import { requiredChoice } from '../inputs.ts'
import { GLOBAL_OPTIONS } from '../program.ts'
import { bashCompletion } from '../completion/bash.ts'
import { fishCompletion } from '../completion/fish.ts'
import { describeCommandLine } from '../completion/model.ts'
import { zshCompletion } from '../completion/zsh.ts'

const SCRIPTS = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion }

/** The command that prints completion scripts for these commands, which include itself. */
export const completionCommand = (
  nouns: Readonly<Record<string, string>>,
  listCommands: () => readonly Command[],
): Command =>
  defineText({
    name: 'completion',
    description: 'Print a script with which the shell completes commands, options and their values.',
    arguments: { shell: requiredChoice('<shell>', 'the shell', ['bash', 'zsh', 'fish']) },
    examples: [
      'source <(guichet completion bash)',
      'guichet completion zsh > "${fpath[1]}/_guichet"',
      'guichet completion fish > ~/.config/fish/completions/guichet.fish',
    ],
    print: ({ shell }) => SCRIPTS[shell](describeCommandLine(nouns, listCommands(), GLOBAL_OPTIONS)),
  })
