import type { Command } from '../command.ts'
import type { Input, Inputs } from '../inputs.ts'

/** What a shell needs to know to complete a command line. */
export interface CommandLine {
  /** The first words, each with its verbs; a command of one word has none. */
  readonly nouns: readonly { readonly name: string; readonly description: string; readonly verbs: readonly Verb[] }[]
  readonly commands: readonly CompletedCommand[]
}

/** The second word of a command. */
export interface Verb {
  readonly name: string
  readonly description: string
}

/** A command, with what can follow its words. */
export interface CompletedCommand {
  readonly words: readonly string[]
  /** Values of the first argument, if they are fixed. */
  readonly argumentValues: readonly string[]
  readonly options: readonly CompletedOption[]
}

/** An option, with what can follow it. */
export interface CompletedOption {
  /** With its dashes, such as `--kind`. */
  readonly name: string
  readonly description: string
  /** Whether it has a value: none, any text, the name of a file, or one of these. */
  readonly value: 'none' | 'text' | 'file' | readonly string[]
}

/** What the completion scripts contain, from the table of commands and the options that every command has. */
export function describeCommandLine(
  nouns: Readonly<Record<string, string>>,
  commands: readonly Command[],
  globalOptions: Inputs,
): CommandLine {
  const firstWords = [...new Set(commands.map(({ name }) => name.split(' ')[0]!))]
  return {
    nouns: firstWords.map((noun) => ({
      name: noun,
      description: nouns[noun] ?? commands.find(({ name }) => name === noun)?.description ?? '',
      verbs: commands
        .filter(({ name }) => name.startsWith(`${noun} `))
        .map(({ name, description }) => ({ name: name.split(' ')[1]!, description })),
    })),
    commands: commands.map(({ name, options = {}, arguments: inputs = {} }) => ({
      words: name.split(' '),
      argumentValues: Object.values(inputs)[0]?.choices ?? [],
      options: [...Object.values(options), ...Object.values(globalOptions)].map(toOption),
    })),
  }
}

function toOption({ flags, description, choices, isFile }: Input<unknown>): CompletedOption {
  const [name = '', placeholder] = flags.split(' ')
  const value = placeholder === undefined ? 'none' : (choices ?? (isFile === true ? 'file' : 'text'))
  return { name, description, value }
}
