import { decodeJwt } from 'jose'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { bankProfiles, type BankAccess } from '../../src/connectors/index.ts'
import {
  connectToProvider,
  type ProviderSession,
  type ProviderVariant,
} from '../support/conformance/provider-session.ts'
import { BERLIN_GROUP_CONSENT } from '../support/conformance/provider-settings.ts'
import { completeSignIn } from '../support/sign-in.ts'
import { codeOf } from '../support/standards.ts'

const closers: (() => Promise<void>)[] = []
afterEach(async () => {
  vi.useRealTimers()
  for (const close of closers.splice(0)) await close()
})

async function connectTo(variant: ProviderVariant): Promise<ProviderSession> {
  const session = await connectToProvider(variant)
  closers.push(session.close)
  return session
}

/** A bank, and what only it sees of a sign-in. */
interface Deviation extends ProviderVariant {
  readonly check: (session: ProviderSession, access: BankAccess) => void
}

const SUBJECT = { tls_client_auth_subject_dn: 'CN=guichet,O=Guichet,C=GB' }
const UK = {
  standard: 'OBIE',
  oauth: {
    clientAuthentication: 'tls_client_auth',
    signingAlgorithm: 'PS256',
    bankAlgorithm: 'PS256',
    responseType: 'code id_token',
    responseMode: 'fragment',
  },
  client: SUBJECT,
} as const satisfies ProviderVariant
const FDX = {
  standard: 'FDX',
  oauth: {
    clientAuthentication: 'client_secret_basic',
    usesPar: false,
    usesOpenIdConnect: true,
    idToken: 'TOKEN_ENDPOINT',
    bankAlgorithm: 'RS256',
    scope: 'openid accounts',
  },
  registration: { consent: 'OAUTH_SCOPE', mutualTls: false, certificates: {} },
  client: { client_secret: 'a-secret-of-a-client' },
  clientSecret: 'a-secret-of-a-client',
  certificate: 'NONE',
} as const satisfies ProviderVariant
const BERLIN_GROUP = {
  standard: 'BERLIN_GROUP',
  oauth: { clientAuthentication: 'tls_client_auth' },
  client: { ...SUBJECT, scope: undefined },
} as const satisfies ProviderVariant
const BY_CERTIFICATE = { clientToken: false } as const

const pathsOf = ({ provider }: ProviderSession): string[] => provider.urls.map((url) => url.replace(/\?.*/, ''))
const isDiscovery = (path: string): boolean => path.startsWith('/.well-known/')
/** The parameters of the only request that the browser was sent with. */
const browserParametersOf = ({ provider }: ProviderSession, path = '/auth'): URLSearchParams =>
  new URL(
    provider.urls.find((url) => url.startsWith(`${path}?`))!,
    provider.issuer,
  ).searchParams
/** What is written in the other case. */
const swapCase = (text: string): string => (text === text.toUpperCase() ? text.toLowerCase() : text.toUpperCase())
const renamed = (url: string, names: Readonly<Record<string, string>>): string =>
  Object.entries(names).reduce((text, [own, standard]) => text.replace(`${own}=`, `${standard}=`), url)

const DEVIATIONS: Readonly<Record<string, Deviation>> = {
  'whose metadata is at another address': {
    ...UK,
    addresses: (issuer) => ({ metadataUrl: `${issuer}/open-banking/metadata` }),
    toStandardUrl: (url) => url.replace('/open-banking/metadata', '/.well-known/openid-configuration'),
    check: (session) => expect(pathsOf(session).filter(isDiscovery)).toEqual([]),
  },
  'without metadata': {
    ...FDX,
    addresses: (issuer) => ({
      endpoints: {
        authorization: `${issuer}/auth`,
        token: `${issuer}/token`,
        revocation: `${issuer}/token/revocation`,
        jwks: `${issuer}/jwks`,
      },
    }),
    check(session) {
      expect(pathsOf(session).filter(isDiscovery)).toEqual([])
      expect(pathsOf(session)).toContain('/token/revocation')
    },
  },
  'without metadata that takes pushed requests': {
    standard: 'CDR',
    oauth: { signingAlgorithm: 'PS256', bankAlgorithm: 'PS256' },
    addresses: (issuer) => ({
      endpoints: {
        authorization: `${issuer}/auth`,
        token: `${issuer}/token`,
        pushedAuthorizationRequest: `${issuer}/request`,
        jwks: `${issuer}/jwks`,
      },
    }),
    check: (session) => expect(pathsOf(session).filter(isDiscovery)).toEqual([]),
  },
  'whose token endpoint is below its account API': {
    ...BERLIN_GROUP,
    addresses: (issuer) => ({ tokenEndpoint: `${issuer}/api/v1/token` }),
    toStandardUrl: (url) => url.replace('/api/v1/token', '/token'),
    check: (session) => expect(pathsOf(session).filter((path) => path.endsWith('/token'))).not.toContain('/token'),
  },
  'whose consents lead to the metadata': {
    ...BERLIN_GROUP,
    oauth: { ...BERLIN_GROUP.oauth, usesMetadataLink: true },
    registration: BY_CERTIFICATE,
    consentLinks: (issuer) => ({ scaOAuth: { href: `${issuer}/linked/metadata` } }),
    toStandardUrl: (url) => url.replace('/linked/metadata', '/.well-known/openid-configuration'),
    check(session) {
      expect(pathsOf(session).filter(isDiscovery)).toEqual([])
      expect(session.provider.tokenRequests.map((form) => form['grant_type'])).not.toContain('client_credentials')
    },
  },
  'that signs customers in before the consent': {
    ...BERLIN_GROUP,
    oauth: { clientAuthentication: 'none', scope: 'AISP', usesUpperCaseResponseType: true },
    registration: { ...BY_CERTIFICATE, sca: 'OAUTH_PRE_STEP' },
    toStandardUrl: (url) =>
      url.replace(/response_type=(\w+)/, (_all, type: string) => `response_type=${swapCase(type)}`),
    client: {
      scope: undefined,
      token_endpoint_auth_method: 'none',
      grant_types: ['authorization_code', 'refresh_token'],
    },
    check({ calls }) {
      expect(calls.map(({ method, path, scope }) => [method, path, scope]).slice(0, 2)).toEqual([
        ['POST', '/v1/consents', 'AISP'],
        ['GET', `/v1/consents/${BERLIN_GROUP_CONSENT}/status`, 'AISP'],
      ])
    },
  },
  'that pins the own certificate of the gateway': {
    ...UK,
    oauth: { ...UK.oauth, clientAuthentication: 'self_signed_tls_client_auth' },
    client: { token_endpoint_auth_method: 'self_signed_tls_client_auth' },
    certificate: 'SELF_SIGNED',
    check: ({ provider }) => expect(provider.tokenRequests[0]).not.toHaveProperty('client_assertion'),
  },
  'that wants parameters beside the request object, which lives longer': {
    ...UK,
    oauth: {
      ...UK.oauth,
      requestObject: {
        lifetimeSeconds: 600,
        repeatedParameters: ['response_type', 'scope', 'redirect_uri', 'state', 'nonce'],
      },
    },
    check(session) {
      const parameters = browserParametersOf(session)
      const { exp, iat, ...claims } = decodeJwt(parameters.get('request')!)
      expect(exp! - iat!).toBe(600)
      for (const name of ['response_type', 'scope', 'redirect_uri', 'state', 'nonce'])
        expect(parameters.get(name), name).toBe(claims[name])
    },
  },
  'whose ID tokens name no consent': {
    ...UK,
    oauth: { ...UK.oauth, idTokenNamesConsent: false },
    omittedClaims: ['openbanking_intent_id'],
    check: (_session, access) => expect(access.consentRef).toBe('intent-1'),
  },
  'that wants the scope in requests for tokens of customers': {
    ...FDX,
    oauth: { ...FDX.oauth, tokenScope: 'openid accounts' },
    check: ({ provider }) =>
      expect(provider.tokenRequests.map((form) => form['scope'])).toEqual(['openid accounts', 'openid accounts']),
  },
  'with a scope and parameters of its own for every token': {
    ...BERLIN_GROUP,
    oauth: { ...BERLIN_GROUP.oauth, clientScope: 'AISP', tokenParameters: { role: 'AISP' } },
    check({ provider, calls }) {
      expect(new Set(provider.tokenRequests.map((form) => form['role']))).toEqual(new Set(['AISP']))
      expect(calls[0]).toMatchObject({ method: 'POST', scope: 'AISP' })
    },
  },
  'with other names of parameters, and further ones': {
    ...BERLIN_GROUP,
    oauth: {
      ...BERLIN_GROUP.oauth,
      parameterNames: { response_type: 'responseType', client_id: 'clientId' },
      authorizationParameters: { login_hint: '{consentId}', branch: 'smile' },
    },
    toStandardUrl: (url) => renamed(url, { responseType: 'response_type', clientId: 'client_id' }),
    check(session) {
      const parameters = browserParametersOf(session)
      expect(parameters.get('login_hint')).toBe(BERLIN_GROUP_CONSENT)
      expect(parameters.get('branch')).toBe('smile')
      expect([...parameters.keys()]).not.toContain('client_id')
    },
  },
  'that takes all parameters in one': {
    ...BERLIN_GROUP,
    oauth: { ...BERLIN_GROUP.oauth, base64Parameter: 'data' },
    toStandardUrl: (url) =>
      url.replace(/^\/auth\?data=(.*)$/, (_all, data: string) =>
        ['/auth', Buffer.from(decodeURIComponent(data), 'base64').toString('utf8')].join('?'),
      ),
    check: (session) => expect([...browserParametersOf(session).keys()]).toEqual(['data']),
  },
  'that takes all parameters in one, and without encoding': {
    ...BERLIN_GROUP,
    oauth: { ...BERLIN_GROUP.oauth, base64Parameter: 'data', encodesBase64Parameters: false },
    toStandardUrl: (url) =>
      url.replace(/^\/auth\?data=(.*)$/, (_all, data: string) => {
        const text = Buffer.from(decodeURIComponent(data), 'base64').toString('utf8')
        const pairs = text.split('&').map((pair) => [pair.replace(/=.*/, ''), pair.replace(/^.*?=/, '')])
        return `/auth?${new URLSearchParams(pairs as [string, string][]).toString()}`
      }),
    check: (session) =>
      expect(Buffer.from(browserParametersOf(session).get('data')!, 'base64').toString()).toContain(
        '&redirect_uri=https://gateway.example/bank/callback&',
      ),
  },
  'whose bearer is the ID token': {
    ...FDX,
    oauth: { ...FDX.oauth, bearerToken: 'ID_TOKEN' },
    takesIdTokens: true,
    check: ({ calls }) =>
      expect(new Set(calls.map(({ scope }) => scope))).toEqual(new Set(['id_token of customer-4711'])),
  },
}

describe('switches of OAuth at independent OpenID providers', () => {
  test.each(Object.entries(DEVIATIONS))(
    'a customer of a bank %s signs in, and the gateway reads, refreshes and ends the consent',
    async (_name, { check, ...variant }) => {
      const session = await connectTo(variant)
      const { bank } = session
      const access = await session.connect()
      expect(await bank.accounts(access, null)).toHaveLength(1)
      const refreshed = await bank.refresh(access)
      expect(await bank.accounts(refreshed, null)).toHaveLength(1)
      if (variant.standard !== 'CDR') await bank.revokeConsent(refreshed)
      check(session, access)
    },
  )

  test('a customer of Chase is sent to its plain endpoint, without a pushed request or authorization details', async () => {
    const { oauth, ...registration } = bankProfiles().get('chase-us')!.registration
    const session = await connectTo({
      standard: 'FDX',
      oauth: { ...(oauth as object), clientAuthentication: 'client_secret_basic' },
      addresses: (issuer) => ({
        endpoints: {
          authorization: `${issuer}/aggregator-oauth/v1/authorize`,
          token: `${issuer}/aggregator-oauth/v1/token`,
        },
      }),
      registration,
      client: { client_secret: 'a-secret-of-a-client', scope: 'aggregator' },
      clientSecret: 'a-secret-of-a-client',
      toStandardUrl: (url) =>
        url.replace('/aggregator-oauth/v1/authorize', '/auth').replace('/aggregator-oauth/v1/token', '/token'),
    })
    const access = await session.connect()
    expect(await session.bank.accounts(access, null)).toHaveLength(1)
    const parameters = [...browserParametersOf(session, '/aggregator-oauth/v1/authorize').keys()]
    expect(parameters.sort()).toEqual([
      'client_id',
      'code_challenge',
      'code_challenge_method',
      'redirect_uri',
      'response_type',
      'scope',
      'state',
    ])
    expect(pathsOf(session).filter((path) => path === '/request' || isDiscovery(path))).toEqual([])
    expect(session.provider.tokenRequests.map((form) => form['grant_type'])).toEqual(['authorization_code'])
  })

  test('a bank whose ID tokens name no consent gives no access if its profile does not say so', async () => {
    const { connect } = await connectTo({ ...UK, omittedClaims: ['openbanking_intent_id'] })
    expect(await codeOf(connect())).toBe('BANK_RESPONSE_INVALID')
  })

  test.each([
    [0, 'BANK_RESPONSE_INVALID'],
    [60, 'NONE'],
  ])('an ID token that expired 20 seconds ago leads with a tolerance of %i seconds to %s', async (seconds, code) => {
    const oauth = { ...UK.oauth, clockToleranceSeconds: seconds }
    const { bank, signIn } = await connectTo({ ...UK, oauth, idTokenSeconds: 10 })
    const { pending, callback } = await signIn()
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 30_000 })
    expect(await codeOf(completeSignIn(bank, callback, pending))).toBe(code)
  })
})
