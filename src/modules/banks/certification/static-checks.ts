import {
  createEndpointCheck,
  createRequestCheck,
  endpointsOf,
  metadataFaults,
  metadataUrlOf,
  planRequests,
  requirementsOf,
  resolveOauthProfile,
  sendToBank,
  STANDARDS,
  withBankErrors,
  type Requirement,
  type ServerMetadata,
} from '../../../connectors/index.ts'
import { parseCertificates } from '../../../kernel/certificate.ts'
import { addMs, DAY_MS } from '../../../kernel/clock.ts'
import { filterAcceptedKeys } from '../../../kernel/public-keys.ts'
import { parseJson } from '../../../kernel/wire.ts'
import { assertCheck, CheckFailure, CheckSkipped, beginSignIn, type CheckContext } from './check-context.ts'

/** A certificate that ends sooner would end before the next scheduled run. */
const MIN_VALIDITY_MS = DAY_MS
const DOCUMENT_LIMITS = { timeoutMs: 4_000, maxBytes: 262_144 }

const profileOf = ({ target: { standard, registration } }: CheckContext) =>
  resolveOauthProfile(STANDARDS[standard].oauthDefaults, registration.oauth)

const endpointCheckOf = ({ target: { standard, registration } }: CheckContext) =>
  createEndpointCheck(registration, STANDARDS[standard].resourceServers(registration))

/** Everything that the registration needs of the operator is there, and valid beyond the next scheduled run. */
export function checkRequirements({ target, now }: CheckContext): void {
  const { standard, registration, credentials } = target
  const required = new Set(requirementsOf(STANDARDS[standard], registration))
  const rules: readonly (readonly [Requirement, isPresent: boolean])[] = [
    ['CLIENT_ID', registration.clientId !== undefined],
    ['CLIENT_SECRET', credentials.hasClientSecret],
    ['TRANSPORT_CERTIFICATE', credentials.hasIssuedTransportCertificate],
    ['SIGNING_CERTIFICATE', credentials.signingCertificate !== undefined],
  ]
  for (const [requirement, isPresent] of rules)
    assertCheck(isPresent || !required.has(requirement), `${requirement}_MISSING`)
  for (const chain of [credentials.transportCertificate, credentials.signingCertificate])
    assertCheck(
      (parseCertificates(chain ?? '') ?? []).every(({ validTo }) => isValidLongEnough(new Date(validTo), now())),
      'CERTIFICATE_EXPIRES_SOON',
    )
}

/** The authorization server publishes its metadata where the gateway reads it, and names itself as the issuer. */
export async function checkReachability(context: CheckContext): Promise<void> {
  const { registration } = context.target
  const { authorizationServer } = registration
  if (authorizationServer === undefined) throw new CheckSkipped('NOT_SUPPORTED')
  const profile = profileOf(context)
  const url = profile.usesMetadataLink ? undefined : metadataUrlOf(registration, profile)
  if (url === undefined) throw new CheckSkipped('NOT_SUPPORTED')
  const metadata = await readDocument(context, url)
  const issuer = typeof metadata?.['issuer'] === 'string' ? URL.parse(metadata['issuer'])?.href : undefined
  assertCheck(issuer === new URL(authorizationServer).href, 'METADATA_NOT_FOUND')
  context.metadata = metadata!
}

/** The metadata agrees with the profile: endpoints, client authentication, algorithms, response type and mode, PAR and PKCE. */
export function checkMetadata(context: CheckContext): void {
  const [fault] = metadataFaults(
    requireMetadata(context),
    context.target.registration,
    profileOf(context),
    endpointCheckOf(context),
  )
  if (fault !== undefined) throw new CheckFailure(fault)
}

/** The certificate of every server that the gateway calls is trusted and valid beyond the next scheduled run. */
export async function checkTls(context: CheckContext): Promise<void> {
  const { standard, registration } = context.target
  const { endpoints } = profileOf(context)
  const urls = [
    ...STANDARDS[standard].resourceServers(registration).map(({ baseUrl }) => baseUrl),
    registration.authorizationServer ?? registration.apiBase,
    ...Object.values(endpoints ?? {}).filter((url) => typeof url === 'string'),
    ...endpointsOf(context.metadata ?? {}, registration),
  ]
  for (const origin of new Set(urls.flatMap((url) => URL.parse(url)?.origin ?? []))) {
    const expiresAt = await withBankErrors(() => context.http.certificateExpiry(origin))
    assertCheck(expiresAt === null || isValidLongEnough(expiresAt, context.now()), 'CERTIFICATE_EXPIRES_SOON')
  }
}

/** The bank publishes a key for the algorithm that it signs with. */
export async function checkBankKeys(context: CheckContext): Promise<void> {
  const { idToken, responseMode, bankAlgorithm, endpoints } = profileOf(context)
  if (idToken === 'NONE' && responseMode !== 'jwt') throw new CheckSkipped('NOT_SUPPORTED')
  const url = endpoints ? endpoints.jwks : requireMetadata(context)['jwks_uri']
  assertCheck(typeof url === 'string' && endpointCheckOf(context)(url) === undefined, 'KEYS_NOT_FOUND')
  const document = await readDocument(context, url as string)
  const keys = document?.['keys']
  assertCheck(Array.isArray(keys), 'KEYS_NOT_FOUND')
  const accepted = filterAcceptedKeys(keys as unknown[], bankAlgorithm) as ServerMetadata[]
  assertCheck(
    accepted.some(({ kty, use }) => kty === KEY_TYPES[bankAlgorithm] && use !== 'enc'),
    'KEY_MISSING',
  )
}
const KEY_TYPES = { ES256: 'EC', PS256: 'RSA', RS256: 'RSA', EdDSA: 'OKP' } as const

/**
 * The bank creates a consent and says how the customer signs in. Nobody has to sign in for that. A bank that must know the customer
 * first has no consent yet.
 */
export async function checkConsent(context: CheckContext): Promise<void> {
  const step = await beginSignIn(context)
  if (step.kind === 'ASK' && step.pending.consentRef === '') throw new CheckSkipped('CUSTOMER_REQUIRED')
  if (step.kind === 'REDIRECT') assertCheck(context.http.isAllowedUrl(step.url), 'SIGN_IN_URL_NOT_ALLOWED')
}

/** Every request that the gateway plans, and every one of this run, is on the standard's allowlist and has its headers. */
export function checkRequests({ target, recorder, http, signInRequestFault }: CheckContext): void {
  const { standard, registration } = target
  const faultOf = createRequestCheck(STANDARDS[standard], registration)
  const planned = planRequests(STANDARDS[standard], registration).filter(({ purpose }) =>
    STANDARDS[standard].resourceServers(registration).some(({ operations }) => Object.hasOwn(operations, purpose)),
  )
  assertCheck(
    planned.every(({ url }) => http.isAllowedUrl(url)),
    'ADDRESS_NOT_ALLOWED',
  )
  const fault = signInRequestFault ?? recorder.requests.map(faultOf).find((each) => each !== undefined)
  if (fault !== undefined) throw new CheckFailure(fault)
}

const isValidLongEnough = (expiresAt: Date, now: Date): boolean => expiresAt > addMs(now, MIN_VALIDITY_MS)

/** The metadata of an earlier check. Skips the check if the bank publishes none, or if it could not be read. */
function requireMetadata(context: CheckContext): ServerMetadata {
  const { endpoints, usesMetadataLink } = profileOf(context)
  if (context.metadata) return context.metadata
  const hasMetadata = context.target.registration.authorizationServer !== undefined && !endpoints && !usesMetadataLink
  throw new CheckSkipped(hasMetadata ? 'PREREQUISITE_FAILED' : 'NOT_SUPPORTED')
}

/** A JSON object of the bank that needs no authentication; undefined if there is none at this address. */
async function readDocument({ http }: CheckContext, url: string): Promise<ServerMetadata | undefined> {
  const { status, text } = await sendToBank(http, {
    method: 'GET',
    url,
    headers: { accept: 'application/json' },
    ...DOCUMENT_LIMITS,
  })
  const document = status === 200 ? parseJson(text) : undefined
  return typeof document === 'object' && document !== null ? (document as ServerMetadata) : undefined
}
