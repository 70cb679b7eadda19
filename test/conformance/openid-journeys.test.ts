import { createPublicKey, type KeyObject } from 'node:crypto'
import { exportJWK } from 'jose'
import type { ClientMetadata } from 'oidc-provider'
import { afterEach, describe, expect, test } from 'vitest'
import { createUrlSchema, STANDARDS, type StandardId } from '../../src/connectors/index.ts'
import { createOutboundHttp } from '../../src/kernel/outbound-http.ts'
import { newKey } from '../support/conformance/certificate-authority.ts'
import { startOpenIdProvider, type ApiCall } from '../support/conformance/openid-provider.ts'
import { BERLIN_GROUP_CONSENT, type ProviderKind } from '../support/conformance/provider-settings.ts'
import { createReferenceClient } from '../support/conformance/reference-client.ts'
import { scriptedBank } from '../support/scripted-bank.ts'
import { codeOf, common, EXAMPLES } from '../support/standards.ts'
import { completeSignIn, redirectOf } from '../support/sign-in.ts'

const REDIRECT_URI = 'https://gateway.example/bank/callback'
const KINDS: Readonly<Record<StandardId, ProviderKind>> = {
  OBIE: 'UK',
  CDR: 'CDR',
  FDX: 'FDX',
  BERLIN_GROUP: 'BERLIN_GROUP',
}
const REQUEST = {
  expiresAt: new Date('2027-01-31T00:00:00Z'),
  state: 'state-1',
  customer: { ip: '198.51.100.7', userAgent: 'Firefox' },
}
const closers: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

interface Variant {
  readonly standard: StandardId
  /** The members of `oauth` in the registration. */
  readonly oauth: Record<string, unknown>
  /** Further members of the registration. */
  readonly registration?: Record<string, unknown>
  /** What the bank has registered of the client, beside its keys and its certificate. */
  readonly client?: Partial<ClientMetadata>
  readonly clientSecret?: string
  readonly queryResponses?: boolean
  /** Whether the gateway has a certificate of the bank's authority. */
  readonly hasCertificate?: boolean
}

/** A connector with real HTTP, and the independent provider that it signs in at. */
async function connectTo({ standard, hasCertificate = true, queryResponses = false, ...variant }: Variant) {
  const algorithm = (variant.oauth['signingAlgorithm'] as string | undefined) ?? 'ES256'
  const signing = newKey(algorithm === 'PS256' ? 'rsa' : 'ec')
  const transport = newKey('ec')
  const calls: ApiCall[] = []
  const provider = await startOpenIdProvider(
    KINDS[standard],
    {
      client_id: 'guichet',
      redirect_uris: [REDIRECT_URI],
      jwks: { keys: [{ ...(await exportJWK(createPublicKey(signing))), kid: 'k', use: 'sig' }] },
      ...variant.client,
    },
    { queryResponses, api: (call) => (calls.push(call), respondAs(standard, call)) },
  )
  const certificate = provider.authority.issue({ C: 'GB', O: 'Guichet', CN: 'guichet' }, createPublicKey(transport))
  const http = createOutboundHttp({ allowLoopback: true, allowPlainHttp: false }, undefined, {
    caCertificates: provider.authority.certificate,
    ...(hasCertificate && { clientIdentity: { certificate, key: toPem(transport) } }),
  })
  const customer = createReferenceClient({ authority: provider.authority.certificate })
  closers.push(
    () => http.close(),
    () => customer.close(),
    () => provider.close(),
  )
  const { tools } = scriptedBank(() => {
    throw new Error('the real client is used')
  })
  const registration = STANDARDS[standard].registration(createUrlSchema(() => undefined)).parse({
    ...EXAMPLES[standard].registration,
    ...common,
    authorizationServer: provider.issuer,
    apiBase: `${provider.issuer}/api`,
    mutualTls: hasCertificate,
    ...variant.registration,
    oauth: variant.oauth,
  })
  const bank = STANDARDS[standard].connect(registration, {
    ...tools,
    http,
    credentials: {
      signingKey: {
        ...(await exportJWK(signing)),
        kty: algorithm === 'PS256' ? 'RSA' : 'EC',
        kid: 'k',
        alg: algorithm,
      },
      ...(variant.clientSecret !== undefined && { clientSecret: variant.clientSecret }),
    },
  })
  return {
    bank,
    provider,
    calls,
    /** Signs the customer in. The gateway's page turns a fragment into a query. */
    async signIn() {
      const { url, pending } = await redirectOf(bank.requestConsent(REQUEST))
      const callback = await customer.signIn(url, REDIRECT_URI)
      return { pending, callback: new URL(callback.href.replace('#', '?')) }
    },
  }
}

const toPem = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'pem' }).toString()

/** The account APIs, each as small as a sign-in needs. */
function respondAs(standard: StandardId, { method, path }: ApiCall): { status: number; body?: unknown } {
  if (method === 'DELETE') return { status: 204 }
  if (path.endsWith('/status')) return { status: 200, body: { consentStatus: 'valid' } }
  if (method === 'POST' && standard === 'OBIE')
    return { status: 201, body: { Data: { ConsentId: 'intent-1', Status: 'AWAU' }, Risk: {} } }
  if (method === 'POST' && standard === 'BERLIN_GROUP')
    return { status: 201, body: { consentStatus: 'received', consentId: BERLIN_GROUP_CONSENT, _links: {} } }
  return { status: 200, body: EXAMPLES[standard].accounts() }
}

const SUBJECT = { tls_client_auth_subject_dn: 'CN=guichet,O=Guichet,C=GB' }
const UK_OAUTH = {
  signingAlgorithm: 'PS256',
  bankAlgorithm: 'PS256',
  responseType: 'code id_token',
  responseMode: 'fragment',
}
const UK_BY_CERTIFICATE: Variant = {
  standard: 'OBIE',
  oauth: { ...UK_OAUTH, clientAuthentication: 'tls_client_auth' },
  client: SUBJECT,
}
const FDX_BY_SECRET = (method: 'client_secret_basic' | 'client_secret_post'): Variant => ({
  standard: 'FDX',
  oauth: {
    clientAuthentication: method,
    usesPar: false,
    usesOpenIdConnect: true,
    idToken: 'TOKEN_ENDPOINT',
    bankAlgorithm: 'RS256',
    scope: 'openid accounts',
  },
  registration: { consent: 'OAUTH_SCOPE' },
  client: { token_endpoint_auth_method: method, client_secret: 'a-secret-of-a-client' },
  clientSecret: 'a-secret-of-a-client',
  hasCertificate: false,
})

const VARIANTS: Readonly<Record<string, Variant>> = {
  'a UK bank with tls_client_auth': UK_BY_CERTIFICATE,
  'a UK bank with private_key_jwt': {
    standard: 'OBIE',
    oauth: UK_OAUTH,
    client: { token_endpoint_auth_method: 'private_key_jwt' },
  },
  'a UK bank that responds in the query': { ...UK_BY_CERTIFICATE, queryResponses: true },
  'a UK bank whose ID token comes with the code only': {
    ...UK_BY_CERTIFICATE,
    oauth: { ...UK_BY_CERTIFICATE.oauth, idToken: 'FRONT_CHANNEL' },
  },
  'a CDR holder with PS256': { standard: 'CDR', oauth: { signingAlgorithm: 'PS256', bankAlgorithm: 'PS256' } },
  'a CDR holder with ES256': {
    standard: 'CDR',
    oauth: {},
    client: { id_token_signed_response_alg: 'ES256', authorization_signed_response_alg: 'ES256' },
  },
  'an FDX bank with client_secret_basic': FDX_BY_SECRET('client_secret_basic'),
  'an FDX bank with client_secret_post': FDX_BY_SECRET('client_secret_post'),
  'an FDX bank that signs with EdDSA': {
    ...FDX_BY_SECRET('client_secret_basic'),
    oauth: { ...FDX_BY_SECRET('client_secret_basic').oauth, bankAlgorithm: 'EdDSA' },
    client: { ...FDX_BY_SECRET('client_secret_basic').client, id_token_signed_response_alg: 'EdDSA' },
  },
  'a Berlin Group bank with tls_client_auth': {
    standard: 'BERLIN_GROUP',
    oauth: { clientAuthentication: 'tls_client_auth' },
    client: { ...SUBJECT, scope: undefined },
  },
}

describe('connectors at independent OpenID providers', () => {
  test.each(Object.entries(VARIANTS))(
    'a customer of %s signs in, and the gateway reads accounts, refreshes and ends the consent',
    async (_name, variant) => {
      const { bank, calls, signIn } = await connectTo(variant)
      const { pending, callback } = await signIn()
      const access = await completeSignIn(bank, callback, pending)
      expect(await bank.accounts(access, null)).toHaveLength(1)
      const refreshed = await bank.refresh(access)
      expect(refreshed.accessToken).not.toBe(access.accessToken)
      expect(await bank.accounts(refreshed, null)).toHaveLength(1)
      expect(calls.every(({ scope }) => scope !== undefined)).toBe(true)
      if (variant.standard !== 'CDR') await bank.revokeConsent(refreshed)
      if (variant.standard === 'FDX') expect(await codeOf(bank.refresh(refreshed))).toBe('RECONNECT_REQUIRED')
    },
  )

  test.each(Object.entries(VARIANTS))('a customer of %s who refuses leads to BANK_REFUSED', async (_name, variant) => {
    const { bank, provider, signIn } = await connectTo(variant)
    provider.refuses = true
    const { pending, callback } = await signIn()
    expect(await codeOf(completeSignIn(bank, callback, pending))).toBe('BANK_REFUSED')
  })

  test('a callback for another state, and a code that was used, lead to no tokens', async () => {
    const { bank, signIn } = await connectTo(UK_BY_CERTIFICATE)
    const { pending, callback } = await signIn()
    expect(await codeOf(completeSignIn(bank, callback, { ...pending, state: 'another' }))).not.toBe('NONE')
    expect(await codeOf(completeSignIn(bank, callback, { ...pending, nonce: 'another' }))).not.toBe('NONE')
    expect(await codeOf(completeSignIn(bank, callback, pending))).toBe('NONE')
    expect(await codeOf(completeSignIn(bank, callback, pending))).toBe('RECONNECT_REQUIRED')
  })

  test('a gateway without the certificate of its registration gets no token', async () => {
    const { bank } = await connectTo({ ...UK_BY_CERTIFICATE, hasCertificate: false })
    expect(await codeOf(bank.requestConsent(REQUEST))).toBe('BANK_REFUSED')
  })

  test('a gateway with another secret gets no token', async () => {
    const { bank, signIn } = await connectTo({ ...FDX_BY_SECRET('client_secret_basic'), clientSecret: 'another' })
    const { pending, callback } = await signIn()
    expect(await codeOf(completeSignIn(bank, callback, pending))).toBe('BANK_REFUSED')
  })

  test('an ID token with an algorithm that the registration does not name is refused', async () => {
    const { bank, signIn } = await connectTo({
      ...UK_BY_CERTIFICATE,
      oauth: { ...UK_BY_CERTIFICATE.oauth, bankAlgorithm: 'ES256' },
    })
    const { pending, callback } = await signIn()
    expect(await codeOf(completeSignIn(bank, callback, pending))).toBe('BANK_RESPONSE_INVALID')
  })
})
