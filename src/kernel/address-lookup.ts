import type { LookupAddress } from 'node:dns'
import { Resolver } from 'node:dns/promises'
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { SECOND_MS, systemTimers, type Timers, type Timer } from './clock.ts'
import { RETRIES } from './retry.ts'
import { createSharedCalls } from './shared-calls.ts'

/** Resolves a host name to all of its addresses, with the signature of `lookup` of node:dns. */
export type AddressLookup = (
  hostname: string,
  options: { readonly all: true; readonly family?: number | 'IPv4' | 'IPv6' | undefined },
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void

/** Overrides of the machine's own DNS settings and timers. */
export interface LookupOptions {
  /** DNS servers, as `address:port`. */
  readonly servers?: readonly string[]
  readonly hostsFile?: string
  readonly timers?: Timers
}

const HOSTS_FILE = process.platform === 'win32' ? String.raw`C:\Windows\System32\drivers\etc\hosts` : '/etc/hosts'
const RESOLVER_OPTIONS = { timeout: RETRIES.dnsQuery.delaysMs[0], tries: 2 }
/** How long the addresses of one family wait for the other family (RFC 8305, 3). */
const RESOLUTION_DELAY_MS = 50
/** How long the machine's settings are cached: the hosts file and name servers can change while the process runs. */
const SETTINGS_TTL_MS = 10 * SECOND_MS
const LOOPBACK: readonly LookupAddress[] = [
  { address: '127.0.0.1', family: 4 },
  { address: '::1', family: 6 },
]

/**
 * Resolves names by the hosts file and DNS, without threads: a name whose servers do not answer delays no other name.
 * `lookup` of node:dns runs in a small thread pool, which anybody who registers such names could block. Search domains and
 * other system sources are not used. Concurrent lookups of one name share one query.
 */
export function createAddressLookup({
  servers,
  hostsFile = HOSTS_FILE,
  timers = systemTimers,
}: LookupOptions = {}): AddressLookup {
  const lookups = createSharedCalls<LookupAddress[]>()
  let settings: { readonly hosts: ReadonlyMap<string, LookupAddress[]>; readonly resolver: Resolver } | undefined
  let settingsReadAtMs = 0

  function currentSettings(): NonNullable<typeof settings> {
    const nowMs = timers.monotonicMs()
    if (settings && nowMs - settingsReadAtMs < SETTINGS_TTL_MS) return settings
    const resolver = new Resolver(RESOLVER_OPTIONS)
    if (servers) resolver.setServers(servers)
    settingsReadAtMs = nowMs
    return (settings = { hosts: readHosts(hostsFile), resolver })
  }

  async function resolveName(name: string): Promise<LookupAddress[]> {
    const { hosts, resolver } = currentSettings()
    const found = hosts.get(name)
    if (found) return found
    if (name === 'localhost' || name.endsWith('.localhost')) return [...LOOPBACK]
    return queryBothFamilies(resolver, name, timers)
  }

  const shareLookup = (name: string): Promise<LookupAddress[]> => lookups.share(name, () => resolveName(name))

  return (hostname, { family }, callback) => {
    const requestedFamily = family === 'IPv4' ? 4 : family === 'IPv6' ? 6 : family
    const literal = isIP(hostname)
    const lookup = literal
      ? Promise.resolve([{ address: hostname, family: literal }])
      : shareLookup(hostname.toLowerCase().replace(/\.$/, ''))
    lookup.then(
      (addresses) => {
        const matching = addresses.filter((found) => !requestedFamily || found.family === requestedFamily)
        if (matching.length > 0) callback(null, matching)
        else callback(Object.assign(new Error('no address of this family'), { code: 'ENOTFOUND' }), [])
      },
      (error: unknown) => callback(toNameServerError(error as NodeJS.ErrnoException), []),
    )
  }
}

/** Keeps a refusing name server from being reported as a refused connection to the host. */
const toNameServerError = (error: NodeJS.ErrnoException): NodeJS.ErrnoException =>
  error.code === 'ECONNREFUSED' || error.code === 'EREFUSED'
    ? Object.assign(new Error('no name server answers', { cause: error }), { code: 'EAI_AGAIN' })
    : error

/** Resolves to the addresses of both families, or of the one that responds. */
function queryBothFamilies(resolver: Resolver, name: string, timers: Timers): Promise<LookupAddress[]> {
  const families = [
    resolver.resolve4(name).then((all) => all.map((address) => ({ address, family: 4 }))),
    resolver.resolve6(name).then((all) => all.map((address) => ({ address, family: 6 }))),
  ]
  return new Promise((resolve, reject) => {
    const found: LookupAddress[] = []
    let pending = families.length
    let timer: Timer | undefined
    const settle = (error?: unknown): void => {
      if (--pending === 0) {
        timer?.clear()
        if (found.length > 0) resolve(found)
        else reject(error instanceof Error ? error : new Error('no address'))
      } else if (found.length > 0) timer = timers.setTimeout(() => resolve([...found]), RESOLUTION_DELAY_MS)
    }
    for (const family of families)
      family.then((addresses) => {
        found.push(...addresses)
        settle()
      }, settle)
  })
}

/** Parses the hosts file; empty if it cannot be read. */
function readHosts(file: string): Map<string, LookupAddress[]> {
  const hosts = new Map<string, LookupAddress[]>()
  let text = ''
  try {
    text = readFileSync(file, 'utf8')
  } catch {
    return hosts
  }
  for (const line of text.split('\n')) {
    const [address = '', ...names] = line.replace(/#.*/, '').trim().split(/\s+/)
    const family = isIP(address)
    if (family === 0) continue
    for (const name of names.map((text) => text.toLowerCase()))
      hosts.set(name, [...(hosts.get(name) ?? []), { address, family }])
  }
  return hosts
}
