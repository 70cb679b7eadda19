import { resolve } from 'node:path'
import { z } from 'zod'
import { localOrigin, type EgressRules } from './kernel/addresses.ts'
import { isProxyRange, PROXY_RANGE_MESSAGE } from './kernel/client-address.ts'
import { CLIENT_CERTIFICATE_HEADERS, type ClientCertificateHeader } from './kernel/client-certificate.ts'
import { SECOND_MS } from './kernel/clock.ts'
import { isEmailAddress } from './kernel/email-address.ts'
import { ConfigError } from './config-error.ts'
import { digest } from './kernel/ids.ts'
import { LOG_LEVELS, type LogLevel } from './kernel/log-table.ts'
import { loadLocalSealingKey, SEALING_KEY } from './local-sealing-key.ts'
import { combineMailSettings, MAIL_MESSAGES, parseMailServer, type MailServer } from './mail-settings.ts'
import { findDirectoryFault } from './storage/directories.ts'

export { ConfigError } from './config-error.ts'

/** What the process runs: `gateway` serves requests, `worker` processes the outbox and schedules, `all` does both (default). */
export type Role = 'all' | 'gateway' | 'worker'

/** The default port of `/metrics`: that of OpenTelemetry's Prometheus exporters. */
export const DEFAULT_METRICS_PORT = 9_464

/** In production, longer than most load balancers need to notice that `/readyz` is 503. */
const DEFAULT_DRAIN_SECONDS = { sandbox: 1, production: 5 } as const

/** All settings, frozen. */
export interface Config {
  readonly profile: 'sandbox' | 'production'
  readonly role: Role
  readonly host: string
  readonly port: number
  readonly metricsHost: string
  /** Absent: the default port, or in the sandbox any free one if that is taken. */
  readonly metricsPort: number | undefined
  /** The public origin of the gateway and the OAuth issuer. No trailing slash. */
  readonly issuer: string
  /** Absent: embedded PostgreSQL in `dataDir`. */
  readonly databaseUrl: string | undefined
  /** The address of PostgreSQL itself, if `databaseUrl` leads to a pooler that shares sessions. */
  readonly databaseDirectUrl: string | undefined
  readonly dataDir: string
  /** The newest key first. Older keys only unseal. */
  readonly sealingKeys: readonly [SealingKey, ...SealingKey[]]
  /** The secret for enrolling the first admin. Absent: derived and written to `dataDir`. */
  readonly bootstrapSecret: string | undefined
  readonly logLevel: LogLevel
  /** The first of the sandbox's consecutive ports; 0 lets the system choose. Absent: the ports used before, or near `port`. */
  readonly sandboxPort: number | undefined
  /** The sandbox banks: a child process (ON), run elsewhere on the same ports (REMOTE), or none (OFF). */
  readonly sandboxMode: 'ON' | 'REMOTE' | 'OFF'
  /** A marker that the sandbox banks put into all purchase data, so that a leak can be detected. */
  readonly sandboxCanary: string | undefined
  readonly egress: EgressRules
  /** Whether scheduled certification runs repeat the checks of active connectors. */
  readonly scheduledCertification: boolean
  /** The number of concurrent GraphQL requests per process. Beyond it, requests are refused with 503. */
  readonly maxConcurrentRequests: number
  /** How long an idle HTTP connection stays open, in milliseconds. */
  readonly keepAliveMs: number
  /** How long a stopping process continues to accept requests while `/readyz` is 503, in milliseconds. */
  readonly drainMs: number
  /** The mail server and the sender of email. Absent: no email is sent. */
  readonly smtp: (MailServer & { readonly from: string }) | undefined
  /** Addresses and CIDR ranges of the proxies whose `X-Forwarded-For` is trusted. */
  readonly trustedProxies: readonly string[]
  /** The header in which these proxies state the client's certificate. */
  readonly clientCertificateHeader: ClientCertificateHeader
}

/** A 256-bit key and the id by which sealed values name it. */
interface SealingKey {
  readonly id: string
  readonly bytes: Uint8Array
}

const isRandom = (text: string): boolean => new Set(text).size >= 12
const parseSealingKey = (text: string): SealingKey => ({
  id: digest(text).slice(0, 12),
  bytes: Buffer.from(text, 'base64url'),
})

const INCOMPLETE_URL = 'must name a user and a database: postgresql://user:password@host:5432/database'
const DATABASE_URL_OPTIONS = {
  protocol: /^postgres(ql)?$/,
  error: 'must be an address such as postgresql://user:password@host:5432/database',
  abort: true,
}
/** Messages for values that the parser's own messages do not explain. */
const MESSAGES = {
  port: 'must be a port: a whole number from 0 to 65535',
  issuer: 'must be an origin, such as https://guichet.example',
  key: 'must be 32 random bytes in base64url',
  concurrency: 'must be a whole number from 1 to 100000',
  keepAlive: 'must be a whole number of seconds from 1 to 3600',
  drain: 'must be a whole number of seconds from 0 to 60',
  sandboxPort: 'must be a whole number from 0 to 65000: the first of seven consecutive ports',
  canary: 'must be 8 to 64 letters, digits and hyphens',
}
/** The driver would take missing parts from the machine, such as the name of its user. */
function isCompleteUrl(address: string): boolean {
  const url = URL.parse(address)
  return url !== null && (url.username !== '' || url.searchParams.has('user')) && url.pathname.length > 1
}

const portNumber = z.int(MESSAGES.port).min(0, MESSAGES.port).max(65_535, MESSAGES.port)
const environment = z.object({
  GUICHET_PROFILE: z.enum(['sandbox', 'production']).default('sandbox'),
  GUICHET_ROLE: z.enum(['all', 'gateway', 'worker']).default('all'),
  HOST: z.string().min(1).default('127.0.0.1'),
  PORT: z.coerce.number(MESSAGES.port).pipe(portNumber).default(4_000),
  METRICS_HOST: z.string().min(1).default('127.0.0.1'),
  METRICS_PORT: z.coerce.number(MESSAGES.port).pipe(portNumber).optional(),
  ISSUER: z.url({ protocol: /^https?$/, error: MESSAGES.issuer }).optional(),
  DATABASE_URL: z.url(DATABASE_URL_OPTIONS).refine(isCompleteUrl, INCOMPLETE_URL).optional(),
  DATABASE_DIRECT_URL: z.url(DATABASE_URL_OPTIONS).refine(isCompleteUrl, INCOMPLETE_URL).optional(),
  GUICHET_DATA_DIR: z.string().min(1).default('.guichet'),
  GUICHET_SEALING_KEY: z.string().regex(SEALING_KEY, MESSAGES.key).optional(),
  GUICHET_PREVIOUS_SEALING_KEYS: z
    .string()
    .transform((text) => text.split(',').map((part) => part.trim()))
    .pipe(z.array(z.string().regex(SEALING_KEY, MESSAGES.key)))
    .default([]),
  GUICHET_BOOTSTRAP_SECRET: z.string().regex(SEALING_KEY, MESSAGES.key).refine(isRandom, 'is not random').optional(),
  GUICHET_TRUSTED_PROXIES: z
    .string()
    .transform((text) => text.split(',').map((part) => part.trim()))
    .pipe(z.array(z.string().refine(isProxyRange, PROXY_RANGE_MESSAGE)))
    .default([]),
  GUICHET_CLIENT_CERTIFICATE_HEADER: z.enum(CLIENT_CERTIFICATE_HEADERS).default('none'),
  GUICHET_MAX_CONCURRENT_REQUESTS: z.coerce
    .number(MESSAGES.concurrency)
    .int(MESSAGES.concurrency)
    .min(1, MESSAGES.concurrency)
    .max(100_000, MESSAGES.concurrency)
    .default(500),
  GUICHET_KEEP_ALIVE_SECONDS: z.coerce
    .number(MESSAGES.keepAlive)
    .int(MESSAGES.keepAlive)
    .min(1, MESSAGES.keepAlive)
    .max(3_600, MESSAGES.keepAlive)
    .default(75),
  GUICHET_DRAIN_SECONDS: z.coerce
    .number(MESSAGES.drain)
    .int(MESSAGES.drain)
    .min(0, MESSAGES.drain)
    .max(60, MESSAGES.drain)
    .optional(),
  GUICHET_SMTP_URL: z
    .string()
    .refine((text) => parseMailServer(text) !== undefined, MAIL_MESSAGES.server)
    .optional(),
  GUICHET_MAIL_FROM: z.string().refine(isEmailAddress, MAIL_MESSAGES.from).optional(),
  GUICHET_SCHEDULED_CERTIFICATION: z.enum(['on', 'off']).default('on'),
  GUICHET_LOG_LEVEL: z.enum(LOG_LEVELS).default('info'),
  GUICHET_SANDBOX_BANKS: z.enum(['on', 'remote', 'off']).optional(),
  GUICHET_SANDBOX_PORT: z.coerce
    .number(MESSAGES.sandboxPort)
    .int(MESSAGES.sandboxPort)
    .min(0, MESSAGES.sandboxPort)
    .max(65_000, MESSAGES.sandboxPort)
    .optional(),
  GUICHET_SANDBOX_CANARY: z
    .string()
    .regex(/^[A-Za-z0-9-]{8,64}$/, MESSAGES.canary)
    .optional(),
})

const WORKER_WITHOUT_DATABASE =
  'DATABASE_URL: must be set for a worker; the embedded database belongs to one gateway process, which does the work of a worker itself'

const SANDBOX_MODES = { on: 'ON', remote: 'REMOTE', off: 'OFF' } as const

/** Parses the environment into a frozen configuration. Throws `ConfigError` with all problems at once. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const nonEmpty = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''))
  const { settings, problems } = parseEnvironment(nonEmpty)
  const isProduction = settings.GUICHET_PROFILE === 'production'
  const sandboxMode = SANDBOX_MODES[settings.GUICHET_SANDBOX_BANKS ?? (isProduction ? 'off' : 'on')]
  const issuer = settings.ISSUER ?? localOrigin(settings.HOST, settings.PORT)
  if (isProduction) problems.push(...insecureSettings(settings, sandboxMode), ...insecureEnvironment(nonEmpty))
  if (settings.DATABASE_DIRECT_URL && !settings.DATABASE_URL)
    problems.push('DATABASE_DIRECT_URL: requires DATABASE_URL as well')
  if (settings.GUICHET_ROLE === 'worker' && !settings.DATABASE_URL) problems.push(WORKER_WITHOUT_DATABASE)
  if ((settings.GUICHET_SMTP_URL === undefined) !== (settings.GUICHET_MAIL_FROM === undefined))
    problems.push(MAIL_MESSAGES.incomplete)
  if (new URL(issuer).origin !== issuer) problems.push(`ISSUER: ${MESSAGES.issuer}`)
  const dataDir = resolve(settings.GUICHET_DATA_DIR)
  const directoryFault = findDirectoryFault(dataDir, 0o711)
  if (directoryFault !== undefined)
    problems.push(`GUICHET_DATA_DIR: ${directoryFault}; set it to a folder that this account can write to`)
  if (problems.length > 0) throw new ConfigError(firstPerSetting(problems))

  const keyText = settings.GUICHET_SEALING_KEY ?? loadLocalSealingKey(dataDir)
  const sealingKeys: Config['sealingKeys'] = [
    parseSealingKey(keyText),
    ...settings.GUICHET_PREVIOUS_SEALING_KEYS.map(parseSealingKey),
  ]
  return Object.freeze({
    profile: settings.GUICHET_PROFILE,
    role: settings.GUICHET_ROLE,
    host: settings.HOST.replace(/^\[(.*)\]$/, '$1'),
    port: settings.PORT,
    metricsHost: settings.METRICS_HOST.replace(/^\[(.*)\]$/, '$1'),
    metricsPort: settings.METRICS_PORT,
    issuer,
    databaseUrl: settings.DATABASE_URL,
    databaseDirectUrl: settings.DATABASE_DIRECT_URL,
    dataDir,
    sealingKeys,
    bootstrapSecret: settings.GUICHET_BOOTSTRAP_SECRET,
    logLevel: settings.GUICHET_LOG_LEVEL,
    sandboxPort: settings.GUICHET_SANDBOX_PORT,
    sandboxMode,
    sandboxCanary: settings.GUICHET_SANDBOX_CANARY,
    scheduledCertification: settings.GUICHET_SCHEDULED_CERTIFICATION === 'on',
    maxConcurrentRequests: settings.GUICHET_MAX_CONCURRENT_REQUESTS,
    keepAliveMs: settings.GUICHET_KEEP_ALIVE_SECONDS * SECOND_MS,
    drainMs: (settings.GUICHET_DRAIN_SECONDS ?? DEFAULT_DRAIN_SECONDS[settings.GUICHET_PROFILE]) * SECOND_MS,
    smtp: combineMailSettings(settings.GUICHET_SMTP_URL, settings.GUICHET_MAIL_FROM),
    trustedProxies: Object.freeze(settings.GUICHET_TRUSTED_PROXIES),
    clientCertificateHeader: settings.GUICHET_CLIENT_CERTIFICATE_HEADER,
    egress: { allowLoopback: !isProduction, allowPlainHttp: !isProduction },
  })
}

/** The settings and their problems. An invalid value is treated as not set. */
function parseEnvironment(environmentVariables: Readonly<Record<string, string | undefined>>): {
  settings: z.infer<typeof environment>
  problems: string[]
} {
  const parsed = environment.safeParse(environmentVariables)
  if (parsed.success) return { settings: parsed.data, problems: [] }
  const { issues } = parsed.error
  const invalidNames = new Set(issues.map(({ path }) => String(path[0])))
  const settings = environment.parse(
    Object.fromEntries(Object.entries(environmentVariables).filter(([name]) => !invalidNames.has(name))),
  )
  return { settings, problems: issues.map(({ path, message }) => `${String(path[0])}: ${message}`) }
}

/** The first problem of each setting; the others usually follow from it. */
function firstPerSetting(problems: readonly string[]): string[] {
  const nameOf = (problem: string): string => problem.split(':')[0]!
  return problems.filter((problem, index) => problems.findIndex((other) => nameOf(other) === nameOf(problem)) === index)
}

/** Parses only the settings that an admin recovery needs: where the data is. Throws `ConfigError`. */
export function readDataLocation(
  env: Readonly<Record<string, string | undefined>>,
): Pick<Config, 'databaseUrl' | 'databaseDirectUrl' | 'dataDir'> {
  const nonEmpty = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''))
  const parsed = environment
    .pick({ DATABASE_URL: true, DATABASE_DIRECT_URL: true, GUICHET_DATA_DIR: true })
    .safeParse(nonEmpty)
  if (!parsed.success)
    throw new ConfigError(parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`))
  return {
    databaseUrl: parsed.data.DATABASE_URL,
    databaseDirectUrl: parsed.data.DATABASE_DIRECT_URL,
    dataDir: resolve(parsed.data.GUICHET_DATA_DIR),
  }
}

/** Problems of settings that the production profile does not allow. */
function insecureSettings(settings: z.infer<typeof environment>, sandboxMode: Config['sandboxMode']): string[] {
  const problems: string[] = []
  if (!settings.ISSUER?.startsWith('https://')) problems.push('ISSUER: must be set and use https')
  if (!settings.DATABASE_URL) problems.push('DATABASE_URL: must be set; the embedded database is for the sandbox only')
  if (!settings.GUICHET_SEALING_KEY) problems.push('GUICHET_SEALING_KEY: must be set to 32 random bytes in base64url')
  else if (!isRandom(settings.GUICHET_SEALING_KEY)) problems.push('GUICHET_SEALING_KEY: is not random')
  if (sandboxMode !== 'OFF') problems.push('GUICHET_SANDBOX_BANKS: sandbox banks cannot run in production')
  return problems
}

/** Node settings that would weaken every connection to a bank or platform. */
function insecureEnvironment(env: Readonly<Record<string, string | undefined>>): string[] {
  const problems: string[] = []
  if (env['NODE_TLS_REJECT_UNAUTHORIZED'] === '0')
    problems.push('NODE_TLS_REJECT_UNAUTHORIZED: must not be 0; NODE_EXTRA_CA_CERTS adds a certificate authority')
  const weak = /--(insecure-http-parser|tls-min-v1\.[01]|tls-cipher-list)\b/.exec(env['NODE_OPTIONS'] ?? '')
  if (weak) problems.push(`NODE_OPTIONS: must not have --${weak[1]}`)
  return problems
}

/**
 * Removes the variables that the PostgreSQL driver reads (PGTZ, PGOPTIONS, PGSSLMODE and so on), so that `DATABASE_URL` alone
 * decides. Returns their names.
 */
export function removeDriverVariables(env: Record<string, string | undefined>): string[] {
  const names = Object.keys(env).filter((name) => /^PG[A-Z]/.test(name))
  for (const name of names) Reflect.deleteProperty(env, name)
  return names
}
