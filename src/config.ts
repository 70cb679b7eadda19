import { existsSync, linkSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { z } from 'zod'
import { localOrigin, type EgressRules } from './kernel/addresses.ts'
import { SECOND_MS } from './kernel/clock.ts'
import { digest, systemRandomness } from './kernel/ids.ts'
import { LOG_LEVELS, type LogLevel } from './kernel/log-table.ts'
import { makeFolder } from './storage/folders.ts'

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
  /** The first of the sandbox's consecutive ports; 0 lets the system choose each. */
  readonly sandboxPort: number
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

const DATABASE_PROTOCOL = { protocol: /^postgres(ql)?$/ }
const COMPLETE = 'must name a user and a database: postgresql://user:password@host:5432/database'
/** What an address does not name, the driver would take from the machine, such as the name of its user. */
function isComplete(address: string): boolean {
  const { username, pathname, searchParams } = new URL(address)
  return (username !== '' || searchParams.has('user')) && pathname.length > 1
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
  PORT: z.coerce.number().int().min(0).max(65_535).default(4_000),
  METRICS_HOST: z.string().min(1).default('127.0.0.1'),
  METRICS_PORT: z.coerce.number().int().min(0).max(65_535).optional(),
  ISSUER: z.url({ protocol: /^https?$/ }).optional(),
  DATABASE_URL: z.url(DATABASE_PROTOCOL).refine(isComplete, COMPLETE).optional(),
  DATABASE_DIRECT_URL: z.url(DATABASE_PROTOCOL).refine(isComplete, COMPLETE).optional(),
  REDIS_URL: z.url({ protocol: /^rediss?$/ }).optional(),
  GUICHET_DATA_DIR: z.string().min(1).default('.guichet'),
  GUICHET_SEALING_KEY: z.string().regex(SEALING_KEY, '32 random bytes in base64url').optional(),
  GUICHET_SEALING_KEYS_BEFORE: z
    .string()
    .transform((text) => text.split(',').map((one) => one.trim()))
    .pipe(z.array(z.string().regex(SEALING_KEY, '32 random bytes in base64url')))
    .default([]),
  GUICHET_BOOTSTRAP_SECRET: z
    .string()
    .regex(SEALING_KEY, '32 random bytes in base64url')
    .refine(isRandom, 'is not random')
    .optional(),
  GUICHET_TRUSTED_PROXIES: z
    .string()
    .transform((text) => text.split(',').map((one) => one.trim()))
    .pipe(z.array(z.string().refine(isProxyRange, PROXY_RANGE)))
    .default([]),
  GUICHET_MAX_UNDER_WAY: z.coerce.number().int().min(1).max(100_000).default(500),
  GUICHET_KEEP_ALIVE_SECONDS: z.coerce.number().int().min(1).max(3_600).default(75),
  GUICHET_NIGHTLY_TRIALS: z.enum(['on', 'off']).default('on'),
  GUICHET_LOG_LEVEL: z.enum(LOG_LEVELS).default('info'),
  GUICHET_SANDBOX_BANKS: z.enum(['on', 'remote', 'off']).optional(),
  GUICHET_SANDBOX_PORT: z.coerce.number().int().min(0).max(65_000).default(4_101),
  GUICHET_SANDBOX_CANARY: z
    .string()
    .regex(/^[A-Za-z0-9-]{8,64}$/)
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
  const parsed = environment.safeParse(given)
  if (!parsed.success)
    throw new ConfigError(parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`))
  const settings = parsed.data
  const production = settings.GUICHET_PROFILE === 'production'
  const sandbox = SANDBOX[settings.GUICHET_SANDBOX_BANKS ?? (production ? 'off' : 'on')]
  const issuer = settings.ISSUER ?? localOrigin(settings.HOST, settings.PORT)
  const problems = production ? [...weaknesses(settings, sandbox), ...weakMachine(given)] : []
  if (settings.DATABASE_DIRECT_URL && !settings.DATABASE_URL)
    problems.push('DATABASE_DIRECT_URL: needs DATABASE_URL beside it')
  if (new URL(issuer).origin !== issuer) problems.push('ISSUER: must be an origin, such as https://guichet.example')
  if (problems.length > 0) throw new ConfigError(problems)

  const dataDir = resolve(settings.GUICHET_DATA_DIR)
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

/** The sandbox makes its own key once and keeps it beside the data that it seals. */
function localSealingKey(dataDir: string): string {
  const file = resolve(dataDir, 'sealing-key')
  if (!existsSync(file)) {
    makeFolder(dataDir, 0o711)
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
