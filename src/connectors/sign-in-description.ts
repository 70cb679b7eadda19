import type { Registration, Standard } from './connector.ts'
import { resolveOauthProfile, type OauthProfile } from './oauth-profile.ts'
import type { SignInField, SignInKind } from './sign-in.ts'

/** How the customers of a bank sign in, and what the gateway's own pages ask them, for operators. */
export function describeSignIn<R extends Registration>(standard: Standard<R>, registration: R): string {
  const { signInKind = 'OAUTH', questions = [] } = standard.describe(registration)
  const oauth = resolveOauthProfile(standard.oauthDefaults, registration.oauth)
  const requested = questions.map((name) => QUESTIONS[name]).join(', ')
  return `${KINDS[signInKind](oauth)}${requested === '' ? '' : `; the gateway asks for ${requested}`}`
}

/** How the gateway authenticates at a bank, for operators. `open` has the paths of members that the operator has yet to state. */
export function describeAuthentication<R extends Registration>(
  standard: Standard<R>,
  registration: R,
  open: readonly string[] = [],
): string {
  const { certificates, mutualTls } = registration
  const { clientAuthentication } = resolveOauthProfile(standard.oauthDefaults, registration.oauth)
  const isOpen = open.includes('oauth.clientAuthentication')
  if (clientAuthentication === 'none' && !isOpen) return mutualTls ? 'client certificate' : 'none'
  const method = isOpen ? 'as the bank says' : clientAuthentication
  if (!mutualTls) return method
  const isIssued = certificates?.transport === 'ISSUED' || open.includes('certificates.transport')
  return `${method}, ${isIssued ? 'mutual TLS' : 'mutual TLS (self-signed)'}`
}

function describeOauth({ usesPar, requestObject, signingAlgorithm, responseMode, responseType }: OauthProfile): string {
  const request = usesPar ? 'pushed' : requestObject ? `signed (${signingAlgorithm})` : 'plain'
  const response = responseMode === 'jwt' ? 'signed response (JARM)' : `response in the ${responseMode}`
  return `${responseType}, ${request} request, ${response}`
}

const KINDS: Readonly<Record<SignInKind, (oauth: OauthProfile) => string>> = {
  OAUTH: describeOauth,
  OAUTH_PRE_STEP: (oauth) => `${describeOauth(oauth)}, before the consent`,
  REDIRECT: () => 'page of the bank (redirect)',
  DECOUPLED: () => "the bank's app (decoupled)",
  EMBEDDED: () => 'a code on the page of the gateway (embedded)',
}
const QUESTIONS: Readonly<Record<SignInField['name'], string>> = {
  PSU_ID: 'PSU-ID',
  PSU_ID_TYPE: 'PSU-ID-Type',
  IBAN: 'the IBAN of the account',
  SCA_METHOD: 'the method',
  ONE_TIME_CODE: 'the code',
}
