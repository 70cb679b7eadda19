import ipaddr from 'ipaddr.js'

/** Which addresses outbound requests may reach. Loopback is allowed in the sandbox profile only. */
export interface EgressRules {
  readonly allowLoopback: boolean
  readonly allowPlainHttp: boolean
}

/** Whether a connection to this IP is allowed: public unicast, or loopback if the rules allow it. */
export function canConnectTo(ip: string, rules: EgressRules): boolean {
  if (!ipaddr.isValid(ip)) return false
  let address = ipaddr.parse(ip)
  if (address instanceof ipaddr.IPv6 && address.isIPv4MappedAddress()) address = address.toIPv4Address()
  // Only 2000::/3 of IPv6 is allocated to the public internet; other ranges include tunnels to internal networks.
  if (address instanceof ipaddr.IPv6 && (address.parts[0]! & 0xe000) !== 0x2000 && address.range() !== 'loopback')
    return false
  const range = address.range()
  return range === 'unicast' || (rules.allowLoopback && range === 'loopback')
}

/** A URL as text and parsed, with the rules that apply to it. */
interface CandidateUrl {
  readonly text: string
  readonly url: URL
  readonly rules: EgressRules
}

/** The rules for every URL that others choose, at registration and at run time. */
const URL_RULES: readonly (readonly [rule: string, holds: (candidate: CandidateUrl) => boolean])[] = [
  [
    'must use https',
    ({ url, rules }) => url.protocol === 'https:' || (rules.allowPlainHttp && url.protocol === 'http:'),
  ],
  ['must have at most 2048 characters', ({ text }) => text.length <= 2_048],
  // Parsers differ in how they correct malformed URLs.
  [
    'must be written in plain ASCII without spaces, control characters or backslashes',
    ({ text }) => /^[!-[\]-~]*$/.test(text),
  ],
  ['must name no user or password', ({ text }) => !authorityOf(text).includes('@')],
  ['must have no fragment', ({ text }) => !text.includes('#')],
  ['must write its host in the usual form', ({ text, url }) => parseHost(text) === url.hostname],
  ['must use port 443, or one from 1024 to 65535', ({ url, rules }) => rules.allowLoopback || isAllowedPort(url)],
  ['must name a public host, by its domain name or address', isHostAllowed],
]

/** Additional rules for registrations; at run time, banks may use an asterisk in a link to the next page. */
const REGISTRATION_RULES: typeof URL_RULES = [
  ...URL_RULES,
  ['must name no wildcard', ({ text }) => !/\*|%2a/i.test(text)],
]

/**
 * The parsed URL, or `undefined` if requests to it are not allowed. At every connect, the addresses that its host resolves to
 * are checked as well.
 */
export function parseAllowedUrl(text: string, rules: EgressRules): URL | undefined {
  const url = URL.parse(text)
  return url && URL_RULES.every(([, isSatisfied]) => isSatisfied({ text, url, rules })) ? url : undefined
}

/**
 * The violated rules, worded to follow the name of the field, or `undefined` if the URL may be registered. The one check for
 * all registered URLs: of connectors, clients and webhooks.
 */
export function urlFault(text: string, rules: EgressRules): string | undefined {
  const url = URL.parse(text)
  if (!url) return 'must be an absolute URL'
  const violated = REGISTRATION_RULES.filter(([, isSatisfied]) => !isSatisfied({ text, url, rules }))
  return violated.length === 0 ? undefined : violated.map(([rule]) => rule).join(', ')
}

/** Allows the default port and unprivileged ports, where no system service listens. */
const isAllowedPort = ({ port }: URL): boolean => port === '' || Number(port) >= 1_024
const authorityOf = (text: string): string => /^[a-z]+:\/\/([^/?#]*)/i.exec(text)?.[1] ?? ''
const parseHost = (text: string): string => authorityOf(text).replace(/^.*@/, '').replace(/:\d*$/, '').toLowerCase()

function isHostAllowed({ url, rules }: CandidateUrl): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, '')
  if (ipaddr.isValid(host)) return canConnectTo(host, rules)
  if (/^(localhost|.*\.localhost)$/i.test(host)) return rules.allowLoopback
  return /^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$/i.test(host)
}

/** Whether the public internet does not route this address: it is of this machine, its network or its carrier. */
export const isInternalAddress = (ip: string): boolean =>
  ipaddr.isValid(ip) && INTERNAL_RANGES.has(ipaddr.process(ip).range())
const INTERNAL_RANGES: ReadonlySet<string> = new Set([
  'loopback',
  'private',
  'linkLocal',
  'carrierGradeNat',
  'uniqueLocal',
])

/**
 * The network that one subscriber is assigned: an IPv4 address unchanged, an IPv6 address as its /64. At most 24 characters;
 * `unknown` if `ip` is not an address.
 */
export function networkOf(ip: string): string {
  if (!ipaddr.isValid(ip)) return 'unknown'
  const address = ipaddr.process(ip)
  if (!(address instanceof ipaddr.IPv6)) return address.toString()
  return `${address.parts
    .slice(0, 4)
    .map((part) => part.toString(16))
    .join(':')}::/64`
}

/** The origin by which this machine reaches a listener on `host`, which can be a wildcard or an IPv6 address. */
export function localOrigin(host: string, port: number | string): string {
  const name = host.replace(/^\[(.*)\]$/, '$1')
  if (name === '0.0.0.0' || name === '::') return `http://127.0.0.1:${port}`
  return new URL(`http://${name.includes(':') ? `[${name}]` : name}:${port}`).origin
}
