import type { Inputs, ValuesOf } from './inputs.ts'
import type { View } from './view.ts'

/** Where a command runs. */
export interface CommandContext {
  /** Origin of the gateway. */
  readonly issuer: string
  readonly dataDir: string
  /** URL of the gateway's metrics. */
  readonly metricsUrl: string
  /** Reports to people what happens meanwhile, one line on stderr. */
  readonly progress: (line: string) => void
}

interface CommandDescription<Arguments extends Inputs, Options extends Inputs> {
  /** Noun and verb, as they are typed. */
  readonly name: string
  /** What it does, in one sentence. */
  readonly description: string
  readonly arguments?: Arguments
  readonly options?: Options
  /** At least one complete command line. */
  readonly examples: readonly string[]
  /** Shape of the JSON document, written as a GraphQL selection; in brackets if it is a list. */
  readonly json: string
}

type Values<Arguments extends Inputs, Options extends Inputs> = ValuesOf<Arguments> & ValuesOf<Options>

/** A command that returns its result as a whole. */
interface ResultCommand<Arguments extends Inputs, Options extends Inputs> extends CommandDescription<
  Arguments,
  Options
> {
  readonly view: View
  /** Throws `CommandError` if it is refused or fails, `UsageError` for inputs that contradict each other. */
  run(context: CommandContext, values: Values<Arguments, Options>): Promise<unknown>
}

/** A command whose result is too long for memory: it is printed item by item, for people as JSON Lines. */
interface StreamCommand<Arguments extends Inputs, Options extends Inputs> extends CommandDescription<
  Arguments,
  Options
> {
  stream(context: CommandContext, values: Values<Arguments, Options>): AsyncIterable<unknown>
}

/** A command that prints text as it is, such as a script: it needs no gateway and has no JSON. */
interface TextCommand<Arguments extends Inputs, Options extends Inputs> extends Omit<
  CommandDescription<Arguments, Options>,
  'json'
> {
  print(values: Values<Arguments, Options>): string
}

/** A command that becomes a process of this installation: it ends when the process ends, with its exit code. It has no JSON. */
interface ProcessCommand<Arguments extends Inputs, Options extends Inputs> extends Omit<
  CommandDescription<Arguments, Options>,
  'json'
> {
  /** Resolves once the process has started. From then on, the process handles signals and exits. */
  start(values: Values<Arguments, Options>): Promise<void>
}

/** Any command; its inputs are checked where it is defined. */
export type Command =
  | ResultCommand<Inputs, Inputs>
  | StreamCommand<Inputs, Inputs>
  | TextCommand<Inputs, Inputs>
  | ProcessCommand<Inputs, Inputs>

/* eslint-disable @typescript-eslint/no-empty-object-type -- a command without inputs has none */
/** Defines a command. The types of its values follow from its inputs. */
export const defineCommand = <Arguments extends Inputs = {}, Options extends Inputs = {}>(
  command: ResultCommand<Arguments, Options>,
): Command => command

/** The same for a `StreamCommand`. */
export const defineStream = <Arguments extends Inputs = {}, Options extends Inputs = {}>(
  command: StreamCommand<Arguments, Options>,
): Command => command

/** The same for a `TextCommand`. */
export const defineText = <Arguments extends Inputs = {}, Options extends Inputs = {}>(
  command: TextCommand<Arguments, Options>,
): Command => command
/** The same for a `ProcessCommand`. */
export const defineProcess = <Arguments extends Inputs = {}, Options extends Inputs = {}>(
  command: ProcessCommand<Arguments, Options>,
): Command => command
/* eslint-enable @typescript-eslint/no-empty-object-type */
