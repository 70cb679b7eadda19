#!/usr/bin/env node
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { inspect, parseArgs } from 'node:util'
import type { Command } from './command.ts'
import { COMMANDS } from './commands.ts'
import { OauthError, type ClientFile } from './oauth-client.ts'
import { CommandError, UsageError } from './errors.ts'
import { keyFilePath } from './sandbox.ts'

const OPTIONS = {
  customer: { type: 'string' },
  bank: { type: 'string' },
  client: { type: 'string' },
  scopes: { type: 'string' },
  type: { type: 'string' },
  severity: { type: 'string' },
  file: { type: 'string' },
  organization: { type: 'string' },
  name: { type: 'string' },
  as: { type: 'string' },
  gateway: { type: 'string' },
  metrics: { type: 'string' },
  'secret-file': { type: 'string' },
  'key-file': { type: 'string' },
  account: { type: 'string' },
  kind: { type: 'string' },
  from: { type: 'string' },
  to: { type: 'string' },
  incident: { type: 'boolean' },
  'redirect-uri': { type: 'string', multiple: true },
  bearer: { type: 'boolean' },
  'dry-run': { type: 'boolean' },
  'no-redirect-uris': { type: 'boolean' },
  'points-per-minute': { type: 'string' },
  'points-per-customer': { type: 'string' },
  operations: { type: 'string' },
  since: { type: 'string' },
  until: { type: 'string' },
  interval: { type: 'string' },
  limit: { type: 'string' },
  action: { type: 'string', multiple: true },
  subject: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean' },
} as const

const usageText = (): string =>
  `guichet <noun> <verb> [--json]\n\n${Object.values(COMMANDS)
    .map((command) => `  guichet ${command.usage}\n      ${command.description}`)
    .join('\n')}\n`

async function main(): Promise<number> {
  let parsed: ReturnType<typeof parseCommandLine>
  try {
    parsed = parseCommandLine()
  } catch {
    process.stderr.write(usageText())
    return 2
  }
  const { values, positionals } = parsed
  const nounAndVerb = positionals.slice(0, 2).join(' ')
  const name = [nounAndVerb, positionals[0] ?? ''].find((candidate) => Object.hasOwn(COMMANDS, candidate))
  if (values.help || name === undefined) {
    ;(values.help ? process.stdout : process.stderr).write(usageText())
    return values.help ? 0 : 2
  }
  const dataDir = resolve(readSetting('GUICHET_DATA_DIR') ?? '.guichet')
  const context = { issuer: resolveIssuer(dataDir, values), dataDir, metricsUrl: values.metrics ?? defaultMetricsUrl() }
  try {
    const command = COMMANDS[name]!
    const args = positionals.slice(name.split(' ').length)
    rejectUnused(command, args, values)
    const result = await command.run(context, args, values)
    if (result === undefined) return 0
    process.stdout.write(
      values.json ? `${JSON.stringify(result)}\n` : `${inspect(result, { depth: 12, colors: process.stdout.isTTY })}\n`,
    )
    const { errors } = (result ?? {}) as { readonly errors?: unknown }
    return name === 'query' && Array.isArray(errors) && errors.length > 0 ? 1 : 0
  } catch (error) {
    const message = errorText(error, context.issuer)
    process.stderr.write(`${message}\n`)
    return error instanceof UsageError ? 2 : 1
  }
}

/** Options that every command accepts. */
const COMMON_OPTIONS = ['json', 'gateway', 'help']

/** Throws `UsageError` for arguments and options that the command would ignore, because they are most likely mistakes. */
function rejectUnused({ usage }: Command, args: readonly string[], values: object): void {
  const allowed = new Set([...usage.matchAll(/--([a-z-]+)/g)].map(([, option]) => option!))
  const unused = Object.keys(values).filter((option) => !allowed.has(option) && !COMMON_OPTIONS.includes(option))
  if (unused.length > 0)
    throw new UsageError(`--${unused.join(', --')} cannot be used with this command: guichet ${usage}`)
  const placeholders = usage.split(/ [[(]?--/)[0]!.match(/<[^>]+>…?/g) ?? []
  const isList = placeholders.at(-1)?.endsWith('…') ?? false
  if (!isList && args.length > placeholders.length) throw new UsageError(`too many arguments: guichet ${usage}`)
}

/** The gateway to use: from `--gateway`, the environment, the key file of `--as`, or the sandbox in the data folder. */
function resolveIssuer(dataDir: string, { gateway, as }: { gateway?: string; as?: string }): string {
  const namedIssuer =
    gateway ?? readSetting('ISSUER') ?? (readSetting('PORT') ? undefined : readKeyIssuer(dataDir, as ?? 'admin'))
  const issuer = namedIssuer ?? (readSetting('PORT') ? undefined : sandboxIssuer(dataDir))
  return (issuer ?? localOrigin(readSetting('HOST') ?? '127.0.0.1', readSetting('PORT') ?? '4000')).replace(/\/$/, '')
}

/** The gateway whose sandbox is in this data folder. */
function sandboxIssuer(dataDir: string): string | undefined {
  const file = join(dataDir, 'sandbox.json')
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as { gateway?: string }).gateway : undefined
}

const defaultMetricsUrl = (): string =>
  `${localOrigin(readSetting('METRICS_HOST') ?? '127.0.0.1', readSetting('METRICS_PORT') ?? '9464')}/metrics`

function readKeyIssuer(dataDir: string, name: string): string | undefined {
  const file = keyFilePath(dataDir, name)
  if (file === undefined || !existsSync(file)) return undefined
  try {
    return (JSON.parse(readFileSync(file, 'utf8')) as ClientFile).issuer
  } catch {
    return undefined
  }
}

/** An empty variable counts as unset, as in the gateway's own settings. */
const readSetting = (name: string): string | undefined => (process.env[name] === '' ? undefined : process.env[name])

/** The origin on which a gateway with these settings listens on this machine. */
function localOrigin(host: string, port: string): string {
  const name = host.replace(/^\[(.*)\]$/, '$1')
  if (name === '0.0.0.0' || name === '::') return `http://127.0.0.1:${port}`
  return new URL(`http://${name.includes(':') ? `[${name}]` : name}:${port}`).origin
}

const parseCommandLine = () => parseArgs({ options: OPTIONS, allowPositionals: true, strict: true })

function errorText(error: unknown, issuer: string): string {
  if (error instanceof UsageError || error instanceof CommandError || error instanceof OauthError) return error.message
  const cause =
    error instanceof TypeError && error.cause instanceof Error ? String(Reflect.get(error.cause, 'code')) : ''
  if (/CERT|SELF_SIGNED|ERR_TLS/.test(cause))
    return `the certificate of ${issuer} is not trusted (${cause}): set NODE_EXTRA_CA_CERTS to the certificate file of its authority`
  if (error instanceof TypeError && error.message === 'fetch failed')
    return `no gateway answers at ${issuer}: start one with npm start`
  return error instanceof Error ? error.message : String(error)
}

// The reader of the output may close it early, as `| head -1` does.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)

process.exitCode = await main()
