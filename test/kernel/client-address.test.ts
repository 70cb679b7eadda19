import { describe, expect, test } from 'vitest'
import { resolveClientAddress, createTrustedProxyCheck } from '../../src/kernel/client-address.ts'

const isTrusted = createTrustedProxyCheck(['127.0.0.1', '10.0.0.0/8', '2001:db8:aa::/48'])
const found = (peer: string | undefined, header?: string): string => resolveClientAddress(peer, header, isTrusted)

/** The peer of the connection is the proxy 10.0.0.1; the last hop of each header is what that proxy saw. */
const HEADERS: readonly (readonly [name: string, header: string, address: string])[] = [
  ['one address', '203.0.113.9', '203.0.113.9'],
  ['an address that the sender wrote before it', '198.51.100.7, 203.0.113.9', '203.0.113.9'],
  ['a trusted address that the sender wrote before it', '10.0.0.7, 203.0.113.9', '203.0.113.9'],
  ['a second proxy of ours', '198.51.100.7, 203.0.113.9, 10.9.9.9', '203.0.113.9'],
  ['a second proxy of ours with IPv6', '203.0.113.9, 2001:db8:aa::1', '203.0.113.9'],
  ['a port', '203.0.113.9:61234', '203.0.113.9'],
  ['brackets', '[2001:db8::9]', '2001:db8::9'],
  ['brackets and a port', '[2001:db8::9]:443', '2001:db8::9'],
  ['IPv6 in another spelling', '2001:0DB8:0:0::0009', '2001:db8::9'],
  ['IPv4 mapped to IPv6', '::ffff:203.0.113.9', '203.0.113.9'],
  ['IPv4 mapped to IPv6 in hexadecimal', '::ffff:cb00:7109', '203.0.113.9'],
  ['a proxy of ours mapped to IPv6', '203.0.113.9, ::ffff:10.9.9.9', '203.0.113.9'],
  ['spaces and tabs', ' \t 203.0.113.9 \t', '203.0.113.9'],
]

/** A hop that the proxy could not name: what stands before it was written by nobody whom we believe. */
const UNKNOWN_HOPS = [
  'unknown',
  '_hidden',
  '',
  ' ',
  '203.0.113',
  '203.0.113.9.1',
  '203.0.113.09',
  '0xcb.0.113.9',
  '3405803785',
  '203.0.113.9:',
  '203.0.113.9:port',
  '203.0.113.9:99999',
  '203.0.113.9 10.0.0.1',
  '[203.0.113.9]',
  '[2001:db8::9',
  '2001:db8::9]',
  '[2001:db8::9]443',
  'fe80::1%eth0',
  '"203.0.113.9"',
  'for=203.0.113.9',
]

describe('the address of a client', () => {
  test.each(HEADERS)('the address of a client is read from a header with %s', (_name, header, address) => {
    expect(found('10.0.0.1', header)).toBe(address)
  })

  test.each(UNKNOWN_HOPS)('the client address is not read past the hop "%s"', (hop) => {
    expect(found('10.0.0.1', `198.51.100.7, ${hop}`)).toBe('10.0.0.1')
    expect(found('10.0.0.1', `198.51.100.7, ${hop}, 10.9.9.9`)).toBe('10.9.9.9')
  })

  test.each([
    ['a stranger', '203.0.113.9', '203.0.113.9'],
    ['a stranger mapped to IPv6', '::ffff:203.0.113.9', '203.0.113.9'],
    ['a stranger beside the trusted network', '11.0.0.1', '11.0.0.1'],
    ['a stranger of a link', 'fe80::1%eth0', 'fe80::1'],
    ['nobody any more', undefined, 'unknown'],
  ])('the address of a client is that of the connection if it comes from %s', (_name, peer, address) => {
    expect(found(peer, '198.51.100.7')).toBe(address)
  })

  test('the client address is that of the furthest proxy if every hop is a trusted proxy or none is named', () => {
    expect(found('127.0.0.1', '10.2.2.2, 10.1.1.1')).toBe('10.2.2.2')
    expect(found('127.0.0.1')).toBe('127.0.0.1')
    expect(found('::ffff:127.0.0.1', '203.0.113.9')).toBe('203.0.113.9')
  })

  test('the client address is found in a header of any length without reading past the first untrusted hop', () => {
    const forged = Array.from({ length: 500 }, (_, index) => `10.0.${index % 256}.1`).join(',')
    expect(found('10.0.0.1', `198.51.100.7,${forged},203.0.113.9`)).toBe('203.0.113.9')
  })
})
