import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { GatewayError } from '../../src/kernel/errors.ts'
import type { OutboundRequest } from '../../src/kernel/outbound-http.ts'
import { createRequestSigner, signatureMembers } from '../../src/connectors/http-signatures.ts'
import { berlinGroupScript, created, REQUEST, status } from '../support/berlin-group-script.ts'
import { createAuthority, newKey } from '../support/certificate-authority.ts'
import { findSignatureFaults } from '../support/conformance/http-signature.ts'
import { ACCESS, ok, scriptedBank } from '../support/scripted-bank.ts'

const authority = await createAuthority('C=DE, O=Trust Service, CN=QSeal CA 1')
const oddAuthority = await createAuthority('C=DE, O=Trust \\"Service\\"\\, Inc., CN=QSeal CA 1')
const seal = { PS256: newKey('rsa'), ES256: newKey('ec') }
const SUBJECT = 'C=DE, O=Guichet, 2.5.4.97=PSDDE-BAFIN-123456, CN=guichet'
const credentialsOf = async (algorithm: keyof typeof seal, issuer = authority) => {
  const key: KeyObject = seal[algorithm]
  return {
    signingKey: {
      ...key.export({ format: 'jwk' }),
      kty: String(key.export({ format: 'jwk' }).kty),
      kid: 'k',
      alg: algorithm,
    },
    signingCertificate: (await issuer.issueFor(key, { subject: SUBJECT })).leaf,
  }
}
const NO_TOKEN = { clientToken: false, authorizationServer: undefined, sca: 'REDIRECT' }
const signed = (signatures: object, algorithm: keyof typeof seal = 'PS256') => ({
  ...NO_TOKEN,
  mutualTls: true,
  certificates: { signing: 'ISSUED' },
  oauth: { signingAlgorithm: algorithm },
  customerIdentification: { types: [{ value: 'T', name: 'T' }] },
  authorizationOrigins: ['https://www.bank.example'],
  signatures,
})
const RESPONSES = {
  'POST /v1/consents': created({ _links: { scaRedirect: { href: 'https://www.bank.example/1' } } }),
  'GET /v1/consents/c-1/status': status('valid'),
  'GET /v1/accounts': ok({ accounts: [] }),
  'DELETE /v1/consents/c-1': { ...ok(''), status: 204 },
}
/** The faults that an independent bank finds in a request. */
const faultsOf = ({ method, url, headers, body = '' }: OutboundRequest) =>
  findSignatureFaults(
    { method, path: new URL(url).pathname + new URL(url).search, headers: { ...headers }, body: body },
    { trustAnchors: [authority.root] },
  )

describe('requests that a Berlin Group bank wants signed', () => {
  test.each([
    ['rsa-sha256', 'PS256', {}],
    ['rsa-sha512', 'PS256', { digest: 'SHA-512', keyId: 'SERIAL_AND_REVERSED_ISSUER' }],
    ['ecdsa-sha256', 'ES256', { headers: ['(request-target)', 'digest', 'x-request-id', 'date', 'tpp-redirect-uri'] }],
  ] as const)('every request with %s is accepted by an independent bank', async (algorithm, key, rules) => {
    const { bank, back, sent } = berlinGroupScript(
      signed({ algorithm, ...rules }, key),
      RESPONSES,
      await credentialsOf(key),
    )
    await back(await bank.requestConsent(REQUEST), '?state=st-1')
    await bank.accounts(ACCESS, null)
    await bank.revokeConsent({ consentRef: 'c-1' })
    expect(sent.map(({ method }) => method)).toEqual(['POST', 'GET', 'GET', 'DELETE'])
    expect(sent.flatMap(faultsOf)).toEqual([])
    // A request without a body has the digest of the empty one.
    const hash = 'digest' in rules ? 'sha512' : 'sha256'
    expect(sent[1]!.headers!['digest']).toContain(createHash(hash).update('').digest('base64'))
  })

  test('a changed body, header or path is no longer signed', async () => {
    const rules = { headers: ['(request-target)', 'digest', 'x-request-id', 'date', 'tpp-redirect-uri'] }
    const { bank, sent } = berlinGroupScript(signed(rules), RESPONSES, await credentialsOf('PS256'))
    await bank.requestConsent(REQUEST)
    const request = sent[0]!
    expect(faultsOf({ ...request, body: '{}' })).toEqual(['digest is wrong'])
    expect(faultsOf({ ...request, url: `${request.url}/2` })).toEqual(['SIGNATURE_INVALID'])
    const headers = { ...request.headers, 'tpp-redirect-uri': 'https://evil.example' }
    expect(faultsOf({ ...request, headers })).toEqual(['SIGNATURE_INVALID'])
  })

  test('no request is sent before there is a signing certificate', async () => {
    const { bank, sent } = berlinGroupScript(signed({}), RESPONSES)
    await expect(bank.requestConsent(REQUEST)).rejects.toMatchObject({ code: 'BANK_REFUSED' })
    expect(sent).toEqual([])
  })

  test('neither a quote in the name of an issuer nor a line break in a value adds to what is signed', async () => {
    const { tools } = scriptedBank(() => ok({}))
    const rules = signatureMembers.parse({})
    const credentials = await credentialsOf('PS256', oddAuthority)
    const sign = createRequestSigner(rules, { clock: tools.clock, credentials }, undefined)
    const request = { method: 'GET', url: 'https://api.bank.example/v1/accounts', body: '' }
    const { signature } = sign({ ...request, headers: { 'x-request-id': '1' } })
    expect(signature).toMatch(/^keyId="[^"]*%22[^"]*",algorithm="rsa-sha256",headers="[a-z -]+",signature="[^"]+"$/)
    for (const value of ['a\r\ndigest: x', 'a\nb', 'a\0'])
      expect(() => sign({ ...request, headers: { 'psu-id': value } }), value).toThrow(GatewayError)
  })

  test('a bank without tokens can have the signature in its authorization header, and name it by draft 12', async () => {
    const { tools } = scriptedBank(() => ok({}))
    const rules = signatureMembers.parse({ draft: 12, placement: 'AUTHORIZATION', keyId: 'CLIENT_ID' })
    const sign = createRequestSigner(
      rules,
      { clock: tools.clock, credentials: await credentialsOf('PS256') },
      'guichet',
    )
    const headers = sign({ method: 'GET', url: 'https://api.bank.example/v1', headers: {}, body: '' })
    expect(headers['authorization']).toMatch(/^Signature keyId="guichet",algorithm="hs2019",headers="digest date",/)
    expect(headers).not.toHaveProperty('signature')
  })

  test('an Ed25519 key signs, too', async () => {
    const { tools } = scriptedBank(() => ok({}))
    const { privateKey } = generateKeyPairSync('ed25519')
    const signingKey = { ...privateKey.export({ format: 'jwk' }), kty: 'OKP', kid: 'k', alg: 'EdDSA' }
    const credentials = { ...(await credentialsOf('PS256')), signingKey }
    const sign = createRequestSigner(
      signatureMembers.parse({ algorithm: 'ed25519' }),
      { clock: tools.clock, credentials },
      undefined,
    )
    const { signature } = sign({ method: 'GET', url: 'https://api.bank.example/v1', headers: {}, body: '' })
    expect(/signature="([^"]+)"/.exec(signature!)?.[1]).toHaveLength(88)
  })
})

describe('the profile of a Berlin Group bank', () => {
  test('paths have the version and the name for new consents that the bank states', async () => {
    const paths = { version: 'v2', newConsents: 'bank-offered-consents' }
    const { bank, sent } = berlinGroupScript(
      { ...NO_TOKEN, sca: 'DECOUPLED', paths },
      {
        'POST /v2/bank-offered-consents': created({}),
        'GET /v2/accounts': ok({ accounts: [] }),
      },
    )
    await bank.requestConsent(REQUEST)
    await bank.accounts(ACCESS, null)
    expect(sent.map(({ url }) => new URL(url).pathname)).toEqual([
      '/base/v2/bank-offered-consents',
      '/base/v2/accounts',
    ])
  })

  test.each([
    ['paths.version', { paths: { version: 'v1/accounts/1/payments' } }],
    ['paths.version', { paths: { version: '../v1' } }],
    ['paths.newConsents', { paths: { newConsents: 'payments' } }],
    ['clientIdHeader', { clientIdHeader: 'authorization' }],
    ['queryParameters', { queryParameters: { withBalance: 'true' } }],
    ['queryParameters', { queryParameters: { dateFrom: '2026-01-01' } }],
    ['queryParameters.include', { queryParameters: { include: 'transactions' } }],
    ['queryParameters.transactions', { queryParameters: { transactions: 'true' } }],
    ['queryParameters.scope', { queryParameters: { scope: 'x' } }],
    ['signatures.headers', { signatures: { headers: ['date'] } }],
    ['customerIdentification.label', { customerIdentification: { label: 'PASSWORD' } }],
    ['customerIdentification.types.0.value', { customerIdentification: { types: [{ value: 'a\nb', name: 'A' }] } }],
    ['waiting.customerSeconds', { waiting: { customerSeconds: 301 } }],
    ['needsPassword', { sca: 'EMBEDDED', needsPassword: true }],
    ['authorizationServer', { authorizationServer: undefined }],
    ['authorizationServer', { authorizationServer: undefined, clientToken: false }],
    ['oauth.scope', { sca: 'OAUTH_PRE_STEP' }],
    ['oauth.usesMetadataLink', { oauth: { usesMetadataLink: true } }],
    ['paths.newConsents', { paths: { newConsents: 'bank-offered-consents' }, consentAccess: 'ALL_PSD2' }],
    ['certificates.signing', { signatures: {}, oauth: { signingAlgorithm: 'PS256' } }],
    ['oauth.signingAlgorithm', { signatures: {}, certificates: { signing: 'ISSUED' } }],
    [
      'signatures.placement',
      {
        signatures: { placement: 'AUTHORIZATION' },
        certificates: { signing: 'ISSUED' },
        oauth: { signingAlgorithm: 'PS256' },
      },
    ],
  ])('a registration is refused at %s if it contradicts itself or leaves the allowed values: %j', (path, members) => {
    let faults: string[] = []
    try {
      berlinGroupScript(members, {})
    } catch (error) {
      faults = (error as GatewayError).faults.map((fault) => fault.path.slice(1).join('.'))
    }
    expect(faults).toContain(path)
  })

  test('a bank that types the address as IPv4 gets no other: no sign-in begins, and reads are unattended', async () => {
    const customer = { ip: '2001:db8::7', userAgent: 'Browser/1' }
    const { bank, to } = berlinGroupScript({ ...NO_TOKEN, sca: 'DECOUPLED', customerIp: 'IPV4' }, RESPONSES)
    await expect(bank.requestConsent({ ...REQUEST, customer })).rejects.toMatchObject({ code: 'BANK_REFUSED' })
    expect(to('POST /v1/consents')).toEqual([])
    await bank.accounts(ACCESS, customer)
    await bank.accounts(ACCESS, { ...customer, ip: '203.0.113.9' })
    const [without, with4] = to('GET /v1/accounts').map(({ headers }) => headers!)
    expect(Object.keys(without!).filter((name) => name.startsWith('psu-'))).toEqual([])
    expect(with4).toMatchObject({ 'psu-ip-address': '203.0.113.9', 'psu-user-agent': 'Browser/1' })
  })

  test('the API gateway of a hub gets the client id in its own header', async () => {
    const { bank, to } = berlinGroupScript({ ...NO_TOKEN, clientIdHeader: 'x-ibm-client-id' }, RESPONSES)
    await bank.accounts(ACCESS, null)
    expect(to('GET /v1/accounts')[0]!.headers).toMatchObject({ 'x-ibm-client-id': 'guichet' })
  })

  test('accounts without an id are known by number and currency, and their balances come from the list', async () => {
    const balance = (amount: string) => [{ balanceType: 'expected', balanceAmount: { amount, currency: 'EUR' } }]
    const iban = 'DE89370400440532013000'
    const list = (isFull: boolean) =>
      ok({
        accounts: [
          { iban, currency: 'EUR', ...(isFull && { balances: balance('1.00') }) },
          { iban, currency: 'USD', ...(isFull && { balances: balance('2.00') }) },
          { resourceId: 'a3', iban, currency: 'GBP', ...(isFull && { balances: balance('3.00') }) },
          { currency: 'EUR', name: 'no number' },
        ],
      })
    const { bank, to } = berlinGroupScript(
      { ...NO_TOKEN, balancesWithAccounts: true },
      { 'GET /v1/accounts': list(false), 'GET /v1/accounts?withBalance=true': list(true) },
    )
    const refs = (await bank.accounts(ACCESS, null)).map(({ ref }) => ref)
    expect(new Set(refs).size).toBe(3)
    expect(refs[2]).toBe('a3')
    expect(refs.join()).not.toContain('370400440532')
    const amounts = await Promise.all(
      refs.map(async (ref) => (await bank.balances(ACCESS, ref, null)).balances[0]?.amount),
    )
    expect(amounts).toEqual(['1.00', '2.00', '3.00'])
    expect(await bank.balances(ACCESS, 'unknown', null)).toMatchObject({ balances: [] })
    const bulk = await bank.bulkBalances!(ACCESS, refs.slice(0, 2), null)
    expect([...bulk.keys()]).toEqual(refs.slice(0, 2))
    expect(to('GET /v1/accounts?withBalance=true')).toHaveLength(5)
    // The next list has the same references.
    expect((await bank.accounts(ACCESS, null)).map(({ ref }) => ref)).toEqual(refs)
  })
})
