import { X509Certificate } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { describe, expect, test } from 'vitest'
import { createTrustedProxyCheck } from '../../src/kernel/client-address.ts'
import { createClientCertificateReader, type ClientCertificateHeader } from '../../src/kernel/client-certificate.ts'
import { createClientIdentity } from '../support/client-identity.ts'

const bank = createClientIdentity('bank')
const other = createClientIdentity('other')
const isTrustedProxy = createTrustedProxyCheck(['10.0.0.7'])

function read(header: ClientCertificateHeader, headers: Record<string, string>, remoteAddress = '10.0.0.7') {
  const request = { headers, socket: { remoteAddress } } as unknown as IncomingMessage
  return createClientCertificateReader(header, isTrustedProxy)(request)
}

describe('the certificate of a client that a proxy states', () => {
  test.each(['10.0.0.7', '::ffff:10.0.0.7'])(
    'a trusted proxy at %s can state it in the form of RFC 9440 or in URL-encoded PEM',
    (address) => {
      const { validFrom, validTo } = new X509Certificate(bank.certificate)
      const expected = {
        thumbprint: bank.thumbprint,
        notBefore: new Date(validFrom),
        notAfter: new Date(validTo),
      }
      expect(read('client-cert', { 'client-cert': bank.byteSequence }, address)).toEqual(expected)
      expect(read('x-client-cert', { 'x-client-cert': bank.escapedPem }, address)).toEqual(expected)
    },
  )

  test.each(['10.0.0.8', '127.0.0.1', '::1', ''])(
    'a client at %j, which is no trusted proxy, can state none',
    (address) => {
      const headers = {
        'client-cert': bank.byteSequence,
        'x-client-cert': bank.escapedPem,
        'x-forwarded-for': '10.0.0.7',
      }
      expect(read('client-cert', headers, address)).toBeUndefined()
      expect(read('x-client-cert', headers, address)).toBeUndefined()
    },
  )

  test('only the header that is configured is read, and none by default', () => {
    for (const value of [bank.byteSequence, bank.escapedPem]) {
      expect(read('client-cert', { 'x-client-cert': value })).toBeUndefined()
      expect(read('x-client-cert', { 'client-cert': value })).toBeUndefined()
    }
    for (const headers of [{ 'client-cert': bank.byteSequence }, { none: bank.byteSequence }])
      expect(read('none', headers)).toBeUndefined()
  })

  test.each<[string, string]>([
    ['nothing', ''],
    ['an empty byte sequence', '::'],
    ['bytes that are no certificate', ':AAAA:'],
    ['base64 without colons', bank.byteSequence.slice(1, -1)],
    ['a header that was sent twice', `${bank.byteSequence}, ${other.byteSequence}`],
    ['URL-encoded PEM', bank.escapedPem],
    ['half a certificate', `${bank.byteSequence.slice(0, 201)}:`],
  ])('%s in Client-Cert counts as no certificate', (_what, value) => {
    expect(read('client-cert', { 'client-cert': value })).toBeUndefined()
  })

  test.each<[string, string]>([
    ['nothing', ''],
    ['an invalid escape', '%zz'],
    ['a byte sequence', bank.byteSequence],
    ['a header that was sent twice', `${bank.escapedPem}, ${other.escapedPem}`],
    ['a chain of two', encodeURIComponent(`${bank.certificate}${other.certificate}`)],
    ['a private key', encodeURIComponent(bank.key)],
  ])('%s in X-Client-Cert counts as no certificate', (_what, value) => {
    expect(read('x-client-cert', { 'x-client-cert': value })).toBeUndefined()
  })
})
