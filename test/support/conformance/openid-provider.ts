import { createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { TLSSocket } from 'node:tls'
import { exportJWK, type JSONWebKeySet, jwtVerify } from 'jose'
import { Provider, type ClientMetadata, type Configuration, type JWK, type KoaContextWithOIDC } from 'oidc-provider'
import { createAuthority, newKey, type CertificateAuthority } from '../certificate-authority.ts'
import { PROVIDER_SETTINGS, type ProviderKind } from './provider-settings.ts'

/** An OpenID provider on loopback with TLS, which shares no code with the connectors. It signs every customer in. */
export interface IndependentProvider {
  readonly issuer: string
  /** The authority that issued the server's certificate and the certificates of clients. */
  readonly authority: CertificateAuthority
  /** The scope and the certificate of an access token; undefined if it is not valid. */
  findAccessToken(token: string): Promise<{ scope: string; certificateThumbprint: string | undefined } | undefined>
  /** Whether the next customer refuses. */
  refuses: boolean
  /** The paths with their queries that were requested, as they were sent. */
  readonly urls: string[]
  /** The forms that were sent to the token endpoint. */
  readonly tokenRequests: Readonly<Record<string, unknown>>[]
  /** Ends the tokens of all customers, as a bank does that ends their consents. */
  endGrants(): Promise<void>
  close(): Promise<void>
}

/** A call to the bank's account API with a valid token. */
export interface ApiCall {
  readonly method: string
  readonly path: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
  /** The scope of the token; undefined if there is none. */
  readonly scope: string | undefined
}

/** How a provider deviates from those of its kind. */
export interface ProviderOptions {
  readonly queryResponses?: boolean
  /** The address of the provider for one that only this bank has. */
  readonly toStandardUrl?: (url: string) => string
  /** How long ID tokens are valid. */
  readonly idTokenSeconds?: number
  /** Claims that ID tokens do not have, although requests ask for them. */
  readonly omittedClaims?: readonly string[]
  /** Whether the account API takes ID tokens, too. */
  readonly takesIdTokens?: boolean
  /** The account API below `/api`. It is called only with a valid token over the connection that the token is bound to. */
  readonly api?: (call: ApiCall) => ApiResponse | Promise<ApiResponse>
  /** A further authority whose certificates identify the client, in PEM. */
  readonly clientAuthority?: string
  /** What is at the address of the client's keys (`jwks_uri`), which a directory publishes. */
  readonly clientKeys?: () => Promise<JSONWebKeySet>
}

interface ApiResponse {
  readonly status: number
  readonly body?: unknown
}

/** The customer of every sign-in, in one step of two (CDR 1.36, "Levels of Assurance"). */
export const CUSTOMER = 'customer-4711'

/**
 * Starts a provider that is set up as the banks of a standard are, with one client. `queryResponses` sends the response of a
 * hybrid sign-in in the query, as some banks do against OAuth 2.0 Multiple Response Type Encoding Practices, section 5.
 */
export async function startOpenIdProvider(
  kind: ProviderKind,
  client: ClientMetadata,
  options: ProviderOptions = {},
): Promise<IndependentProvider> {
  const {
    queryResponses = false,
    toStandardUrl = (url: string) => url,
    idTokenSeconds,
    takesIdTokens = false,
  } = options
  const { api, clientAuthority, clientKeys } = options
  const authority = await createAuthority('C=GB, O=Scheme, CN=Scheme issuing CA', 'ec')
  const own = await authority.issueWithKey({ subject: 'CN=127.0.0.1', isServer: true }, 'ec')
  const handler: { respond?: (request: IncomingMessage, response: ServerResponse) => unknown } = {}
  const server = createServer(
    {
      key: own.key,
      cert: own.chain,
      ca: [authority.root, ...(clientAuthority === undefined ? [] : [clientAuthority])],
      requestCert: true,
      rejectUnauthorized: false,
    },
    (request, response) => {
      if (queryResponses) moveFragmentToQuery(response)
      result.urls.push(request.url ?? '')
      request.url = toStandardUrl(request.url ?? '')
      void handler.respond?.(request, response)
    },
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const issuer = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
  const settings = PROVIDER_SETTINGS[kind](issuer)
  const provider = new Provider(issuer, {
    ...BASE,
    ...settings.configuration,
    findAccount: createFindAccount(options.omittedClaims ?? []),
    ttl: { ...BASE.ttl, ...(idTokenSeconds !== undefined && { IdToken: () => idTokenSeconds }) },
    features: { ...BASE.features, mTLS: CLIENT_CERTIFICATES, ...settings.configuration.features } as Features,
    clients: [{ ...settings.client, ...client, ...(clientKeys && { jwks_uri: CLIENT_KEYS_URL }) }],
    ...(clientKeys && { fetch: async () => Response.json(await clientKeys()) }),
    jwks: { keys: await Promise.all(Object.entries(SIGNING_KEYS).map(([kid, key]) => toJwk(key, kid))) },
  })
  const grantIds: string[] = []
  const result: IndependentProvider = {
    issuer,
    authority,
    refuses: false,
    urls: [],
    tokenRequests: [],
    async findAccessToken(token) {
      if (takesIdTokens && token.includes('.'))
        return { scope: await scopeOfIdToken(token), certificateThumbprint: undefined }
      const found = (await provider.AccessToken.find(token)) ?? (await provider.ClientCredentials.find(token))
      return found && { scope: found.scope ?? '', certificateThumbprint: found['x5t#S256'] }
    },
    async endGrants() {
      for (const id of grantIds.splice(0)) {
        await provider.AccessToken.revokeByGrantId(id)
        await provider.RefreshToken.revokeByGrantId(id)
      }
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  settings.extendResponses?.(provider)
  provider.use(async (ctx, next) => {
    await next()
    const { oidc } = ctx as KoaContextWithOIDC
    if (oidc.route === 'token') result.tokenRequests.push({ ...oidc.body })
  })
  const respond = provider.callback()
  handler.respond = (request, response) =>
    request.url?.startsWith('/sign-in/') === true
      ? finishSignIn(provider, request, response, { refuses: result.refuses, grantIds })
      : request.url?.startsWith('/api/') === true && api
        ? respondToApi(result, api, request, response)
        : respond(request, response)
  return result
}

/** Never called: `fetch` answers in its place. */
const CLIENT_KEYS_URL = 'https://directory.example/client.jwks'

/** The keys of all providers: new ones would take most of the tests' time. */
const SIGNING_KEYS = { rsa: newKey('rsa'), ec: newKey('ec'), ed25519: newKey('ed25519') }

/** Says whose token it is, if the provider signed it. */
async function scopeOfIdToken(token: string): Promise<string> {
  const { payload } = await jwtVerify(token, createPublicKey(SIGNING_KEYS.rsa))
  return `id_token of ${payload.sub}`
}

/** One customer, with every claim that a request asks for by value, but those that the bank omits. */
const createFindAccount =
  (omittedClaims: readonly string[]): NonNullable<Configuration['findAccount']> =>
  (_ctx, accountId) => ({
    accountId,
    claims: (_use, _scope, claims) => ({
      sub: accountId,
      ...Object.fromEntries(
        Object.entries(claims).flatMap(([name, request]) => {
          const value = (request as { value?: unknown } | null)?.value
          return value === undefined || omittedClaims.includes(name) ? [] : [[name, value]]
        }),
      ),
    }),
  })

type Features = NonNullable<Configuration['features']>

/** What all providers have in common: no pages. */
const BASE: Configuration = {
  cookies: { keys: ['conformance'] },
  claims: { openid: ['sub'], openbanking_intent_id: null },
  interactions: { url: (_ctx, { uid }) => `/sign-in/${uid}` },
  issueRefreshToken: () => Promise.resolve(true),
  ttl: {
    AccessToken: 600,
    AuthorizationCode: 60,
    ClientCredentials: 600,
    Grant: 3_600,
    IdToken: 600,
    Interaction: 600,
    RefreshToken: 3_600,
    Session: 3_600,
  },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    userinfo: { enabled: false },
    rpInitiatedLogout: { enabled: false },
  },
}

function socketOf({ socket }: IncomingMessage): TLSSocket {
  if (!(socket instanceof TLSSocket)) throw new TypeError('the connection has no TLS')
  return socket
}

/** Clients by the certificate of their connection (RFC 8705). */
const CLIENT_CERTIFICATES: Features['mTLS'] = {
  enabled: true,
  certificateBoundAccessTokens: true,
  selfSignedTlsClientAuth: true,
  tlsClientAuth: true,
  getCertificate: (ctx) => socketOf(ctx.req).getPeerX509Certificate()?.toString() ?? '',
  certificateAuthorized: (ctx) => socketOf(ctx.req).authorized,
  certificateSubjectMatches: (ctx, property, expected) =>
    property === 'tls_client_auth_subject_dn' && subjectOf(socketOf(ctx.req).getPeerX509Certificate()) === expected,
}

/** The distinguished name in the form of RFC 4514: the last attribute first. */
const subjectOf = (certificate: X509Certificate | undefined): string =>
  (certificate?.subject ?? '').split('\n').reverse().join(',')

async function respondToApi(
  { findAccessToken }: IndependentProvider,
  api: NonNullable<ProviderOptions['api']>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1]
  const found = token === undefined ? undefined : await findAccessToken(token)
  const certificate = socketOf(request).getPeerX509Certificate()
  const isBound =
    found?.certificateThumbprint === undefined || found.certificateThumbprint === thumbprintOf(certificate)
  const isUnknown = token !== undefined && (!found || !isBound)
  const { status, body } = isUnknown
    ? { status: 401, body: {} }
    : await api({
        method: request.method ?? '',
        path: (request.url ?? '').replace('/api', ''),
        headers: request.headers,
        body: Buffer.concat(chunks).toString('utf8'),
        scope: found?.scope,
      })
  response
    .writeHead(status, { 'content-type': 'application/json' })
    .end(body === undefined ? undefined : JSON.stringify(body))
}

/** The `x5t#S256` of a certificate (RFC 8705, 3.1). */
export const thumbprintOf = (certificate: X509Certificate | undefined): string | undefined =>
  certificate && Buffer.from(certificate.fingerprint256.replaceAll(':', ''), 'hex').toString('base64url')

async function finishSignIn(
  provider: Provider,
  request: IncomingMessage,
  response: ServerResponse,
  { refuses, grantIds }: { readonly refuses: boolean; readonly grantIds: string[] },
): Promise<void> {
  const { params } = await provider.interactionDetails(request, response)
  const grant = new provider.Grant({ accountId: CUSTOMER, clientId: String(params['client_id']) })
  grant.addOIDCScope(String(params['scope']))
  grant.addOIDCClaims(['openbanking_intent_id'])
  const grantId = await grant.save()
  grantIds.push(grantId)
  await provider.interactionFinished(
    request,
    response,
    refuses
      ? { error: 'access_denied' }
      : { login: { accountId: CUSTOMER, acr: 'urn:cds.au:cdr:2' }, consent: { grantId } },
    { mergeWithLastSubmission: false },
  )
}

async function toJwk(key: KeyObject, kid: string): Promise<JWK> {
  return { ...(await exportJWK(key)), kid, use: 'sig' }
}

function moveFragmentToQuery(response: ServerResponse): void {
  const { setHeader } = response
  response.setHeader = (name, value) =>
    setHeader.call(
      response,
      name,
      name.toLowerCase() === 'location' && typeof value === 'string' ? value.replace('#', '?') : value,
    )
}
