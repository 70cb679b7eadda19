import { existsSync, linkSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { z } from 'zod'
import { localOrigin, type EgressRules } from './kernel/addresses.ts'
import { SECOND_MS } from './kernel/clock.ts'
import { digest, systemRandomness } from './kernel/ids.ts'
import { LOG_LEVELS, type LogLevel } from './kernel/log-table.ts'
import { whyNoFolder } from './storage/folders.ts'

/** `all` in one process (the default), or one of the halves that the outbox divides. */
export type Role = 'all' | 'gateway' | 'worker'

/** Where metrics are usually served; the port of Prometheus exporters of OpenTelemetry. */
export const DEFAULT_METRICS_PORT = 9_464

/** All settings, frozen. */
export interface Config {
  readonly profile: 'sandbox' | 'production'
  readonly role: Role
  readonly host: string
  readonly port: number
  readonly metricsHost: string
  /** Absent: the usual one, or in the sandbox any free one where that is taken. */
  readonly metricsPort: number | undefined
  /** The origin under which everyone reaches the gateway; also the OAuth issuer. No trailing slash. */
  readonly issuer: string
  /** Absent: embedded PostgreSQL in `dataDir`. */
  readonly databaseUrl: string | undefined
  /** PostgreSQL itself, if `databaseUrl` leads to a pooler that shares sessions. */
  readonly databaseDirectUrl: string | undefined
  readonly redisUrl: string | undefined
  readonly dataDir: string
  /** The newest first; the others only open what was sealed with them. */
  readonly sealingKeys: readonly [SealingKey, ...SealingKey[]]
  /** What an operator gives in advance to make the first admin with; absent: derived, and written to `dataDir`. */
  readonly bootstrapSecret: string | undefined
  readonly logLevel: LogLevel
  /** The first of the sandbox's consecutive ports; 0 lets the system choose each. Absent: those of before, or beside `port`. */
  readonly sandboxPort: number | undefined
  /** The sandbox banks: a child process of ours (ON), run by somebody else on the same ports (REMOTE), or not there. */
  readonly sandbox: 'ON' | 'REMOTE' | 'OFF'
  /** Put by the sandbox banks into everything purchase-like, so that a leak can be recognised. */
  readonly sandboxCanary: string | undefined
  readonly egress: EgressRules
  /** Whether the banks that are live are certified again each day. */
  readonly nightlyTrials: boolean
  /** How many GraphQL requests one process works on at once before it refuses new ones with 503. */
  readonly maxUnderWay: number
  /** How long an idle connection stays open, in milliseconds. */
  readonly keepAliveMs: number
  /** Addresses, and ranges in CIDR notation, of proxies whose `X-Forwarded-For` is believed. */
  readonly trustedProxies: readonly string[]
}

/** A key that seals what must not be readable, and the name by which sealed values call it. */
interface SealingKey {
  readonly id: string
  readonly bytes: Uint8Array
}

const SEALING_KEY = /^[A-Za-z0-9_-]{43}$/
const isRandom = (text: string): boolean => new Set(text).size >= 12
const sealingKeyOf = (text: string): SealingKey => ({
  id: digest(text).slice(0, 12),
  bytes: Buffer.from(text, 'base64url'),
})

const COMPLETE = 'must name a user and a database: postgresql://user:password@host:5432/database'
const DATABASE_ADDRESS = {
  protocol: /^postgres(ql)?$/,
  error: 'must be an address such as postgresql://user:password@host:5432/database',
  abort: true,
}
/** What a value must be, where the parser's own words name no way out. */
const WORDS = {
  port: 'must be a port: a whole number from 0 to 65535',
  issuer: 'must be an origin, such as https://guichet.example',
  redis: 'must be an address such as redis://host:6379',
  key: 'must be 32 random bytes in base64url',
  underWay: 'must be a whole number from 1 to 100000',
  keepAlive: 'must be a whole number of seconds from 1 to 3600',
  sandboxPort: 'must be a whole number from 0 to 65000: the first of seven consecutive ports',
  canary: 'must be 8 to 64 letters, digits and hyphens',
}
/** What an address does not name, the driver would take from the machine, such as the name of its user. */
function isComplete(address: string): boolean {
  const url = URL.parse(address)
  return url !== null && (url.username !== '' || url.searchParams.has('user')) && url.pathname.length > 1
}

const PROXY_RANGE =
  'must be an address or a range, such as 10.0.0.7 or 10.1.0.0/16; a range of more than 2^24 IPv4 addresses, or of more than an IPv6 /16, would hold strangers'
/** Whoever is in the range can name any address as the customer's. */
function isProxyRange(text: string): boolean {
  if (z.union([z.ipv4(), z.ipv6()]).safeParse(text).success) return true
  const bits = Number(text.split('/')[1])
  return (z.cidrv4().safeParse(text).success && bits >= 8) || (z.cidrv6().safeParse(text).success && bits >= 16)
}

const environment = z.object({
  GUICHET_PROFILE: z.enum(['sandbox', 'production']).default('sandbox'),
  GUICHET_ROLE: z.enum(['all', 'gateway', 'worker']).default('all'),
  HOST: z.string().min(1).default('127.0.0.1'),
  PORT: z.coerce.number(WORDS.port).int(WORDS.port).min(0, WORDS.port).max(65_535, WORDS.port).default(4_000),
  METRICS_HOST: z.string().min(1).default('127.0.0.1'),
  METRICS_PORT: z.coerce.number(WORDS.port).int(WORDS.port).min(0, WORDS.port).max(65_535, WORDS.port).optional(),
  ISSUER: z.url({ protocol: /^https?$/, error: WORDS.issuer }).optional(),
  DATABASE_URL: z.url(DATABASE_ADDRESS).refine(isComplete, COMPLETE).optional(),
  DATABASE_DIRECT_URL: z.url(DATABASE_ADDRESS).refine(isComplete, COMPLETE).optional(),
  REDIS_URL: z.url({ protocol: /^rediss?$/, error: WORDS.redis }).optional(),
  GUICHET_DATA_DIR: z.string().min(1).default('.guichet'),
  GUICHET_SEALING_KEY: z.string().regex(SEALING_KEY, WORDS.key).optional(),
  GUICHET_SEALING_KEYS_BEFORE: z
    .string()
    .transform((text) => text.split(',').map((one) => one.trim()))
    .pipe(z.array(z.string().regex(SEALING_KEY, WORDS.key)))
    .default([]),
  GUICHET_BOOTSTRAP_SECRET: z.string().regex(SEALING_KEY, WORDS.key).refine(isRandom, 'is not random').optional(),
  GUICHET_TRUSTED_PROXIES: z
    .string()
    .transform((text) => text.split(',').map((one) => one.trim()))
    .pipe(z.array(z.string().refine(isProxyRange, PROXY_RANGE)))
    .default([]),
  GUICHET_MAX_UNDER_WAY: z.coerce
    .number(WORDS.underWay)
    .int(WORDS.underWay)
    .min(1, WORDS.underWay)
    .max(100_000, WORDS.underWay)
    .default(500),
  GUICHET_KEEP_ALIVE_SECONDS: z.coerce
    .number(WORDS.keepAlive)
    .int(WORDS.keepAlive)
    .min(1, WORDS.keepAlive)
    .max(3_600, WORDS.keepAlive)
    .default(75),
  GUICHET_NIGHTLY_TRIALS: z.enum(['on', 'off']).default('on'),
  GUICHET_LOG_LEVEL: z.enum(LOG_LEVELS).default('info'),
  GUICHET_SANDBOX_BANKS: z.enum(['on', 'remote', 'off']).optional(),
  GUICHET_SANDBOX_PORT: z.coerce
    .number(WORDS.sandboxPort)
    .int(WORDS.sandboxPort)
    .min(0, WORDS.sandboxPort)
    .max(65_000, WORDS.sandboxPort)
    .optional(),
  GUICHET_SANDBOX_CANARY: z
    .string()
    .regex(/^[A-Za-z0-9-]{8,64}$/, WORDS.canary)
    .optional(),
})

const SANDBOX = { on: 'ON', remote: 'REMOTE', off: 'OFF' } as const

/** A configuration that cannot be used; `problems` is for a person to read, and quotes no value. */
export class ConfigError extends Error {
  readonly problems: readonly string[]
  constructor(problems: readonly string[]) {
    super(`Guichet cannot start:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`)
    this.name = 'ConfigError'
    this.problems = problems
  }
}

/** Reads the environment once; the result is frozen. Throws `ConfigError` with everything that is wrong at once. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''))
  const { settings, problems } = parse(given)
  const production = settings.GUICHET_PROFILE === 'production'
  const sandbox = SANDBOX[settings.GUICHET_SANDBOX_BANKS ?? (production ? 'off' : 'on')]
  const issuer = settings.ISSUER ?? localOrigin(settings.HOST, settings.PORT)
  if (production) problems.push(...weaknesses(settings, sandbox), ...weakMachine(given))
  if (settings.DATABASE_DIRECT_URL && !settings.DATABASE_URL)
    problems.push('DATABASE_DIRECT_URL: needs DATABASE_URL beside it')
  if (new URL(issuer).origin !== issuer) problems.push(`ISSUER: ${WORDS.issuer}`)
  const dataDir = resolve(settings.GUICHET_DATA_DIR)
  const noFolder = whyNoFolder(dataDir, 0o711)
  if (noFolder !== undefined)
    problems.push(`GUICHET_DATA_DIR: ${noFolder}; set it to a folder that this account can write to`)
  if (problems.length > 0) throw new ConfigError(oneForEach(problems))

  const keyText = settings.GUICHET_SEALING_KEY ?? localSealingKey(dataDir)
  const sealingKeys: Config['sealingKeys'] = [
    sealingKeyOf(keyText),
    ...settings.GUICHET_SEALING_KEYS_BEFORE.map(sealingKeyOf),
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
    redisUrl: settings.REDIS_URL,
    dataDir,
    sealingKeys,
    bootstrapSecret: settings.GUICHET_BOOTSTRAP_SECRET,
    logLevel: settings.GUICHET_LOG_LEVEL,
    sandboxPort: settings.GUICHET_SANDBOX_PORT,
    sandbox,
    sandboxCanary: settings.GUICHET_SANDBOX_CANARY,
    nightlyTrials: settings.GUICHET_NIGHTLY_TRIALS === 'on',
    maxUnderWay: settings.GUICHET_MAX_UNDER_WAY,
    keepAliveMs: settings.GUICHET_KEEP_ALIVE_SECONDS * SECOND_MS,
    trustedProxies: Object.freeze(settings.GUICHET_TRUSTED_PROXIES),
    egress: { allowLoopback: !production, allowPlainHttp: !production },
  })
}

/** The settings, with what is wrong; a value that cannot be used is as if it were not given. */
function parse(given: Readonly<Record<string, string | undefined>>): {
  settings: z.infer<typeof environment>
  problems: string[]
} {
  const parsed = environment.safeParse(given)
  if (parsed.success) return { settings: parsed.data, problems: [] }
  const { issues } = parsed.error
  const wrong = new Set(issues.map(({ path }) => String(path[0])))
  const settings = environment.parse(Object.fromEntries(Object.entries(given).filter(([name]) => !wrong.has(name))))
  return { settings, problems: issues.map(({ path, message }) => `${String(path[0])}: ${message}`) }
}

/** The first problem of each setting: the others follow from it. */
function oneForEach(problems: readonly string[]): string[] {
  const nameOf = (problem: string): string => problem.split(':')[0]!
  return problems.filter((one, index) => problems.findIndex((other) => nameOf(other) === nameOf(one)) === index)
}

/** Where an installation keeps its data: all that a recovery needs to know. Throws `ConfigError`. */
export function readPlace(
  env: Readonly<Record<string, string | undefined>>,
): Pick<Config, 'databaseUrl' | 'databaseDirectUrl' | 'dataDir'> {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''))
  const parsed = environment
    .pick({ DATABASE_URL: true, DATABASE_DIRECT_URL: true, GUICHET_DATA_DIR: true })
    .safeParse(given)
  if (!parsed.success)
    throw new ConfigError(parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`))
  return {
    databaseUrl: parsed.data.DATABASE_URL,
    databaseDirectUrl: parsed.data.DATABASE_DIRECT_URL,
    dataDir: resolve(parsed.data.GUICHET_DATA_DIR),
  }
}

/** What the production profile refuses to start with. */
function weaknesses(settings: z.infer<typeof environment>, sandbox: Config['sandbox']): string[] {
  const problems: string[] = []
  if (!settings.ISSUER?.startsWith('https://')) problems.push('ISSUER: must be set, and https')
  if (!settings.DATABASE_URL) problems.push('DATABASE_URL: must be set; the embedded database is for the sandbox')
  if (!settings.GUICHET_SEALING_KEY) problems.push('GUICHET_SEALING_KEY: must be set, 32 random bytes in base64url')
  else if (!isRandom(settings.GUICHET_SEALING_KEY)) problems.push('GUICHET_SEALING_KEY: is not random')
  if (sandbox !== 'OFF') problems.push('GUICHET_SANDBOX_BANKS: sandbox banks cannot run in production')
  return problems
}

/** Settings of the machine that would weaken every connection to a bank or a platform. */
function weakMachine(env: Readonly<Record<string, string | undefined>>): string[] {
  const problems: string[] = []
  if (env['NODE_TLS_REJECT_UNAUTHORIZED'] === '0')
    problems.push('NODE_TLS_REJECT_UNAUTHORIZED: must not be 0; NODE_EXTRA_CA_CERTS adds a certificate authority')
  const weak = /--(insecure-http-parser|tls-min-v1\.[01]|tls-cipher-list)\b/.exec(env['NODE_OPTIONS'] ?? '')
  if (weak) problems.push(`NODE_OPTIONS: must not have --${weak[1]}`)
  return problems
}

/**
 * Removes the variables that the PostgreSQL driver reads by itself (PGTZ, PGOPTIONS, PGSSLMODE and so on) and returns
 * their names: the database is what `DATABASE_URL` says, on whatever machine.
 */
export function removeDriverVariables(env: Record<string, string | undefined>): string[] {
  const names = Object.keys(env).filter((name) => /^PG[A-Z]/.test(name))
  for (const name of names) Reflect.deleteProperty(env, name)
  return names
}

/** The sandbox makes its own key once and keeps it beside the data that it seals. Throws `ConfigError`. */
function localSealingKey(dataDir: string): string {
  try {
    const key = keyOf(dataDir)
    if (SEALING_KEY.test(key)) return key
    throw new ConfigError([
      'GUICHET_DATA_DIR: its file sealing-key is damaged; put back the one that its data was sealed with',
    ])
  } catch (error) {
    if (error instanceof ConfigError) throw error
    const code = String((error as { code?: unknown }).code)
    throw new ConfigError([
      `GUICHET_DATA_DIR: its file sealing-key cannot be read or made (${code}); set it to a folder of this account, on a disk with space`,
    ])
  }
}

function keyOf(dataDir: string): string {
  const file = resolve(dataDir, 'sealing-key')
  if (!existsSync(file)) {
    const draft = `${file}.${process.pid}`
    writeFileSync(draft, systemRandomness.bytes(32).toString('base64url'), { mode: 0o600 })
    try {
      // Of several processes that start at once, the first decides, and none reads half a key.
      linkSync(draft, file)
    } catch (error) {
      if (!existsSync(file)) throw error
    } finally {
      unlinkSync(draft)
    }
  }
  return readFileSync(file, 'utf8')
}
