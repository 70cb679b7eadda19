import { afterEach, describe, expect, test } from 'vitest'
import {
  connectToProvider,
  REQUEST,
  type ProviderSession,
  type ProviderVariant,
} from '../support/conformance/provider-session.ts'
import { codeOf } from '../support/standards.ts'
import { completeSignIn } from '../support/sign-in.ts'

const closers: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

async function connectTo(variant: ProviderVariant): Promise<ProviderSession> {
  const session = await connectToProvider(variant)
  closers.push(session.close)
  return session
}

const SUBJECT = { tls_client_auth_subject_dn: 'CN=guichet,O=Guichet,C=GB' }
const UK_OAUTH = {
  signingAlgorithm: 'PS256',
  bankAlgorithm: 'PS256',
  responseType: 'code id_token',
  responseMode: 'fragment',
}
const UK_BY_CERTIFICATE: ProviderVariant = {
  standard: 'OBIE',
  oauth: { ...UK_OAUTH, clientAuthentication: 'tls_client_auth' },
  client: SUBJECT,
}
const FDX_BY_SECRET = (method: 'client_secret_basic' | 'client_secret_post'): ProviderVariant => ({
  standard: 'FDX',
  oauth: {
    clientAuthentication: method,
    usesPar: false,
    usesOpenIdConnect: true,
    idToken: 'TOKEN_ENDPOINT',
    bankAlgorithm: 'RS256',
    scope: 'openid accounts',
  },
  registration: { consent: 'OAUTH_SCOPE', mutualTls: false, certificates: {} },
  client: { token_endpoint_auth_method: method, client_secret: 'a-secret-of-a-client' },
  clientSecret: 'a-secret-of-a-client',
  certificate: 'NONE',
})

const VARIANTS: Readonly<Record<string, ProviderVariant>> = {
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
    const { bank } = await connectTo({ ...UK_BY_CERTIFICATE, certificate: 'NONE' })
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
