import { generateKeyPairSync } from 'node:crypto'
import { SignJWT } from 'jose'
import { describe, expect, test } from 'vitest'
import { STANDARDS, type StandardId } from '../../src/connectors/index.ts'
import { toGatewayError } from '../../src/kernel/errors.ts'
import type { OutboundRequest } from '../../src/kernel/outbound-http.ts'
import { ok, scriptedBank } from '../support/scripted-bank.ts'
import { ADDRESS, common, EXAMPLES } from '../support/standards.ts'
import { completeSignIn, redirectOf } from '../support/sign-in.ts'

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
type EndpointName = Exclude<keyof typeof GOOD, 'issuer'>
/** The endpoints that the gateway uses from a consent's request to its end, and at a dynamic registration. */
const ENDPOINTS: Readonly<Record<StandardId, readonly EndpointName[]>> = {
  OBIE: ['token_endpoint', 'authorization_endpoint', 'jwks_uri', 'registration_endpoint'],
  BERLIN_GROUP: ['token_endpoint', 'authorization_endpoint'],
  FDX: ['token_endpoint', 'authorization_endpoint', 'pushed_authorization_request_endpoint'],
  CDR: Object.keys(GOOD).filter((name) => name !== 'issuer') as EndpointName[],
}
/** What is requested at the token endpoint: where consents are objects of the bank's API, the gateway needs tokens of its own. */
const GRANTS: Readonly<Record<StandardId, readonly string[]>> = {
  OBIE: ['authorization_code', 'client_credentials', 'refresh_token'],
  BERLIN_GROUP: ['authorization_code', 'client_credentials', 'refresh_token'],
  FDX: ['authorization_code', 'client_credentials', 'refresh_token'],
  CDR: ['authorization_code', 'refresh_token'],
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

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const JWKS = { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'bank', use: 'sig', alg: 'ES256' }] }
const signed = (claims: Record<string, unknown>): Promise<string> =>
  new SignJWT({ iss: ISSUER, aud: common.clientId, ...claims })
    .setProtectedHeader({ alg: 'ES256', kid: 'bank' })
    .setIssuedAt()
    .setExpirationTime('5m')
    .sign(privateKey)
const ID_TOKEN = await signed({ sub: 'person', nonce: 'n', openbanking_intent_id: 'c1' })
/** Signed for the standards whose authorization responses are JWTs. */
const CALLBACKS: Readonly<Record<StandardId, Record<string, string>>> = {
  OBIE: { response: await signed({ code: 'c', state: 's' }) },
  BERLIN_GROUP: { code: 'c', state: 's' },
  FDX: { code: 'c', state: 's' },
  CDR: { response: await signed({ code: 'c', state: 's' }) },
}

/** A bank that grants everything, with this metadata. */
function goodBank(standard: StandardId, metadata: object) {
  const isOpenId = standard === 'OBIE' || standard === 'CDR'
  return scriptedBank(({ url, method, body }: OutboundRequest) => {
    if (url.includes('/.well-known/')) return ok(metadata)
    if (url === GOOD.jwks_uri) return ok(JWKS)
    if (url === GOOD.pushed_authorization_request_endpoint)
      return { ...ok({ request_uri: 'urn:x', expires_in: 60 }), status: 201 }
    if (url === GOOD.registration_endpoint) return { ...ok({ client_id: 'x' }), status: 201 }
    if (url.includes('consents'))
      return method === 'DELETE' || method === 'PUT'
        ? { status: 204, headers: {}, text: '' }
        : ok({ Data: { ConsentId: 'c1', Status: 'AWAU' }, consentId: 'c1', consentStatus: 'valid', _links: {} })
    return ok({
      access_token: 't',
      token_type: 'Bearer',
      expires_in: 60,
      refresh_token: 'r',
      cdr_arrangement_id: 'c1',
      fdx_consent_id: 'c1',
      ...(isOpenId && new URLSearchParams(body).get('grant_type') === 'authorization_code' && { id_token: ID_TOKEN }),
    })
  })
}

interface Uses {
  /** Where the gateway went, without queries. */
  readonly sent: readonly string[]
  /** Where it sends customers, without queries. */
  readonly signIn: readonly string[]
  readonly grants: readonly string[]
  readonly failures: readonly string[]
}

/** Everything that the gateway does at the authorization server, with this metadata. */
async function usesOf(standard: StandardId, metadata: object, own: object = {}): Promise<Uses> {
  const { registration: schema, connect, registerDynamically } = STANDARDS[standard]
  const registration = schema(ADDRESS).parse({ ...EXAMPLES[standard].registration, ...own })
  const { tools, sent } = goodBank(standard, metadata)
  const bank = connect(registration, tools)
  const request = {
    expiresAt: new Date(Date.now() + 86_400_000),
    state: 's'.repeat(22),
    customer: { ip: '203.0.113.9', userAgent: null },
  }
  const resume = { consentRef: 'c1', state: 's', codeVerifier: 'v'.repeat(43), nonce: 'n' }
  const access = { consentRef: 'c1', accessToken: 't', refreshToken: 'r', expiresAt: new Date().toISOString() }
  const callback = new URL(`${tools.redirectUri}?${new URLSearchParams(CALLBACKS[standard]).toString()}`)
  const statement = `e30.${Buffer.from('{"software_id":"s"}').toString('base64url')}.e30`
  const failures: string[] = []
  const failed = (error: unknown): undefined => {
    const { code, definition } = toGatewayError(error)
    expect(definition.category).toBe('BANK')
    failures.push(code)
  }
  const signIn = await redirectOf(bank.requestConsent(request)).catch(failed)
  await completeSignIn(bank, callback, resume).catch(failed)
  await bank.refresh(access).catch(failed)
  await bank.revokeConsent({ consentRef: 'c1' }).catch(failed)
  await registerDynamically?.(registration, tools, statement).catch(failed)
  const grants = sent.map(({ body }) => new URLSearchParams(body).get('grant_type')).filter((grant) => grant !== null)
  return {
    sent: sent.map(({ url }) => withoutQuery(url)),
    signIn: signIn ? [withoutQuery(signIn.url)] : [],
    grants: [...new Set(grants)].sort(),
    failures,
  }
}
const withoutQuery = (url: string): string => url.split('?')[0]!
const addressesUsed = async (...request: Parameters<typeof usesOf>): Promise<string[]> => {
  const { sent, signIn } = await usesOf(...request)
  return [...sent, ...signIn]
}

describe.each(Object.keys(STANDARDS) as StandardId[])('the metadata of a bank that speaks %s', (standard) => {
  test('endpoints on the registered origin are used, so each refusal below is due to the address', async () => {
    const { sent, signIn, grants, failures } = await usesOf(standard, GOOD)
    expect(failures).toEqual([])
    expect(signIn).toEqual([GOOD.authorization_endpoint])
    const requested = ENDPOINTS[standard].filter((name) => name !== 'authorization_endpoint').map((name) => GOOD[name])
    const endpoints = sent.filter((url) => url.startsWith(ISSUER) && !url.includes('/.well-known/'))
    expect([...new Set(endpoints)].sort()).toEqual([...requested].sort())
    expect(grants).toEqual(GRANTS[standard])
  })

  test.each(ENDPOINTS[standard])(
    'the %s of the metadata cannot lead to another host or to a resource of the bank',
    async (name) => {
      for (const address of ELSEWHERE) {
        const { sent, signIn, failures } = await usesOf(standard, { ...GOOD, [name]: address })
        const used = [...sent, ...signIn]
        expect(used, address).not.toContain(address)
        expect(used, address).not.toContain(new URL(address).href)
        expect(failures, address).toContain('BANK_RESPONSE_INVALID')
      }
    },
  )

  test('the mutual-TLS endpoint aliases must be on the registered origins', async () => {
    const aliases = { token_endpoint: 'https://mtls.bank.example/token' }
    const metadata = { ...GOOD, mtls_endpoint_aliases: aliases }
    expect(await addressesUsed(standard, metadata, { mutualTls: true })).not.toContain(aliases.token_endpoint)
    const own = { mutualTls: true, authorizationOrigins: ['https://mtls.bank.example'] }
    expect(await addressesUsed(standard, metadata, own)).toContain(aliases.token_endpoint)
  })
})

test('a bank whose API starts at the root of a host cannot have its authorization server below it', async () => {
  const own = { apiBase: ISSUER }
  expect(await addressesUsed('OBIE', GOOD, own)).not.toContain(GOOD.token_endpoint)
  // Berlin Group paths all begin with a version, which leaves the rest of the host to others.
  expect(await addressesUsed('BERLIN_GROUP', GOOD, own)).toContain(GOOD.token_endpoint)
  const among = { ...GOOD, token_endpoint: `${ISSUER}/v1/accounts/a1/transactions` }
  expect(await addressesUsed('BERLIN_GROUP', among, own)).not.toContain(among.token_endpoint)
})

test('at such a bank, only endpoints that its registration states are used, and never resources', async () => {
  const endpoints = { authorization: `${ISSUER}/authorize`, token: `${ISSUER}/token`, jwks: `${ISSUER}/jwks` }
  expect(await addressesUsed('OBIE', GOOD, { apiBase: ISSUER, oauth: { endpoints } })).toEqual(
    expect.arrayContaining([endpoints.token, endpoints.authorization]),
  )
  const token = `${ISSUER}/accounts/a1/transactions`
  const own = { apiBase: ISSUER, oauth: { endpoints: { ...endpoints, token } } }
  expect(await addressesUsed('OBIE', GOOD, own)).not.toContain(token)
  expect(await addressesUsed('OBIE', GOOD, { oauth: { endpoints: { ...endpoints, token: RESOURCE } } })).not.toContain(
    RESOURCE,
  )
})

test('a stated token endpoint may be below the account API, and never where its operations are', async () => {
  const beside = `${common.apiBase}/v1/token`
  expect(await addressesUsed('BERLIN_GROUP', GOOD, { oauth: { tokenEndpoint: beside } })).toContain(beside)
  expect(await addressesUsed('BERLIN_GROUP', { ...GOOD, token_endpoint: beside })).not.toContain(beside)
  for (const path of [
    '/v1/accounts',
    '/v1/accounts/a1/transactions',
    '/v1/consents',
    '/V1//accounts/a1',
    '/v1/%61ccounts',
  ]) {
    const tokenEndpoint = `${common.apiBase}${path}`
    const { grants } = await usesOf('BERLIN_GROUP', GOOD, { oauth: { tokenEndpoint } })
    expect(grants, path).toEqual([])
  }
})

test('a sign-in page on an unregistered origin is not opened for a customer', async () => {
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
    return redirectOf(STANDARDS.BERLIN_GROUP.connect(registration, tools).requestConsent(request)).then(
      ({ url }) => url,
      (error: unknown) => toGatewayError(error).code,
    )
  }
  expect(await sample('https://attacker.example/sign-in')).toBe('BANK_RESPONSE_INVALID')
  expect(await sample('https://online.bank.example/sign-in')).toBe('BANK_RESPONSE_INVALID')
  expect(await sample('https://online.bank.example/sign-in', ['https://online.bank.example'])).toContain('/sign-in')
})
