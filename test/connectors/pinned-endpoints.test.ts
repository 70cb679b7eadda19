import { describe, expect, test } from 'vitest'
import { STANDARDS, type StandardId } from '../../src/connectors/index.ts'
import { asGatewayError } from '../../src/kernel/errors.ts'
import type { OutboundRequest } from '../../src/kernel/outbound-http.ts'
import { ok, scriptedBank } from '../support/scripted-bank.ts'
import { ADDRESS, common, EXAMPLES } from '../support/standards.ts'

const ISSUER = common.authorizationServer
const RESOURCE = `${common.apiBase}/accounts/a1/transactions`
const GOOD = {
  issuer: ISSUER,
  token_endpoint: `${ISSUER}/token`,
  authorization_endpoint: `${ISSUER}/authorize`,
  pushed_authorization_request_endpoint: `${ISSUER}/par`,
  jwks_uri: `${ISSUER}/jwks`,
  registration_endpoint: `${ISSUER}/register`,
  cdr_arrangement_revocation_endpoint: `${ISSUER}/revoke`,
}
/** Where a bank's metadata must never lead the gateway: to other hosts, and to the bank's own resources, however written. */
const ELSEWHERE = [
  'https://attacker.example/x',
  'https://auth.bank.example.attacker.example/x',
  'https://auth.bank.example./x',
  'https://auth.bank.example:8443/x',
  RESOURCE,
  common.apiBase,
  `${common.apiBase}/`,
  RESOURCE.replace('/base/', '//base//'),
  RESOURCE.replace('/base/', '/BASE/'),
  RESOURCE.replace('/base/', '/b%61se/'),
  RESOURCE.replace('/base/', '/base;x=1/'),
  RESOURCE.replace('/base/', '/other/../base/'),
  RESOURCE.replace('/base/', '/other/%2e%2e/base/'),
  RESOURCE.replace('/base/', '/%2fbase/'),
]

/** Everything that the gateway does at the authorization server, with this metadata; where it went, and where it sends customers. */
async function addressesUsed(standard: StandardId, metadata: object, own: object = {}): Promise<string[]> {
  const { registration: schema, connect, introduce } = STANDARDS[standard]
  const registration = schema(ADDRESS).parse({ ...EXAMPLES[standard].registration, ...own })
  const { tools, sent } = scriptedBank((request: OutboundRequest) => {
    if (request.url.includes('/.well-known/')) return ok(metadata)
    if (request.url.includes('consents'))
      return ok({ Data: { ConsentId: 'c1' }, consentId: 'c1', consentStatus: 'received', _links: {} })
    return ok({ access_token: 't', token_type: 'Bearer', request_uri: 'urn:x', expires_in: 60, client_id: 'x' })
  })
  const bank = connect(registration, tools)
  const request = {
    expiresAt: new Date(Date.now() + 86_400_000),
    state: 's'.repeat(22),
    customer: { ip: '203.0.113.9', userAgent: null },
  }
  const resume = { consentRef: 'c1', state: 's', codeVerifier: 'v'.repeat(43), nonce: 'n' }
  const access = { consentRef: 'c1', accessToken: 't', refreshToken: 'r', expiresAt: new Date().toISOString() }
  const signIn = await bank.requestConsent(request).then(({ url }) => [url], refusedOnly)
  await bank.completeSignIn(new URL(`${tools.redirectUri}?code=c&state=s`), resume).catch(refusedOnly)
  await bank.refresh(access).catch(refusedOnly)
  await bank.revokeConsent('c1').catch(refusedOnly)
  await introduce?.(registration, tools, `e30.${Buffer.from('{"software_id":"s"}').toString('base64url')}.e30`).catch(
    refusedOnly,
  )
  return [...sent.map(({ url }) => url), ...signIn].map((url) => url.split('?')[0]!)
}
const refusedOnly = (error: unknown): string[] => {
  expect(asGatewayError(error).facts.category).toBe('BANK')
  return []
}

describe.each(Object.keys(STANDARDS) as StandardId[])('the metadata of a bank that speaks %s', (standard) => {
  test('endpoints on the registered origin are used, so that the refusals below have the address as their reason', async () => {
    expect(await addressesUsed(standard, GOOD)).toContain(GOOD.token_endpoint)
  })

  test.each(Object.keys(GOOD).filter((name) => name !== 'issuer'))(
    'its %s leads to no other host and to no resource of the bank, whatever it says at run time',
    async (name) => {
      for (const address of ELSEWHERE) {
        const used = await addressesUsed(standard, { ...GOOD, [name]: address })
        expect(used, address).not.toContain(address)
        expect(used, address).not.toContain(new URL(address).href)
      }
    },
  )

  test('aliases for mutual TLS are held to the same origins', async () => {
    const aliases = { token_endpoint: 'https://mtls.bank.example/token' }
    const metadata = { ...GOOD, mtls_endpoint_aliases: aliases }
    expect(await addressesUsed(standard, metadata, { mutualTls: true })).not.toContain(aliases.token_endpoint)
    const own = { mutualTls: true, authorizationOrigins: ['https://mtls.bank.example'] }
    expect(await addressesUsed(standard, metadata, own)).toContain(aliases.token_endpoint)
  })
})

test('a bank that begins its API at the root of a host cannot have its authorization server among the resources', async () => {
  const own = { apiBase: ISSUER }
  expect(await addressesUsed('OBIE', GOOD, own)).not.toContain(GOOD.token_endpoint)
  // Berlin Group paths all begin with a version, which leaves the rest of the host to others.
  expect(await addressesUsed('BERLIN_GROUP', GOOD, own)).toContain(GOOD.token_endpoint)
  const among = { ...GOOD, token_endpoint: `${ISSUER}/v1/accounts/a1/transactions` }
  expect(await addressesUsed('BERLIN_GROUP', among, own)).not.toContain(among.token_endpoint)
})

test('a page to sign in at that lies on no registered origin is not opened to a customer', async () => {
  const sample = (href: string, authorizationOrigins: string[] = []) => {
    const registration = STANDARDS.BERLIN_GROUP.registration(ADDRESS).parse({
      ...EXAMPLES.BERLIN_GROUP.registration,
      sca: 'REDIRECT',
      authorizationOrigins,
    })
    const { tools } = scriptedBank(({ url }) => {
      if (url.includes('/.well-known/')) return ok(GOOD)
      if (url.includes('/token')) return ok({ access_token: 't', token_type: 'Bearer' })
      return ok({ consentId: 'c1', consentStatus: 'received', _links: { scaRedirect: { href } } })
    })
    const request = { expiresAt: new Date(), state: 's', customer: { ip: '203.0.113.9', userAgent: null } }
    return STANDARDS.BERLIN_GROUP.connect(registration, tools)
      .requestConsent(request)
      .then(
        ({ url }) => url,
        (error: unknown) => asGatewayError(error).code,
      )
  }
  expect(await sample('https://attacker.example/sign-in')).toBe('BANK_ANSWER_INVALID')
  expect(await sample('https://online.bank.example/sign-in')).toBe('BANK_ANSWER_INVALID')
  expect(await sample('https://online.bank.example/sign-in', ['https://online.bank.example'])).toContain('/sign-in')
})
