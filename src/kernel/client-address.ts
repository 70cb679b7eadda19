import { BlockList, isIP } from 'node:net'
import ipaddr from 'ipaddr.js'
import { z } from 'zod'

/** Whether this address, in canonical form, is one of a trusted proxy. */
export type IsTrustedProxy = (address: string) => boolean

/** Creates the check from valid addresses and CIDR ranges. */
export function createTrustedProxyCheck(ranges: readonly string[]): IsTrustedProxy {
  const list = new BlockList()
  for (const range of ranges) {
    const [network, bits] = ipaddr.parseCIDR(
      range.includes('/') ? range : `${range}/${ipaddr.parse(range).kind() === 'ipv4' ? 32 : 128}`,
    )
    list.addSubnet(network.toString(), bits, network.kind())
  }
  return (address) => isIP(address) !== 0 && list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4')
}

/**
 * The sender's address in canonical form: the nearest hop that is not a trusted proxy. `forwardedFor` is the header
 * `X-Forwarded-For`; each proxy appends the address that it saw, so the header is read from its end. Reading stops at the
 * first hop that is not an address, because the sender can forge everything before it. `unknown` if the connection is gone.
 */
export function resolveClientAddress(
  remoteAddress: string | undefined,
  forwardedFor: string | undefined,
  isTrustedProxy: IsTrustedProxy,
): string {
  let nearest = canonicalize((remoteAddress ?? '').replace(/%.*$/, '')) ?? 'unknown'
  let end = forwardedFor?.length ?? 0
  while (end > 0 && isTrustedProxy(nearest)) {
    const comma = forwardedFor!.lastIndexOf(',', end - 1)
    const hop = parseHop(forwardedFor!.slice(comma + 1, end).trim())
    if (hop === undefined) return nearest
    nearest = hop
    end = comma
  }
  return nearest
}

/** Some proxies add the port. */
const ADDRESS_WITH_PORT = /^(?:\[(?<v6>[^\]]+)\]|(?<v4>[\d.]+))(?::(?<port>\d{1,5}))?$/

function parseHop(text: string): string | undefined {
  const { v6, v4, port } = ADDRESS_WITH_PORT.exec(text)?.groups ?? {}
  if (Number(port ?? 0) > 65_535) return undefined
  if (v6 !== undefined) return isIP(v6) === 6 ? canonicalize(v6) : undefined
  return canonicalize(v4 ?? text)
}

/** Rejects `127.1`, octal and hexadecimal forms, which `ipaddr.js` accepts but other software reads differently. */
function canonicalize(text: string): string | undefined {
  const family = isIP(text)
  // Node accepts IPv4 in its canonical form only.
  if (family === 4) return text
  return family === 0 || text.includes('%') ? undefined : ipaddr.process(text).toString()
}

/** What a range of trusted proxies must be. */
export const PROXY_RANGE_MESSAGE =
  'must be an address or a range, such as 10.0.0.7 or 10.1.0.0/16; an IPv4 range must be /8 or smaller, and an IPv6 range /16 or smaller'
/** Whether the text is a range of trusted proxies. Bounds the range, because everybody in it can claim any client address. */
export function isProxyRange(text: string): boolean {
  if (z.union([z.ipv4(), z.ipv6()]).safeParse(text).success) return true
  const bits = Number(text.split('/')[1])
  return (z.cidrv4().safeParse(text).success && bits >= 8) || (z.cidrv6().safeParse(text).success && bits >= 16)
}
