import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { SignJWT, jwtVerify, type JWTPayload } from 'jose'
import { STANDARDS, type StandardId } from '../../src/connectors/index.ts'
import type { BankInterface, Registration } from '../../src/connectors/connector.ts'
import type { GatewayCredentials } from '../../src/connectors/credentials.ts'
import { GatewayError } from '../../src/kernel/errors.ts'
import type { OutboundRequest } from '../../src/kernel/outbound-http.ts'
import { parseRegistration } from '../../src/modules/banks/registration.ts'
import { urlFault } from '../../src/kernel/addresses.ts'
import { ok, scriptedBank } from './scripted-bank.ts'
import { common, EXAMPLES } from './standards.ts'

export const ISSUER = common.authorizationServer
export const METADATA = {
  issuer: ISSUER,
  authorization_endpoint: `${ISSUER}/authorize`,
  token_endpoint: `${ISSUER}/token`,
  pushed_authorization_request_endpoint: `${ISSUER}/par`,
  revocation_endpoint: `${ISSUER}/revoke`,
  registration_endpoint: `${ISSUER}/register`,
  jwks_uri: `${ISSUER}/jwks`,
}
const CUSTOMER = { ip: '203.0.113.9', userAgent: null }

export const bankKeys = generateKeyPairSync('rsa', { modulusLength: 2048 })
export const gatewayKeys = {
  ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  PS256: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  EdDSA: generateKeyPairSync('ed25519'),
}

interface Options {
  readonly standard?: StandardId
  readonly oauth?: object
  readonly registration?: object
  readonly credentials?: Partial<GatewayCredentials>
  readonly algorithm?: keyof typeof gatewayKeys
  /** Members over those of a good token response. */
  readonly tokens?: Record<string, unknown>
  readonly metadataUrl?: string
  readonly bankKeyAlgorithm?: string
  /** The id of the consent that it creates (Open Banking). */
  readonly consentId?: string
  /** Where its authorization endpoint leads. */
  readonly location?: string
}

/** A connector, and an authorization server that records what is sent to it. */
export function connectTo({
  standard = 'OBIE',
  oauth = {},
  registration: members = {},
  credentials = {},
  algorithm = 'ES256',
  tokens = {},
  metadataUrl = `${ISSUER}/.well-known/openid-configuration`,
  bankKeyAlgorithm,
  consentId = 'c1',
  location,
}: Options): {
  bank: BankInterface
  sent: OutboundRequest[]
  to: (path: string) => OutboundRequest[]
} {
  const { tools, sent } = scriptedBank(({ url }) => {
    if (url === metadataUrl || url.endsWith('/oauth-authorization-server')) return ok(METADATA)
    if (url.includes('/.well-known/')) return { status: 404, headers: {}, text: '' }
    if (url === METADATA.jwks_uri)
      return ok({
        keys: [
          {
            ...bankKeys.publicKey.export({ format: 'jwk' }),
            kid: 'bank',
            ...(bankKeyAlgorithm && { alg: bankKeyAlgorithm }),
          },
        ],
      })
    if (url === METADATA.pushed_authorization_request_endpoint)
      return { ...ok({ request_uri: 'urn:pushed', expires_in: 60 }), status: 201 }
    if (url.includes('account-access-consents'))
      return { ...ok({ Data: { ConsentId: consentId, Status: 'AwaitingAuthorisation' } }), status: 201 }
    if (url.startsWith(`${METADATA.authorization_endpoint}?`))
      return {
        status: location === undefined ? 200 : 302,
        headers: location === undefined ? {} : { location },
        text: '',
      }
    if (url === METADATA.revocation_endpoint) return { status: 200, headers: {}, text: '' }
    return ok({ access_token: 'a', refresh_token: 'r', token_type: 'Bearer', expires_in: 300, ...tokens })
  })
  const { signingKey } = {
    signingKey: {
      ...gatewayKeys[algorithm].privateKey.export({ format: 'jwk' }),
      kty: String(gatewayKeys[algorithm].privateKey.export({ format: 'jwk' }).kty),
      kid: 'gateway',
      alg: algorithm,
    },
  }
  const registration = parse(standard, { oauth, ...members })
  const bank = STANDARDS[standard].connect(registration, { ...tools, credentials: { signingKey, ...credentials } })
  return { bank, sent, to: (path) => sent.filter(({ url }) => url.startsWith(ISSUER + path)) }
}

const RULES = { urlFault: (url: string) => urlFault(url, { allowLoopback: false, allowPlainHttp: false }) }
const parse = (standard: StandardId, members: object): Registration =>
  parseRegistration({ standard, registration: { ...EXAMPLES[standard].registration, ...members } }, RULES).registration

export const faultsOf = (standard: StandardId, members: object): string[] => {
  try {
    parse(standard, members)
    return []
  } catch (error) {
    return (error as GatewayError).faults.map(({ message }) => message)
  }
}

export const request = { expiresAt: new Date(Date.now() + 86_400_000), state: 's', customer: CUSTOMER }
export const formOf = ({ body }: OutboundRequest): URLSearchParams => new URLSearchParams(body)
export const verifiedBy = (jwt: string, key: KeyObject): Promise<JWTPayload> =>
  jwtVerify(jwt, key).then(({ payload }) => payload)
export const sign = (claims: JWTPayload, key: KeyObject = bankKeys.privateKey, alg = 'PS256'): Promise<string> =>
  new SignJWT({ iss: ISSUER, aud: common.clientId, sub: 'person', ...claims })
    .setProtectedHeader({ alg, kid: 'bank' })
    .setIssuedAt()
    .setExpirationTime('5m')
    .sign(key)
export const halfHash = (text: string): string =>
  createHash('sha256').update(text).digest().subarray(0, 16).toString('base64url')
export const codeOf = (pending: Promise<unknown>): Promise<string> =>
  pending.then(
    () => 'NONE',
    (error: unknown) => (error instanceof GatewayError ? error.code : String(error)),
  )

export const TLS = { mutualTls: true, certificates: { transport: 'ISSUED' } }
export const HYBRID = {
  responseType: 'code id_token',
  responseMode: 'fragment',
  signingAlgorithm: 'PS256',
  bankAlgorithm: 'PS256',
  idToken: 'FRONT_CHANNEL',
}
