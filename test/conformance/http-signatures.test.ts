import { createHash, createPublicKey, sign, X509Certificate, type KeyObject } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { createAuthority, newKey } from '../support/certificate-authority.ts'
import {
  findSignatureFaults,
  parseSignature,
  verifySignature,
  type SignedRequest,
} from '../support/conformance/http-signature.ts'

/** The example of draft-cavage-http-signatures-10, appendix C: its key, its request and the signatures of C.1 and C.3. */
const DRAFT_KEY = createPublicKey(`-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDCFENGw33yGihy92pDjZQhl0C3
6rPJj+CvfSC8+q28hxA161QFNUd13wuCTUcq0Qd2qsBe/2hFyc2DCJJg0h1L78+6
Z4UMR7EOcpfdUE9Hf3m/hs+FUR45uBJeDK1HSFHD8bHKD6kv8FPGfJTotc+2xjJw
oYi+1hqp1fIekaxsyQIDAQAB
-----END PUBLIC KEY-----`)
const DRAFT_REQUEST: SignedRequest = {
  method: 'POST',
  path: '/foo?param=value&pet=dog',
  headers: {
    host: 'example.com',
    date: 'Sun, 05 Jan 2014 21:31:40 GMT',
    'content-type': 'application/json',
    digest: 'SHA-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=',
    'content-length': '18',
  },
  body: '{"hello": "world"}',
}
const DRAFT_SIGNATURES = [
  'keyId="Test",algorithm="rsa-sha256",signature="SjWJWbWN7i0wzBvtPl8rbASWz5xQW6mcJmn+ibttBqtifLN7Sazz6m79cNfwwb8DMJ5cou1s7uEGKKCs+FLEEaDV5lp7q25WqS+lavg7T8hc0GppauB6hbgEKTwblDHYGEtbGmtdHgVCk9SuS13F0hZ8FD0k/5OxEPXe5WozsbM="',
  'keyId="Test",algorithm="rsa-sha256",headers="(request-target) host date content-type digest content-length",signature="vSdrb+dS3EceC9bcwHSo4MlyKS59iFIrhgYkz8+oVLEEzmYZZvRs8rgOp+63LEM3v+MFHB32NfpB2bEKBIvB1q52LaEUHFv120V01IL+TAD48XaERZFukWgHoBTLMhYS2Gb51gWxpeIq8knRmPnYePbF5MOkR0Zkly4zKH7s1dE="',
]

const authority = await createAuthority('C=DE, O=Trust Service, CN=QSeal CA 1')
const sealKeys = { rsa: newKey('rsa'), ec: newKey('ec') }
const SUBJECT = 'C=DE, O=Guichet, 2.5.4.97=PSDDE-BAFIN-123456, CN=guichet'
const body = JSON.stringify({ recurringIndicator: true })
const digestOf = (text: string): string => `SHA-256=${createHash('sha256').update(text).digest('base64')}`

/** A request that is signed by hand, so that the checks of the bank are not those of the connector. */
async function signedRequest(key: KeyObject, algorithm: string, names: readonly string[]): Promise<SignedRequest> {
  const { leaf: certificate } = await authority.issueFor(key, { subject: SUBJECT })
  const headers: Record<string, string> = {
    digest: digestOf(body),
    'x-request-id': '99391c7e-ad88-49ec-a2ad-99ddcb1f7721',
    date: 'Sun, 06 Aug 2017 15:02:37 GMT',
    'tpp-redirect-uri': 'https://gateway.example/bank/callback',
  }
  const text = names.map((name) => `${name}: ${headers[name] ?? ''}`).join('\n')
  const { raw, serialNumber } = new X509Certificate(certificate)
  const keyId = `SN=${serialNumber},CA=CN=QSeal CA 1,O=Trust Service,C=DE`
  const signature = sign('sha256', Buffer.from(text), key).toString('base64')
  return {
    method: 'POST',
    path: '/psd2/v1/consents',
    headers: {
      ...headers,
      'tpp-signature-certificate': raw.toString('base64'),
      signature: `keyId="${keyId}",algorithm="${algorithm}",headers="${names.join(' ')}",signature="${signature}"`,
    },
    body,
  }
}

describe('the signature checks of an independent Berlin Group bank', () => {
  const rules = { trustAnchors: [authority.root] }
  const ALL = ['digest', 'x-request-id', 'date', 'tpp-redirect-uri']

  test('the signatures of the draft itself are valid, and those of a changed request are not', () => {
    for (const text of DRAFT_SIGNATURES) {
      const parameters = parseSignature(text)!
      expect(verifySignature(DRAFT_REQUEST, parameters, DRAFT_KEY)).toBe(true)
      const changed = { ...DRAFT_REQUEST, headers: { ...DRAFT_REQUEST.headers, date: 'Sun, 05 Jan 2014 21:31:41 GMT' } }
      expect(verifySignature(changed, parameters, DRAFT_KEY)).toBe(false)
    }
  })

  test.each([
    ['rsa', 'rsa-sha256'],
    ['ec', 'ecdsa-sha256'],
  ] as const)(
    'a request that is signed with a qualified certificate of an %s key is accepted',
    async (type, algorithm) => {
      expect(findSignatureFaults(await signedRequest(sealKeys[type], algorithm, ALL), rules)).toEqual([])
    },
  )

  test('every fault of a signed request is found', async () => {
    const request = await signedRequest(sealKeys.rsa, 'rsa-sha256', ALL)
    const faultsOf = (changes: Partial<SignedRequest>, headers: Record<string, string | undefined> = {}) =>
      findSignatureFaults({ ...request, ...changes, headers: { ...request.headers, ...headers } }, rules)
    expect(faultsOf({ body: '{}' })).toEqual(['digest is wrong'])
    expect(faultsOf({}, { signature: undefined })).toEqual(['SIGNATURE_MISSING'])
    expect(faultsOf({}, { 'tpp-redirect-uri': 'https://other.example' })).toEqual(['SIGNATURE_INVALID'])
    expect(faultsOf({}, { 'psu-id': 'anna' })).toEqual(['psu-id is not signed'])
    expect(faultsOf({}, { 'tpp-signature-certificate': 'AAAA' })).toEqual(['FORMAT_ERROR'])
    expect(faultsOf({}, { signature: request.headers['signature']!.replace(/SN=\w+/, 'SN=77') })[0]).toMatch(
      /^keyId SN=77/,
    )
    const stranger = await createAuthority('C=DE, O=Trust Service, CN=QSeal CA 1')
    expect(findSignatureFaults(request, { trustAnchors: [stranger.root] })).toEqual(['CERTIFICATE_INVALID'])
    const partial = await signedRequest(sealKeys.rsa, 'rsa-sha256', ['digest', 'date'])
    expect(findSignatureFaults(partial, rules)).toEqual([
      'x-request-id is not signed',
      'tpp-redirect-uri is not signed',
    ])
  })
})
