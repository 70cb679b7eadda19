import ipaddr from 'ipaddr.js'

/** Which addresses outbound requests may reach. Loopback is allowed in the sandbox profile only. */
export interface EgressRules {
  readonly allowLoopback: boolean
  readonly allowPlainHttp: boolean
}

/** True where a connection to this IP may be made: public unicast, or loopback where the rules allow it. */
export function canConnectTo(ip: string, rules: EgressRules): boolean {
  if (!ipaddr.isValid(ip)) return false
  let address = ipaddr.parse(ip)
  if (address instanceof ipaddr.IPv6 && address.isIPv4MappedAddress()) address = address.toIPv4Address()
  // Of IPv6 only 2000::/3 is given out for the public internet; the rest holds tunnels to the inside.
  if (address instanceof ipaddr.IPv6 && (address.parts[0]! & 0xe000) !== 0x2000 && address.range() !== 'loopback')
    return false
  const range = address.range()
  return range === 'unicast' || (rules.allowLoopback && range === 'loopback')
}

/** A URL as it was given and as it was parsed, under the rules that it must obey. */
interface CandidateUrl {
  readonly text: string
  readonly url: URL
  readonly rules: EgressRules
}

/** What every URL that others chose must obey, whether it is registered or met at run time: one rule, one line. */
const URL_RULES: readonly (readonly [rule: string, holds: (candidate: CandidateUrl) => boolean])[] = [
  [
    'must use https',
    ({ url, rules }) => url.protocol === 'https:' || (rules.allowPlainHttp && url.protocol === 'http:'),
  ],
  ['must have at most 2048 characters', ({ text }) => text.length <= 2_048],
  // What a parser has to correct, another parser corrects differently.
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

/** What only a registration must obey: banks may use an asterisk in a link to a next page. */
const REGISTRATION_RULES: typeof URL_RULES = [
  ...URL_RULES,
  ['must name no wildcard', ({ text }) => !/\*|%2a/i.test(text)],
]

/**
 * The parsed URL where requests may be sent to `text`, or nothing. Names are checked again, resolved, at every connect.
 */
export function parseAllowedUrl(text: string, rules: EgressRules): URL | undefined {
  const url = URL.parse(text)
  return url && URL_RULES.every(([, isSatisfied]) => isSatisfied({ text, url, rules })) ? url : undefined
}

/**
 * Why no registration may hold this URL, as rules that read on from the name of its field; nothing where it may. The one
 * check for every URL that somebody registers: of connectors, clients and webhooks.
 */
export function urlFault(text: string, rules: EgressRules): string | undefined {
  const url = URL.parse(text)
  if (!url) return 'must be an absolute URL'
  const violated = REGISTRATION_RULES.filter(([, isSatisfied]) => !isSatisfied({ text, url, rules }))
  return violated.length === 0 ? undefined : violated.map(([rule]) => rule).join(', ')
}

/** The default port, or one that no system service listens on. */
const isAllowedPort = ({ port }: URL): boolean => port === '' || Number(port) >= 1_024
const authorityOf = (text: string): string => /^[a-z]+:\/\/([^/?#]*)/i.exec(text)?.[1] ?? ''
const parseHost = (text: string): string => authorityOf(text).replace(/^.*@/, '').replace(/:\d*$/, '').toLowerCase()

function isHostAllowed({ url, rules }: CandidateUrl): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, '')
  if (ipaddr.isValid(host)) return canConnectTo(host, rules)
  if (/^(localhost|.*\.localhost)$/i.test(host)) return rules.allowLoopback
  return /^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$/i.test(host)
}

/** True for an address that the public internet does not route: of this machine, its network or its carrier. */
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
 * What addresses of one subscriber have in common: an IPv4 address as it is, of an IPv6 address the first 64 bits, which
 * are given out as a whole. At most 24 characters; `unknown` for what is no address.
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

/** The origin at which this machine reaches a listener on `host`, which may be a wildcard or an IPv6 address. */
export function localOrigin(host: string, port: number | string): string {
  const name = host.replace(/^\[(.*)\]$/, '$1')
  if (name === '0.0.0.0' || name === '::') return `http://127.0.0.1:${port}`
  return new URL(`http://${name.includes(':') ? `[${name}]` : name}:${port}`).origin
}
