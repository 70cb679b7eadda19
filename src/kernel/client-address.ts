import { BlockList, isIP } from 'node:net'
import ipaddr from 'ipaddr.js'

/** Whether a proxy of ours has this address, which is in canonical form. */
export type IsTrustedProxy = (address: string) => boolean

/** Takes addresses and ranges in CIDR notation; both must be valid. */
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
 * The address of whoever sent a request, in canonical form: the nearest one that is no proxy of ours. `forwardedFor` is
 * the header `X-Forwarded-For`, to which each proxy appends the address that it saw, so it is read from its end. Reading
 * stops at the first hop that is not an address: anybody may have written what stands before it. `unknown` if the
 * connection is gone.
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

/** Strict in what it reads: `ipaddr.js` alone also takes `127.1`, octal and hexadecimal, which other software reads differently. */
function canonicalize(text: string): string | undefined {
  return isIP(text) === 0 || text.includes('%') ? undefined : ipaddr.process(text).toString()
}
