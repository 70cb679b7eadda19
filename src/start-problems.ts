import { createServer } from 'node:net'
import type { Config } from './config.ts'
import { ConfigError } from './config.ts'
import { openSession } from './storage/session.ts'

/** The settings that say where the database is. */
export type DatabaseSetting = 'DATABASE_URL' | 'DATABASE_DIRECT_URL'

const OLDEST_VERSION = 130_000

/** What a database says by its SQLSTATE, a socket or TLS by its code: what is wrong, and the way out. */
const DATABASE_FAULTS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there; start PostgreSQL, or correct host and port',
  ECONNRESET: 'something else than PostgreSQL listens there; correct host and port',
  ENOTFOUND: 'its host has no address; correct the host',
  EAI_AGAIN: 'its host has no address at the moment; correct the host, or the name service of this machine',
  ETIMEDOUT: 'nothing responds there; correct host and port, or open the network between',
  EHOSTUNREACH: 'no network leads there; correct the host, or open the network between',
  ENETUNREACH: 'no network leads there; correct the host, or open the network between',
  '28P01': 'PostgreSQL refuses the password of this user; correct it',
  '28000': 'PostgreSQL does not let this user in from here; correct the user, or pg_hba.conf',
  '3D000': 'there is no database of this name; create it, or correct the name',
  '42501': 'its user lacks a privilege; GRANT CREATE ON SCHEMA public, or make it the owner of the database',
  '53300': 'PostgreSQL has no free connection; raise max_connections, or put a pooler between',
  '53100': 'its disk is full; make space',
  '57P03': 'PostgreSQL is just starting or stopping; start again in a moment',
  '25006': 'it takes no writes; it must lead to the primary',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is not trusted; name the authority in NODE_EXTRA_CA_CERTS',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is not trusted; name the authority in NODE_EXTRA_CA_CERTS',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is not trusted; name the authority in NODE_EXTRA_CA_CERTS',
  CERT_HAS_EXPIRED: 'its certificate has expired; renew it',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another host; correct the host',
}
/** The same for what the driver throws without a code. */
const DRIVER_FAULTS: readonly (readonly [pattern: RegExp, fault: string])[] = [
  [/does not support SSL/, 'PostgreSQL offers no TLS there; switch it on, or take sslmode out'],
  [/password must be a (non-empty )?string/, 'it names no password, and PostgreSQL wants one'],
  [/time(d )?out|timeout/i, 'nothing responds there; correct host and port, or open the network between'],
  [/terminated unexpectedly/, 'something else than PostgreSQL listens there; correct host and port'],
]

/** What kept us from using the database that `setting` leads to: one line for a person, without any value. */
export function databaseProblem(setting: DatabaseSetting, error: unknown): string {
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error
  const code = String((first as { code?: unknown }).code)
  const message = first instanceof Error ? first.message : ''
  const known = DATABASE_FAULTS[code] ?? DRIVER_FAULTS.find(([pattern]) => pattern.test(message))?.[1]
  return `${setting}: ${known ?? `cannot be used (${code === 'undefined' ? message : code})`}`
}

/** Runs `work` on the database of `setting`; whatever it throws becomes a `ConfigError` that names the setting. */
export async function withDatabase<T>(setting: DatabaseSetting, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw error instanceof ConfigError ? error : new ConfigError([databaseProblem(setting, error)])
  }
}

/** All that keeps this machine from running a gateway with these settings, found without changing anything. */
export async function startProblems(config: Config): Promise<string[]> {
  const { host, port, databaseUrl, databaseDirectUrl } = config
  const found = await Promise.all([
    portProblem(host, port),
    databaseUrl && databaseFault('DATABASE_URL', databaseUrl),
    databaseDirectUrl && databaseFault('DATABASE_DIRECT_URL', databaseDirectUrl),
  ])
  return found.filter((problem) => typeof problem === 'string' && problem !== '') as string[]
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
    if (version < OLDEST_VERSION) return `${setting}: PostgreSQL there is older than version 13; upgrade it`
    if (encoding !== 'UTF8') return `${setting}: the database has the encoding ${encoding}; create it with UTF8`
    if (recovering) return `${setting}: it leads to a replica, which takes no writes; it must lead to the primary`
    return undefined
  } catch (error) {
    return databaseProblem(setting, error)
  }
}

/** Why nobody can listen on this port now; nothing where somebody can. */
export async function portProblem(host: string, port: number): Promise<string | undefined> {
  const error = await listenFault(host, port)
  return error && listenProblem(error, host, port)
}

/** The same, of an error that listening ended with; nothing where the error is of another kind. */
export function listenProblem(error: unknown, host: string, port: number): string | undefined {
  switch ((error as { code?: unknown }).code) {
    case 'EADDRINUSE':
      return `PORT: ${port} is in use on ${host}; stop what listens there, such as another gateway, or set another port`
    case 'EACCES':
      return `PORT: ${port} needs a privilege that this account lacks; set one from 1024 on`
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
    case 'EINVAL':
      return 'HOST: is no address of this machine; set one of its own, such as 127.0.0.1, or 0.0.0.0 for all'
    default:
      return undefined
  }
}

/** The error of an attempt to listen; nothing where it worked. */
export function listenFault(host: string, port: number): Promise<Error | undefined> {
  return new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', resolve)
    probe.listen({ port, host }, () => probe.close(() => resolve(undefined)))
  })
}
