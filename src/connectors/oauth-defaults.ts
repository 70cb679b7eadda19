import type { OauthProfile } from './oauth-profile.ts'

/** The authorization code flow with PKCE and signed client assertions, without OpenID Connect. */
export const CODE_FLOW: OauthProfile = {
  usesMetadataLink: false,
  clientAuthentication: 'private_key_jwt',
  assertionAudience: 'ISSUER',
  signingAlgorithm: 'ES256',
  bankAlgorithm: 'ES256',
  usesOpenIdConnect: false,
  responseType: 'code',
  usesUpperCaseResponseType: false,
  opensAuthorization: false,
  responseMode: 'query',
  usesPar: false,
  requestObject: null,
  idToken: 'NONE',
  idTokenNamesConsent: false,
  scope: '',
  clientScope: '',
  authorizationParameters: {},
  tokenParameters: {},
  parameterNames: {},
  base64Parameter: null,
  encodesBase64Parameters: true,
  bearerToken: 'ACCESS_TOKEN',
  clockToleranceSeconds: 30,
}

/** FAPI 1.0 Advanced with signed requests and JARM responses. */
export const FAPI_ADVANCED: OauthProfile = {
  ...CODE_FLOW,
  usesOpenIdConnect: true,
  responseMode: 'jwt',
  requestObject: { audience: 'ISSUER', lifetimeSeconds: 300, repeatedParameters: [] },
  idToken: 'TOKEN_ENDPOINT',
}
