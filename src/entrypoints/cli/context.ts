import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { CommandContext } from './command.ts'
import { UsageError } from './errors.ts'
import { keyFilePath, readClientFile, readSandboxFile } from './key-files.ts'
import { escapeControlCharacters } from './terminal.ts'

/** The options that decide where a command runs. */
export interface ContextOptions {
  readonly gateway?: string | undefined
  readonly metrics?: string | undefined
  /** The client of `--as`. */
  readonly as?: string | undefined
}

/** Where the command runs, by its options, the environment and the data folder, in this order. */
export function resolveContext({ gateway, metrics, as = 'admin' }: ContextOptions): CommandContext {
  const dataDir = resolve(readSetting('GUICHET_DATA_DIR') ?? '.guichet')
  const origin =
    gateway ?? readSetting('ISSUER') ?? (readSetting('PORT') ? undefined : findIssuer(dataDir, as)) ?? localGateway()
  return {
    issuer: parseGatewayUrl(origin),
    dataDir,
    metricsUrl: metrics ?? localMetricsUrl(),
    progress: (line) => void process.stderr.write(`${escapeControlCharacters(line)}\n`),
  }
}

function parseGatewayUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '')
    throw new UsageError('The gateway must be an http or https URL without a user, such as https://gateway.example.')
  return text.replace(/\/$/, '')
}

/** The gateway of the client's key file, or the one whose sandbox is in this data folder. */
function findIssuer(dataDir: string, client: string): string | undefined {
  return readKeyIssuer(dataDir, client) ?? readSandboxFile(dataDir)?.gateway
}

function readKeyIssuer(dataDir: string, client: string): string | undefined {
  const path = keyFilePath(dataDir, client)
  if (path === undefined || !existsSync(path)) return undefined
  try {
    return readClientFile({ dataDir }, client).issuer
  } catch {
    // The command reads it again and says what is wrong.
    return undefined
  }
}

const localGateway = (): string => localOrigin(readSetting('HOST') ?? '127.0.0.1', readSetting('PORT') ?? '4000')

const localMetricsUrl = (): string =>
  `${localOrigin(readSetting('METRICS_HOST') ?? '127.0.0.1', readSetting('METRICS_PORT') ?? '9464')}/metrics`

/** An empty variable counts as unset, as in the gateway's own settings. */
const readSetting = (name: string): string | undefined => (process.env[name] === '' ? undefined : process.env[name])

/** The origin on which a gateway with these settings listens on this machine. */
function localOrigin(host: string, port: string): string {
  const name = host.replace(/^\[(.*)\]$/, '$1')
  if (name === '0.0.0.0' || name === '::') return `http://127.0.0.1:${port}`
  return new URL(`http://${name.includes(':') ? `[${name}]` : name}:${port}`).origin
}

/** Version of this package. */
export const readVersion = (): string =>
  (JSON.parse(readFileSync(join(import.meta.dirname, '../../../package.json'), 'utf8')) as { version: string }).version
