import { BlockList, isIP } from 'node:net'
import ipaddr from 'ipaddr.js'

/** Whether a proxy of ours has this address, which is in canonical form. */
export type IsTrustedProxy = (address: string) => boolean

/** Takes addresses and ranges in CIDR notation; both must be valid. */
export function createTrustedProxies(ranges: readonly string[]): IsTrustedProxy {
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
export function clientAddress(
  peer: string | undefined,
  forwardedFor: string | undefined,
  isTrusted: IsTrustedProxy,
): string {
  let nearest = canonical((peer ?? '').replace(/%.*$/, '')) ?? 'unknown'
  let end = forwardedFor?.length ?? 0
  while (end > 0 && isTrusted(nearest)) {
    const comma = forwardedFor!.lastIndexOf(',', end - 1)
    const hop = hopOf(forwardedFor!.slice(comma + 1, end).trim())
    if (hop === undefined) return nearest
    nearest = hop
    end = comma
  }
  return nearest
}

/** Some proxies add the port. */
const WITH_PORT = /^(?:\[(?<v6>[^\]]+)\]|(?<v4>[\d.]+))(?::(?<port>\d{1,5}))?$/

function hopOf(text: string): string | undefined {
  const { v6, v4, port } = WITH_PORT.exec(text)?.groups ?? {}
  if (Number(port ?? 0) > 65_535) return undefined
  if (v6 !== undefined) return isIP(v6) === 6 ? canonical(v6) : undefined
  return canonical(v4 ?? text)
}

/** Strict in what it reads: `ipaddr.js` alone also takes `127.1`, octal and hexadecimal, which other software reads differently. */
function canonical(text: string): string | undefined {
  return isIP(text) === 0 || text.includes('%') ? undefined : ipaddr.process(text).toString()
}
