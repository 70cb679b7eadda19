import { Argument, Command as Program, CommanderError, Help, InvalidArgumentError, Option } from 'commander'
import type { Command } from './command.ts'
import { UsageError } from './errors.ts'
import { flag, text, type Input, type Inputs } from './inputs.ts'
import { escapeLines } from './terminal.ts'

/** What the user asked for. */
export interface Invocation {
  readonly command: Command
  /** Values of the command's arguments and options, by their names in its definition. */
  readonly values: Readonly<Record<string, unknown>>
  readonly json: boolean
  readonly gateway: string | undefined
}

/** What each noun is about. */
export type Nouns = Readonly<Record<string, string>>

const EXIT_CODES = 'Exit codes:\n  0  done\n  1  refused or failed; the reason is on stderr\n  2  wrong usage'

/**
 * Reads a command line. Returns what to run, or the exit code if nothing is left to do: 0 after help or the version on stdout, 2
 * after an error on stderr.
 */
export function parseCommandLine(
  words: readonly string[],
  { commands, nouns, version }: { commands: readonly Command[]; nouns: Nouns; version: string },
): Invocation | 0 | 2 {
  let invocation: Invocation | undefined
  const program = createProgram(version)
  for (const command of commands)
    addCommand(program, nouns, command).action(function (this: Program) {
      const { json = false, gateway } = program.opts<{ json?: boolean; gateway?: string }>()
      invocation = { command, values: readValues(command, this), json, gateway }
    })
  try {
    program.parse(words, { from: 'user' })
    return invocation ?? 2
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    throw error
  }
}

/** Options of every command. They can stand anywhere in a command line. */
export const GLOBAL_OPTIONS = {
  json: flag('--json', 'print one JSON document on stdout'),
  gateway: text(
    '--gateway <url>',
    'the gateway to call; by default that of the key file, or of the sandbox in GUICHET_DATA_DIR',
  ),
  help: flag('--help', 'print help'),
} satisfies Inputs

/** Variables of the environment that commands read, with what each means. */
export const ENVIRONMENT = [
  ['ISSUER', 'the gateway to call, unless --gateway names it'],
  ['HOST, PORT', 'the gateway on this machine, unless ISSUER is set'],
  ['GUICHET_DATA_DIR', 'the folder with the keys of clients and the addresses of the sandbox; .guichet by default'],
  ['METRICS_HOST, METRICS_PORT', 'the metrics of the gateway; 127.0.0.1 and 9464 by default'],
  ['NO_COLOR', 'no colours'],
] as const
const ENVIRONMENT_HELP = `Environment:\n${ENVIRONMENT.map(([name, meaning]) => `  ${name.padEnd(28)} ${meaning}`).join('\n')}`

/** The program without its commands. */
const createProgram = (version: string): Program =>
  new Program('guichet')
    .usage('<noun> <verb> [options]')
    .description('The command line of a Guichet gateway: for operators, bank partners and its sandbox.')
    .version(version, '--version', 'print the version')
    .addOption(toOption(GLOBAL_OPTIONS.json))
    .addOption(toOption(GLOBAL_OPTIONS.gateway))
    .helpOption(GLOBAL_OPTIONS.help.flags, GLOBAL_OPTIONS.help.description)
    .configureHelp({ formatHelp, subcommandTerm: usageOf, showGlobalOptions: true })
    .configureOutput({
      writeOut: (text) => void process.stdout.write(escapeLines(text)),
      writeErr: (text) => void process.stderr.write(escapeLines(text)),
      outputError: (text, write) => write(text.replace(/^error: /, '')),
    })
    .exitOverride()
    .showHelpAfterError('See: guichet --help')
    .addHelpText(
      'after',
      `\nRun guichet <noun> <verb> --help for examples and the shape of the JSON.\n\n${ENVIRONMENT_HELP}\n\n${EXIT_CODES}`,
    )

/** The standard help, but the program's own lists all commands. Suggestions for an unknown noun still come from the nouns. */
const formatHelp = (program: Program, help: Help): string =>
  new Help().formatHelp(program, Object.assign(help, { visibleCommands: listCommands }))

const listCommands = (parent: Program): Program[] =>
  parent.commands.flatMap((child) => (child.commands.length > 0 ? child.commands : child))

const usageOf = (command: Program): string => commandPath(command).slice('guichet '.length)

const commandPath = (command: Program): string =>
  command.parent ? `${commandPath(command.parent)} ${command.name()}` : command.name()

function addCommand(program: Program, nouns: Nouns, command: Command): Program {
  const [noun = '', verb] = command.name.split(' ')
  const existing = program.commands.find((candidate) => candidate.name() === noun)
  const group = verb === undefined ? program : (existing ?? program.command(noun).description(nouns[noun] ?? ''))
  const leaf = group
    .command(verb ?? noun)
    .summary(firstSentence(command.description))
    .description(command.description)
  for (const input of Object.values(command.arguments ?? {})) leaf.addArgument(toArgument(input))
  for (const input of Object.values(command.options ?? {})) leaf.addOption(toOption(input))
  return leaf
    .showHelpAfterError(`See: guichet ${command.name} --help`)
    .addHelpText('after', `\n${describeResult(command)}\n\n${EXIT_CODES}`)
}

const firstSentence = (text: string): string => text.split(/(?<=\.) /)[0]!

function describeResult(command: Command): string {
  const examples = `Examples:\n${command.examples.map((example) => `  ${example}`).join('\n')}`
  return 'json' in command ? `${examples}\n\nJSON:\n  ${command.json}` : examples
}

function toArgument({ flags, description, defaultValue, choices }: Input<unknown>): Argument {
  const argument = new Argument(flags, description)
  if (defaultValue !== undefined) argument.default(defaultValue, 'all')
  return choices ? argument.choices(choices) : argument
}

function toOption({
  flags,
  description,
  isRequired,
  isRepeatable,
  choices,
  defaultValue,
  parse,
}: Input<unknown>): Option {
  const option = new Option(flags, description)
  // `--no-redirect-uris` is an option of its own, not the opposite of a default.
  option.negate = false
  if (isRequired) option.makeOptionMandatory()
  if (defaultValue !== undefined && defaultValue !== false) option.default(defaultValue)
  if (choices) return option.choices(choices)
  if (option.isBoolean()) return option
  return option.argParser<unknown>((text, previous) => {
    const value = parseValue(text, parse)
    return isRepeatable ? [...((previous as unknown[] | undefined) ?? []), value] : value
  })
}

function parseValue(text: string, parse: (text: string) => unknown = (value) => value): unknown {
  // More likely an option whose value was forgotten than a value.
  if (text.startsWith('--')) throw new InvalidArgumentError('A value is missing before it.')
  try {
    return parse(text)
  } catch (error) {
    if (error instanceof UsageError) throw new InvalidArgumentError(error.message)
    throw error
  }
}

function readValues(command: Command, leaf: Program): Record<string, unknown> {
  const options = leaf.opts<Record<string, unknown>>()
  const argumentNames = Object.keys(command.arguments ?? {})
  const optionValues = Object.entries(command.options ?? {}).map(([name, input]) => [
    name,
    options[toOption(input).attributeName()] ?? input.defaultValue,
  ])
  return {
    ...Object.fromEntries(argumentNames.map((name, index) => [name, leaf.processedArgs[index] as unknown])),
    ...(Object.fromEntries(optionValues) as Record<string, unknown>),
  }
}
