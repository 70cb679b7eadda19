import ipaddr from 'ipaddr.js'

/** Which addresses outbound requests may reach. Loopback is allowed in the sandbox profile only. */
export interface EgressRules {
  readonly allowLoopback: boolean
  readonly allowPlainHttp: boolean
}

/** True where a connection to this IP may be made: public unicast, or loopback where the rules allow it. */
export function mayConnectTo(ip: string, rules: EgressRules): boolean {
  if (!ipaddr.isValid(ip)) return false
  let address = ipaddr.parse(ip)
  if (address instanceof ipaddr.IPv6 && address.isIPv4MappedAddress()) address = address.toIPv4Address()
  // Of IPv6 only 2000::/3 is given out for the public internet; the rest holds tunnels to the inside.
  if (address instanceof ipaddr.IPv6 && (address.parts[0]! & 0xe000) !== 0x2000 && address.range() !== 'loopback')
    return false
  const range = address.range()
  return range === 'unicast' || (rules.allowLoopback && range === 'loopback')
}

/**
 * The parsed URL where `url` may be given to us as a connector, key or webhook address: https (http only where the rules allow),
 * no credentials, no fragment, a usual port, and not an address literal that is closed to us. Names are checked again,
 * resolved, at every connect.
 */
export function acceptableUrl(url: string, rules: EgressRules): URL | undefined {
  const parsed = URL.parse(url)
  return parsed && isAcceptable(url, parsed, rules) ? parsed : undefined
}

function isAcceptable(url: string, parsed: URL, rules: EgressRules): boolean {
  // What a parser has to mend, another parser mends differently.
  if (url.length > 2_048 || /[\\\s\p{Cc}]/u.test(url)) return false
  if (parsed.protocol !== 'https:' && !(rules.allowPlainHttp && parsed.protocol === 'http:')) return false
  if (parsed.username || parsed.password || parsed.hash) return false
  const port = Number(parsed.port || (parsed.protocol === 'https:' ? 443 : 80))
  if (!rules.allowLoopback && port !== 443 && port < 1_024) return false
  const host = parsed.hostname.replace(/^\[|\]$/g, '')
  if (ipaddr.isValid(host)) return mayConnectTo(host, rules)
  if (/^(localhost|.*\.localhost)$/i.test(host)) return rules.allowLoopback
  return /^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$/i.test(host)
}

/** True for an address that the public internet does not route: of this machine, its network or its carrier. */
export const isInside = (ip: string): boolean => ipaddr.isValid(ip) && INSIDE.has(ipaddr.process(ip).range())
const INSIDE: ReadonlySet<string> = new Set(['loopback', 'private', 'linkLocal', 'carrierGradeNat', 'uniqueLocal'])

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
