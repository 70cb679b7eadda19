#!/usr/bin/env node
import { once } from 'node:events'
import type { Command, CommandContext } from './command.ts'
import { COMMANDS, NOUNS } from './commands.ts'
import { readVersion, resolveContext } from './context.ts'
import { CommandError, describeError, UsageError } from './errors.ts'
import { parseCommandLine, type Invocation } from './program.ts'
import { toJson } from './terminal.ts'

async function main(words: readonly string[]): Promise<number> {
  const invocation = parseCommandLine(words, { commands: COMMANDS, nouns: NOUNS, version: readVersion() })
  return typeof invocation === 'number' ? invocation : run(invocation)
}

/** Runs the command, prints its result on stdout and what went wrong on stderr, and returns the exit code. */
async function run(invocation: Invocation): Promise<number> {
  const { command, values, json } = invocation
  let issuer = ''
  try {
    if ('print' in command) {
      await write(command.print(values))
      return 0
    }
    if ('start' in command) {
      // The process handles the errors of its output itself.
      process.stdout.off('error', exitOnClosedOutput)
      await command.start(values)
      return 0
    }
    const { as, metrics } = values as { as?: string; metrics?: string }
    const context = resolveContext({ gateway: invocation.gateway, metrics, as })
    issuer = context.issuer
    await printResult(command, context, invocation)
    return 0
  } catch (error) {
    // Also if the output is closed meanwhile.
    process.exitCode = 1
    if (error instanceof CommandError && error.result !== undefined && 'view' in command)
      await write(formatResult(command, error.result, json))
    process.stderr.write(`${describeError(error, issuer)}\n`)
    return error instanceof UsageError ? 2 : 1
  }
}

type GatewayCommand = Exclude<Command, { print: unknown } | { start: unknown }>

async function printResult(
  command: GatewayCommand,
  context: CommandContext,
  { values, json }: Invocation,
): Promise<void> {
  if ('view' in command) return write(formatResult(command, await command.run(context, values), json))
  let count = 0
  for await (const item of command.stream(context, values))
    await write(json ? `${count++ === 0 ? '[' : ','}${toJson(item)}` : `${toJson(item)}\n`)
  if (json) await write(count === 0 ? '[]\n' : ']\n')
}

const formatResult = (command: Extract<Command, { view: unknown }>, result: unknown, json: boolean): string =>
  json
    ? `${toJson(result)}\n`
    : `${command.view(result, { stream: process.stdout, columns: process.stdout.isTTY ? process.stdout.columns : undefined })}\n`

/** Waits for a slow reader, so that a long result is never in memory as a whole. */
async function write(text: string): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, 'drain')
}

/** The reader of the output can close it early, as `| head -1` does: then nothing is left to do. */
function exitOnClosedOutput(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') process.exit()
  process.stderr.write(`the output cannot be written (${error.code ?? error.message})\n`)
  process.exit(1)
}

process.stdout.on('error', exitOnClosedOutput)
process.stderr.on('error', () => undefined)

process.exitCode = await main(process.argv.slice(2))
