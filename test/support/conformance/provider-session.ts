import { createPublicKey, X509Certificate, type KeyObject } from 'node:crypto'
import { exportJWK } from 'jose'
import type { ClientMetadata } from 'oidc-provider'
import { STANDARDS, type BankAccess, type BankInterface, type StandardId } from '../../../src/connectors/index.ts'
import type { PendingSignIn, SignInStep } from '../../../src/connectors/sign-in.ts'
import { createSelfSignedCertificate } from '../../../src/kernel/certificate.ts'
import { createOutboundHttp } from '../../../src/kernel/outbound-http.ts'
import { parseRegistration } from '../../../src/modules/banks/registration.ts'
import { patientTimers } from '../patient-time.ts'
import { scriptedBank } from '../scripted-bank.ts'
import { redirectOf, stepsOf } from '../sign-in.ts'
import { common, EXAMPLES } from '../standards.ts'
import { newKey } from '../certificate-authority.ts'
import { startOpenIdProvider, type ApiCall, type IndependentProvider, type ProviderOptions } from './openid-provider.ts'
import { BERLIN_GROUP_CONSENT, type ProviderKind } from './provider-settings.ts'
import { createReferenceClient } from './reference-client.ts'

const REDIRECT_URI = 'https://gateway.example/bank/callback'
const KINDS: Readonly<Record<StandardId, ProviderKind>> = {
  OBIE: 'UK',
  CDR: 'CDR',
  FDX: 'FDX',
  BERLIN_GROUP: 'BERLIN_GROUP',
}
export const REQUEST = {
  expiresAt: new Date('2027-01-31T00:00:00Z'),
  state: 'state-1',
  customer: { ip: '198.51.100.7', userAgent: 'Firefox' },
}

/** A bank, and how it is registered. */
export interface ProviderVariant extends Omit<ProviderOptions, 'api'> {
  readonly standard: StandardId
  /** The members of `oauth` in the registration. */
  readonly oauth: Record<string, unknown>
  /** Further members of `oauth`, with addresses of the bank. */
  readonly addresses?: (issuer: string) => Record<string, unknown>
  /** Further members of the registration. */
  readonly registration?: Record<string, unknown>
  /** What the bank has registered of the client, beside its keys and its certificate. */
  readonly client?: Partial<ClientMetadata>
  readonly clientSecret?: string
  /** The certificate of the gateway: of the bank's authority, of its own, or none. */
  readonly certificate?: 'ISSUED' | 'SELF_SIGNED' | 'NONE'
  /** The links in the response to a new consent (Berlin Group). */
  readonly consentLinks?: (issuer: string) => Record<string, { href: string }>
}

/** A connector that is connected to an independent provider. */
export interface ProviderSession {
  readonly bank: BankInterface
  readonly provider: IndependentProvider
  /** The calls to the account API. */
  readonly calls: readonly ApiCall[]
  /** Signs the customer in. The gateway's page turns a fragment into a query. */
  signIn(): Promise<{ pending: PendingSignIn; callback: URL; url: string }>
  /** Signs the customer in, and polls until the consent is valid. */
  connect(): Promise<BankAccess>
  close(): Promise<void>
}

/** A connector with real HTTP, and the independent provider that it signs in at. */
export async function connectToProvider(variant: ProviderVariant): Promise<ProviderSession> {
  const { standard, certificate: kind = 'ISSUED' } = variant
  const algorithm = (variant.oauth['signingAlgorithm'] as string | undefined) ?? 'ES256'
  const signing = newKey(algorithm === 'PS256' ? 'rsa' : 'ec')
  const transport = newKey('ec')
  const own = selfSign(transport)
  const calls: ApiCall[] = []
  const jwks = [
    { ...(await exportJWK(createPublicKey(signing))), kid: 'k', use: 'sig' },
    ...(kind === 'SELF_SIGNED'
      ? [{ ...(await exportJWK(createPublicKey(transport))), kid: 't', x5c: [x5cOf(own)] }]
      : []),
  ]
  const provider = await startOpenIdProvider(
    KINDS[standard],
    { client_id: 'guichet', redirect_uris: [REDIRECT_URI], jwks: { keys: jwks }, ...variant.client },
    {
      ...variant,
      api(call) {
        calls.push(call)
        return respondAs(standard, call, variant.consentLinks?.(provider.issuer))
      },
    },
  )
  const { authority, issuer } = provider
  const issued = (await authority.issueFor(transport, { subject: 'C=GB, O=Guichet, CN=guichet' })).leaf
  const certificate = kind === 'SELF_SIGNED' ? own : issued
  const key = transport.export({ type: 'pkcs8', format: 'pem' }).toString()
  const http = createOutboundHttp({ allowLoopback: true, allowPlainHttp: false }, undefined, {
    timers: patientTimers,
    caCertificates: authority.root,
    ...(kind !== 'NONE' && { clientIdentity: { certificate, key } }),
  })
  const customer = createReferenceClient({ authority: authority.root })
  const { tools } = scriptedBank(() => {
    throw new Error('the real client is used')
  })
  const { registration } = parseRegistration(
    {
      standard,
      registration: {
        ...EXAMPLES[standard].registration,
        ...common,
        authorizationServer: issuer,
        apiBase: `${issuer}/api`,
        mutualTls: true,
        certificates: { transport: kind === 'SELF_SIGNED' ? 'SELF_SIGNED' : 'ISSUED' },
        ...variant.registration,
        oauth: { ...variant.oauth, ...variant.addresses?.(issuer) },
      },
    },
    { urlFault: () => undefined },
  )
  const signingKey = {
    ...(await exportJWK(signing)),
    kty: algorithm === 'PS256' ? 'RSA' : 'EC',
    kid: 'k',
    alg: algorithm,
  }
  const { clientSecret } = variant
  const credentials = { signingKey, ...(clientSecret !== undefined && { clientSecret }) }
  const bank = STANDARDS[standard].connect(registration, { ...tools, http, credentials })

  async function signIn() {
    const { url, pending } = await redirectOf(bank.requestConsent(REQUEST))
    const callback = await customer.signIn(url, REDIRECT_URI)
    return { pending, url, callback: new URL(callback.href.replace('#', '?')) }
  }

  return {
    bank,
    provider,
    calls,
    signIn,
    async connect() {
      const { url, pending, callback } = await signIn()
      const { back, poll } = stepsOf(bank)
      let step: SignInStep = await back({ kind: 'REDIRECT', url, pending }, callback.search)
      for (let count = 0; step.kind === 'WAIT' && count < 5; count++) step = await poll(step)
      if (step.kind !== 'COMPLETE') throw new Error(`the sign-in goes on with ${step.kind}`)
      return step.access
    },
    async close() {
      await Promise.all([http.close(), customer.close()])
      await provider.close()
    },
  }
}

/** The account APIs, each as small as a sign-in needs. */
function respondAs(
  standard: StandardId,
  { method, path }: ApiCall,
  links: Record<string, { href: string }> = {},
): { status: number; body?: unknown } {
  if (method === 'DELETE') return { status: 204 }
  if (path.endsWith('/status')) return { status: 200, body: { consentStatus: 'valid' } }
  if (method === 'POST' && standard === 'OBIE')
    return { status: 201, body: { Data: { ConsentId: 'intent-1', Status: 'AWAU' }, Risk: {} } }
  if (method === 'POST' && standard === 'BERLIN_GROUP')
    return { status: 201, body: { consentStatus: 'received', consentId: BERLIN_GROUP_CONSENT, _links: links } }
  return { status: 200, body: EXAMPLES[standard].accounts() }
}

const selfSign = (key: KeyObject): string =>
  createSelfSignedCertificate(key, {
    commonName: 'guichet',
    serial: Buffer.from('01', 'hex'),
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 3_600_000),
  })

const x5cOf = (certificate: string): string => new X509Certificate(certificate).raw.toString('base64')
