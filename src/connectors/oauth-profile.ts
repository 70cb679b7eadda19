import { z } from 'zod'
import type { UrlSchema } from './url-schema.ts'

/** How the gateway authenticates at a token endpoint (RFC 7591, 2; RFC 8705, 2). `none`: its certificate or nothing identifies it. */
export const CLIENT_AUTHENTICATION_METHODS = [
  'private_key_jwt',
  'tls_client_auth',
  'self_signed_tls_client_auth',
  'client_secret_basic',
  'client_secret_post',
  'none',
] as const
/** A method of client authentication. */
export type ClientAuthenticationMethod = (typeof CLIENT_AUTHENTICATION_METHODS)[number]

/** The algorithms with which the gateway signs. `EdDSA` is Ed25519 (RFC 8037). */
export const GATEWAY_ALGORITHMS = ['ES256', 'PS256', 'EdDSA'] as const
/** An algorithm with which the gateway signs. */
export type GatewayAlgorithm = (typeof GATEWAY_ALGORITHMS)[number]

/** The algorithms that a bank may sign ID tokens and responses with. RS256 is accepted only where a profile names it. */
export const BANK_ALGORITHMS = [...GATEWAY_ALGORITHMS, 'RS256'] as const

/** A parameter that FAPI 1.0 Advanced repeats outside the request object (5.2.3), or that a bank needs there. */
const REPEATED_PARAMETERS = ['response_type', 'scope', 'redirect_uri', 'state', 'nonce'] as const

/** How a bank uses signed request objects (RFC 9101). */
export interface RequestObjectRules {
  /** The `aud` claim: the issuer, or the value that the bank expects in its place. */
  readonly audience: string
  readonly lifetimeSeconds: number
  /** The parameters that are also sent outside the request object. */
  readonly repeatedParameters: readonly (typeof REPEATED_PARAMETERS)[number][]
}

/** The endpoints of an authorization server that publishes no metadata. */
export interface StatedEndpoints {
  readonly authorization: string
  readonly token: string
  readonly pushedAuthorizationRequest?: string | undefined
  readonly revocation?: string | undefined
  readonly jwks?: string | undefined
  /** Where the gateway registers as a client (RFC 7591). */
  readonly registration?: string | undefined
}

/** How a bank's authorization server is used. Every standard has a complete default; a bank's profile states the differences. */
export interface OauthProfile {
  /** Where the authorization server's metadata is; the issuer's well-known address if this and the next two are absent. */
  readonly metadataUrl?: string | undefined
  /** The endpoints of an authorization server that publishes no metadata. */
  readonly endpoints?: StatedEndpoints | undefined
  /** The token endpoint, in place of that of the metadata. It may be below the account API, beside its resources. */
  readonly tokenEndpoint?: string | undefined
  /** Whether the consent's `scaOAuth` link leads to the metadata (Berlin Group 1.3.11, 4.10). */
  readonly usesMetadataLink: boolean
  readonly clientAuthentication: ClientAuthenticationMethod
  /** The `aud` claim of client assertions (RFC 7523, 3). */
  readonly assertionAudience: 'ISSUER' | 'TOKEN_ENDPOINT'
  /** The algorithm of client assertions and request objects, and so the type of the gateway's key. */
  readonly signingAlgorithm: GatewayAlgorithm
  /** The algorithm of the bank's ID tokens and signed responses. */
  readonly bankAlgorithm: (typeof BANK_ALGORITHMS)[number]
  readonly usesOpenIdConnect: boolean
  readonly responseType: 'code' | 'code id_token'
  /** Whether the bank writes the response type in upper case, against RFC 6749, 3.1.1. */
  readonly usesUpperCaseResponseType: boolean
  /** Where the bank returns the parameters: `jwt` is a signed response (JARM). */
  readonly responseMode: 'query' | 'fragment' | 'jwt'
  /** Whether authorization requests are pushed (RFC 9126). */
  readonly usesPar: boolean
  /**
   * Whether the gateway itself opens the authorization address, with its certificate, and sends the customer to the address to
   * which that leads: for banks that admit no browser there.
   */
  readonly opensAuthorization: boolean
  /** Null if parameters are sent unsigned. */
  readonly requestObject: RequestObjectRules | null
  /** Which ID token proves the customer's sign-in. The token endpoint's is ignored if FRONT_CHANNEL, and all if NONE. */
  readonly idToken: 'TOKEN_ENDPOINT' | 'FRONT_CHANNEL' | 'NONE'
  /** Whether the ID token names the consent (`openbanking_intent_id`). */
  readonly idTokenNamesConsent: boolean
  /** The scope of the customer's authorization; `{consentId}` is replaced. */
  readonly scope: string
  /** The scope of the gateway's own tokens. */
  readonly clientScope: string
  /** Further parameters of the authorization request; `{consentId}` is replaced in their values. */
  readonly authorizationParameters: Readonly<Record<string, string>>
  /** The scope that the bank expects in requests for the customer's tokens too; it is not sent if absent (RFC 6749, 4.1.3). */
  readonly tokenScope?: string | undefined
  /** Further parameters of every token request. */
  readonly tokenParameters: Readonly<Record<string, string>>
  /** The bank's own names of parameters of the authorization request, by the standard's names. */
  readonly parameterNames: Readonly<Record<string, string>>
  /** The bank's name for one parameter that holds all others in base64; null if they are sent as they are. */
  readonly base64Parameter: string | null
  /** Whether the parameters in it are percent-encoded, as a form is. */
  readonly encodesBase64Parameters: boolean
  /** The token that is sent to the account API. */
  readonly bearerToken: 'ACCESS_TOKEN' | 'ID_TOKEN'
  /** How much the bank's clock may differ. */
  readonly clockToleranceSeconds: number
}

/** Scopes of the standards that cover purchase data or payments; no profile can request them. */
const FORBIDDEN_SCOPE =
  /transaction|statement|payment|payee|beneficiar|direct.?debit|standing.?order|receipt|\bPIS|reward|purchase|merchant|bill|image/i
const PURCHASES_MESSAGE = 'must not cover transactions, payees or payments'
function isWithoutPurchases(text: string): boolean {
  return !FORBIDDEN_SCOPE.test(text)
}

const parameterName = z
  .string()
  .regex(/^[A-Za-z0-9_.-]{1,64}$/, '1 to 64 letters, digits, dots, hyphens or underscores')
/** The parameters that the gateway sets itself: a profile could otherwise widen the scope or weaken a check. */
const OWN_PARAMETERS = [
  'client_id',
  'response_type',
  'response_mode',
  'redirect_uri',
  'scope',
  'state',
  'nonce',
  'code_challenge',
  'code_challenge_method',
] as const
const RESERVED_PARAMETERS: ReadonlySet<string> = new Set([
  ...OWN_PARAMETERS,
  'request',
  'request_uri',
  'claims',
  'authorization_details',
  'grant_type',
  'code',
  'code_verifier',
  'refresh_token',
  'client_secret',
  'client_assertion',
  'client_assertion_type',
  'resource',
  'audience',
  // Claims of a request object (RFC 9101, 4; RFC 7519, 4.1): with `sub`, it would be a client assertion (RFC 9101, 10.8).
  'iss',
  'sub',
  'aud',
  'exp',
  'nbf',
  'iat',
  'jti',
])
const furtherName = parameterName.refine(
  (name) => !RESERVED_PARAMETERS.has(name.toLowerCase()),
  'must not be a parameter that the gateway sets itself',
)
/** Parameters that only one bank has: no name of the gateway's own, and nothing about purchases. */
export const furtherParameters = z
  .record(
    furtherName.refine(isWithoutPurchases, PURCHASES_MESSAGE),
    z.string().max(256).refine(isWithoutPurchases, PURCHASES_MESSAGE),
  )
  .refine((record) => Object.keys(record).length <= 16, 'at most 16 parameters')
/** The bank's names of the gateway's own parameters: no two may become one. */
const parameterNames = z
  .partialRecord(z.enum(OWN_PARAMETERS), furtherName)
  .refine((names) => new Set(Object.values(names)).size === Object.keys(names).length, 'must have different values')
const scope = z
  .string()
  .max(256)
  .regex(/^[\x21-\x7e]*( [\x21-\x7e]+)*$/, 'scope values separated by single spaces')
  .refine(isWithoutPurchases, PURCHASES_MESSAGE)

/** The members of `oauth` in a registration; all are optional. Every URL uses `urlSchema`. */
export const oauthMembers = (urlSchema: UrlSchema) =>
  z
    .strictObject({
      metadataUrl: urlSchema,
      endpoints: z.strictObject({
        authorization: urlSchema,
        token: urlSchema,
        pushedAuthorizationRequest: urlSchema.optional(),
        revocation: urlSchema.optional(),
        jwks: urlSchema.optional(),
        registration: urlSchema.optional(),
      }),
      tokenEndpoint: urlSchema,
      usesMetadataLink: z.boolean(),
      clientAuthentication: z.enum(CLIENT_AUTHENTICATION_METHODS),
      assertionAudience: z.enum(['ISSUER', 'TOKEN_ENDPOINT']),
      signingAlgorithm: z.enum(GATEWAY_ALGORITHMS),
      bankAlgorithm: z.enum(BANK_ALGORITHMS),
      usesOpenIdConnect: z.boolean(),
      responseType: z.enum(['code', 'code id_token']),
      usesUpperCaseResponseType: z.boolean(),
      opensAuthorization: z.boolean(),
      responseMode: z.enum(['query', 'fragment', 'jwt']),
      usesPar: z.boolean(),
      requestObject: z
        .strictObject({
          audience: z.string().min(1).max(512).default('ISSUER'),
          lifetimeSeconds: z.int().min(30).max(3_600).default(300),
          repeatedParameters: z.array(z.enum(REPEATED_PARAMETERS)).max(REPEATED_PARAMETERS.length).default([]),
        })
        .nullable(),
      idToken: z.enum(['TOKEN_ENDPOINT', 'FRONT_CHANNEL', 'NONE']),
      idTokenNamesConsent: z.boolean(),
      scope,
      clientScope: scope,
      tokenScope: scope,
      authorizationParameters: furtherParameters,
      tokenParameters: furtherParameters,
      parameterNames,
      base64Parameter: furtherName.or(z.literal('request')).nullable(),
      encodesBase64Parameters: z.boolean(),
      bearerToken: z.enum(['ACCESS_TOKEN', 'ID_TOKEN']),
      clockToleranceSeconds: z.int().min(0).max(300),
    })
    .partial()

/** The stated members of `oauth` over the standard's defaults. */
export const resolveOauthProfile = (defaults: OauthProfile, stated: StatedOauthProfile = {}): OauthProfile => ({
  ...defaults,
  ...(Object.fromEntries(Object.entries(stated).filter(([, value]) => value !== undefined)) as Partial<OauthProfile>),
})

/** What the bank expects in requests for the customer's tokens besides the parameters of the standards. */
export const customerTokenParameters = ({ tokenParameters, tokenScope }: OauthProfile): Record<string, string> => ({
  ...tokenParameters,
  ...(tokenScope !== undefined && { scope: tokenScope }),
})

/** The bank's name of a parameter of the authorization request. */
export const bankNameOf = ({ parameterNames }: OauthProfile, name: string): string =>
  Object.hasOwn(parameterNames, name) ? parameterNames[name]! : name

/** The members of a profile that a registration states. */
export type StatedOauthProfile = { readonly [K in keyof OauthProfile]?: OauthProfile[K] | undefined }

/** A contradiction between members of a profile; `path` is below `oauth`. */
export interface OauthFault {
  readonly path: readonly string[]
  readonly message: string
}

/** The contradictions of a complete profile. */
export function oauthFaults(profile: OauthProfile): OauthFault[] {
  const faults: OauthFault[] = []
  const expect = (holds: boolean, member: keyof OauthProfile, message: string): void => {
    if (!holds) faults.push({ path: [member], message })
  }
  const sources = [profile.metadataUrl !== undefined, profile.endpoints !== undefined, profile.usesMetadataLink]
  expect(
    sources.filter(Boolean).length <= 1,
    'metadataUrl',
    'must be the only one of `metadataUrl`, `endpoints` and `usesMetadataLink`',
  )
  expect(
    profile.tokenEndpoint === undefined || profile.endpoints === undefined,
    'tokenEndpoint',
    'must be absent with `endpoints`, which names it',
  )
  const isHybrid = profile.responseType === 'code id_token'
  expect(!isHybrid || profile.usesOpenIdConnect, 'responseType', '`code id_token` needs `usesOpenIdConnect`')
  expect(!isHybrid || profile.responseMode !== 'jwt', 'responseMode', 'must be query or fragment with `code id_token`')
  expect(isHybrid || profile.responseMode !== 'fragment', 'responseMode', '`fragment` needs `code id_token`')
  expect(isHybrid || profile.idToken !== 'FRONT_CHANNEL', 'idToken', '`FRONT_CHANNEL` needs `code id_token`')
  expect(profile.usesOpenIdConnect || profile.idToken === 'NONE', 'idToken', 'must be NONE without `usesOpenIdConnect`')
  expect(
    profile.idToken !== 'NONE' || !profile.idTokenNamesConsent,
    'idTokenNamesConsent',
    'must be false without an ID token',
  )
  expect(
    profile.bearerToken === 'ACCESS_TOKEN' || profile.idToken === 'TOKEN_ENDPOINT',
    'bearerToken',
    '`ID_TOKEN` needs the ID token of the token endpoint',
  )
  return faults
}
