import { createServer } from 'node:net'
import type { Config } from './config.ts'
import { ConfigError } from './config.ts'
import { EmbeddedPostgresMissingError, findPackagedBinaries } from './storage/postgres-binaries.ts'
import { openSession } from './storage/session.ts'

/** The settings with the address of the database. */
export type DatabaseSetting = 'DATABASE_URL' | 'DATABASE_DIRECT_URL'

const OLDEST_VERSION = 130_000

const NOT_POSTGRESQL = 'the server at this address is not PostgreSQL; correct host and port'
const NO_RESPONSE = 'the server does not respond; correct host and port, or allow the connection in the firewall'
const NO_ROUTE = 'there is no route to the host; correct the host, or the network'
const UNTRUSTED_CERTIFICATE =
  "the server's certificate is not trusted; set NODE_EXTRA_CA_CERTS to the certificate of its authority"

/** The problem and its remedy, by the code of a socket error, a TLS error or PostgreSQL (SQLSTATE). */
const DATABASE_PROBLEMS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'the connection is refused; start PostgreSQL, or correct host and port',
  ECONNRESET: NOT_POSTGRESQL,
  ENOTFOUND: 'the host name cannot be resolved; correct the host',
  EAI_AGAIN: 'the host name cannot be resolved at the moment; correct the host, or the DNS settings of this machine',
  ETIMEDOUT: NO_RESPONSE,
  EHOSTUNREACH: NO_ROUTE,
  ENETUNREACH: NO_ROUTE,
  '28P01': 'PostgreSQL rejects the password; correct it',
  '28000': 'PostgreSQL rejects this user from this machine; correct the user, or pg_hba.conf',
  '3D000': 'the database does not exist; create it, or correct the name',
  '42501': 'the user lacks a privilege; GRANT CREATE ON SCHEMA public, or make it the owner of the database',
  '53300': 'PostgreSQL has no free connection; raise max_connections, or use a pooler',
  '53100': 'the disk of PostgreSQL is full; free space',
  '57P03': 'PostgreSQL is starting or stopping; start the gateway again in a moment',
  '25006': 'the database is read-only; use the address of the primary',
  DEPTH_ZERO_SELF_SIGNED_CERT: UNTRUSTED_CERTIFICATE,
  SELF_SIGNED_CERT_IN_CHAIN: UNTRUSTED_CERTIFICATE,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNTRUSTED_CERTIFICATE,
  CERT_HAS_EXPIRED: "the server's certificate has expired; renew it",
  ERR_TLS_CERT_ALTNAME_INVALID: "the server's certificate is for another host; correct the host",
}
/** The same, by the message of a driver error without a code. */
const DRIVER_PROBLEMS: readonly (readonly [pattern: RegExp, problem: string])[] = [
  [/does not support SSL/, 'the server does not support TLS; enable it, or remove sslmode'],
  [/password must be a (non-empty )?string/, 'PostgreSQL requires a password; add one to the URL'],
  [/time(d )?out|timeout/i, NO_RESPONSE],
  [/terminated unexpectedly/, NOT_POSTGRESQL],
]

/** Describes in one line why the database of `setting` cannot be used. Never contains the value of the setting. */
export function databaseProblem(setting: DatabaseSetting, error: unknown): string {
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error
  const code = String((first as { code?: unknown }).code)
  const message = first instanceof Error ? first.message : ''
  const known = DATABASE_PROBLEMS[code] ?? DRIVER_PROBLEMS.find(([pattern]) => pattern.test(message))?.[1]
  return `${setting}: ${known ?? `cannot be used (${code === 'undefined' ? message : code})`}`
}

/** Runs `work` on the database of `setting`. Converts its errors to a `ConfigError` that names the setting. */
export async function withDatabase<T>(setting: DatabaseSetting, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw error instanceof ConfigError ? error : new ConfigError([databaseProblem(setting, error)])
  }
}

/** Returns everything on this machine that prevents a start with these settings. Changes nothing. */
export async function startProblems(config: Config): Promise<string[]> {
  const { host, port, databaseUrl, databaseDirectUrl } = config
  const found = await Promise.all([
    portProblem(host, port),
    databaseUrl && databaseFault('DATABASE_URL', databaseUrl),
    databaseDirectUrl && databaseFault('DATABASE_DIRECT_URL', databaseDirectUrl),
  ])
  return found.filter((problem) => typeof problem === 'string' && problem !== '') as string[]
}

/** Why there is no embedded database for a start without `DATABASE_URL`; undefined if there is one. */
export async function embeddedDatabaseProblem(): Promise<string | undefined> {
  try {
    await findPackagedBinaries()
    return undefined
  } catch (error) {
    if (!(error instanceof EmbeddedPostgresMissingError)) throw error
    return `DATABASE_URL: is not set, and ${error.message}; set it, or install the optional packages`
  }
}

async function databaseFault(setting: DatabaseSetting, url: string): Promise<string | undefined> {
  try {
    const session = await openSession(url)
    const { rows } = await session.query<{ version: number; encoding: string; recovering: boolean }>(
      `select current_setting('server_version_num')::int as version, current_setting('server_encoding') as encoding,
         pg_is_in_recovery() as recovering`,
    )
    await session.end()
    const { version, encoding, recovering } = rows[0]!
    if (version < OLDEST_VERSION) return `${setting}: PostgreSQL is older than version 13; upgrade it`
    if (encoding !== 'UTF8') return `${setting}: the database has the encoding ${encoding}; create it with UTF8`
    if (recovering) return `${setting}: the database is a read-only replica; use the address of the primary`
    return undefined
  } catch (error) {
    return databaseProblem(setting, error)
  }
}

/** Why the gateway cannot listen on this port now; undefined if it can. */
export async function portProblem(host: string, port: number): Promise<string | undefined> {
  const error = await tryListen(host, port)
  return error && listenProblem(error, host, port)
}

/** Describes an error of listening; undefined if the error is of another kind. */
export function listenProblem(error: unknown, host: string, port: number): string | undefined {
  switch ((error as { code?: unknown }).code) {
    case 'EADDRINUSE':
      return `PORT: ${port} is in use on ${host}; stop the other process, such as another gateway, or set another port`
    case 'EACCES':
      return `PORT: ${port} requires a privilege that this account lacks; set a port of 1024 or higher`
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
    case 'EINVAL':
      return 'HOST: is not an address of this machine; set one of its addresses, such as 127.0.0.1, or 0.0.0.0 for all'
    default:
      return undefined
  }
}

/** Tries to listen on a port. Returns the error, or undefined if it succeeded. */
export function tryListen(host: string, port: number): Promise<Error | undefined> {
  return new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', resolve)
    probe.listen({ port, host }, () => probe.close(() => resolve(undefined)))
  })
}
