#!/usr/bin/env node
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { inspect, parseArgs } from 'node:util'
import type { Command } from './command.ts'
import { COMMANDS } from './commands.ts'
import { OauthRefusal, type ClientFile } from './oauth-client.ts'
import { Refusal, Usage } from './refusal.ts'
import { keyFileOf } from './sandbox.ts'

const OPTIONS = {
  customer: { type: 'string' },
  bank: { type: 'string' },
  client: { type: 'string' },
  scopes: { type: 'string' },
  type: { type: 'string' },
  severity: { type: 'string' },
  file: { type: 'string' },
  platform: { type: 'string' },
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

const usage = (): string =>
  `guichet <noun> <verb> [--json]\n\n${Object.values(COMMANDS)
    .map((command) => `  guichet ${command.usage}\n      ${command.does}`)
    .join('\n')}\n`

async function main(): Promise<number> {
  let parsed: ReturnType<typeof parse>
  try {
    parsed = parse()
  } catch {
    process.stderr.write(usage())
    return 2
  }
  const { values, positionals } = parsed
  const two = positionals.slice(0, 2).join(' ')
  const name = [two, positionals[0] ?? ''].find((one) => Object.hasOwn(COMMANDS, one))
  if (values.help || name === undefined) {
    ;(values.help ? process.stdout : process.stderr).write(usage())
    return values.help ? 0 : 2
  }
  const dataDir = resolve(setting('GUICHET_DATA_DIR') ?? '.guichet')
  const terminal = { issuer: gatewayOf(dataDir, values), dataDir, metricsUrl: values.metrics ?? metricsUrl() }
  try {
    const command = COMMANDS[name]!
    const words = positionals.slice(name.split(' ').length)
    refuseUnused(command, words, values)
    const result = await command.run(terminal, words, values)
    if (result === undefined) return 0
    process.stdout.write(
      values.json ? `${JSON.stringify(result)}\n` : `${inspect(result, { depth: 12, colors: process.stdout.isTTY })}\n`,
    )
    const { errors } = (result ?? {}) as { readonly errors?: unknown }
    return name === 'query' && Array.isArray(errors) && errors.length > 0 ? 1 : 0
  } catch (error) {
    const line = lineOf(error, terminal.issuer)
    process.stderr.write(`${line}\n`)
    return error instanceof Usage ? 2 : 1
  }
}

/** Options that every command takes. */
const COMMON = ['json', 'gateway', 'help']

/** A word or an option that the command would ignore is most likely a mistake. */
function refuseUnused({ usage }: Command, words: readonly string[], values: object): void {
  const allowed = new Set([...usage.matchAll(/--([a-z-]+)/g)].map(([, option]) => option!))
  const unused = Object.keys(values).filter((option) => !allowed.has(option) && !COMMON.includes(option))
  if (unused.length > 0) throw new Usage(`--${unused.join(', --')} means nothing here: guichet ${usage}`)
  const places = usage.split(/ [[(]?--/)[0]!.match(/<[^>]+>…?/g) ?? []
  const isList = places.at(-1)?.endsWith('…') ?? false
  if (!isList && words.length > places.length) throw new Usage(`too many words: guichet ${usage}`)
}

/** The gateway that is named, that of the environment, or the one that the key of whoever acts belongs to. */
function gatewayOf(dataDir: string, { gateway, as }: { gateway?: string; as?: string }): string {
  const named = gateway ?? setting('ISSUER') ?? (setting('PORT') ? undefined : issuerOfKey(dataDir, as ?? 'admin'))
  const found = named ?? (setting('PORT') ? undefined : gatewayOfSandbox(dataDir))
  return (found ?? localOrigin(setting('HOST') ?? '127.0.0.1', setting('PORT') ?? '4000')).replace(/\/$/, '')
}

/** The gateway whose sandbox is in this folder. */
function gatewayOfSandbox(dataDir: string): string | undefined {
  const file = join(dataDir, 'sandbox.json')
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as { gateway?: string }).gateway : undefined
}

const metricsUrl = (): string =>
  `${localOrigin(setting('METRICS_HOST') ?? '127.0.0.1', setting('METRICS_PORT') ?? '9464')}/metrics`

function issuerOfKey(dataDir: string, name: string): string | undefined {
  const file = keyFileOf(dataDir, name)
  if (file === undefined || !existsSync(file)) return undefined
  try {
    return (JSON.parse(readFileSync(file, 'utf8')) as ClientFile).issuer
  } catch {
    return undefined
  }
}

/** An empty variable is as good as none, as in the gateway's own settings. */
const setting = (name: string): string | undefined => (process.env[name] === '' ? undefined : process.env[name])

/** Where a gateway with these settings listens on this machine, as the gateway itself finds it. */
function localOrigin(host: string, port: string): string {
  const name = host.replace(/^\[(.*)\]$/, '$1')
  if (name === '0.0.0.0' || name === '::') return `http://127.0.0.1:${port}`
  return new URL(`http://${name.includes(':') ? `[${name}]` : name}:${port}`).origin
}

const parse = () => parseArgs({ options: OPTIONS, allowPositionals: true, strict: true })

function lineOf(error: unknown, issuer: string): string {
  if (error instanceof Usage || error instanceof Refusal || error instanceof OauthRefusal) return error.message
  const cause =
    error instanceof TypeError && error.cause instanceof Error ? String(Reflect.get(error.cause, 'code')) : ''
  if (/CERT|SELF_SIGNED|ERR_TLS/.test(cause))
    return `the certificate of ${issuer} is not trusted (${cause}): NODE_EXTRA_CA_CERTS names the file of its authority`
  if (error instanceof TypeError && error.message === 'fetch failed')
    return `no gateway answers at ${issuer}: start one with npm start`
  return error instanceof Error ? error.message : String(error)
}

// Whoever reads the output may go away before its end, as `| head -1` does.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)

process.exitCode = await main()
