import type { OutboundHttp } from '../../../kernel/outbound-http.ts'
import { parseJson } from '../../../kernel/wire.ts'
import { sendToBank, type Registration } from '../../../connectors/index.ts'
import {
  assertCheck,
  CheckFailure,
  errorCodeOf,
  finishSignIn,
  signIn,
  startSignIn,
  type CheckContext,
} from './check-context.ts'

/** The authorization server publishes its metadata. */
export async function checkReachability(context: CheckContext): Promise<void> {
  assertCheck(await isMetadataPublished(context.target.registration, context.http), 'METADATA_NOT_FOUND')
}

/** The bank creates a consent and says where the customer signs in. */
export async function checkConsent(context: CheckContext): Promise<void> {
  const { url } = await startSignIn(context)
  assertCheck(context.http.isAllowedUrl(url), 'SIGN_IN_URL_NOT_ALLOWED')
}

/** A sign-in that the customer cancels is recognized as refused. */
export async function checkCancelledSignIn(context: CheckContext): Promise<void> {
  const { url, pending } = await startSignIn(context)
  const { callback } = await context.requireTestInterface().signIn(url, 'CANCEL')
  if (!callback) throw new CheckFailure('NO_REDIRECT_BACK')
  assertCheck((await errorCodeOf(finishSignIn(context, callback, pending))) === 'BANK_REFUSED', 'CANCEL_NOT_RECOGNIZED')
}

/** A sign-in that the customer abandons leads to no access, not even by a forged callback. */
export async function checkAbandonedSignIn(context: CheckContext): Promise<void> {
  const { url, pending } = await startSignIn(context)
  assertCheck(
    (await context.requireTestInterface().signIn(url, 'ABANDON')).callback === null,
    'UNEXPECTED_REDIRECT_BACK',
  )
  const forgedCallback = new URL(context.target.registration.authorizationServer)
  forgedCallback.search = new URLSearchParams({
    state: pending.state,
    code: 'made-up',
    iss: context.target.registration.authorizationServer,
  }).toString()
  assertCheck((await errorCodeOf(finishSignIn(context, forgedCallback, pending))) !== 'NONE', 'FORGED_CODE_ACCEPTED')
}

/** A sign-in leads to access. */
export async function checkSignIn(context: CheckContext): Promise<void> {
  const { access, shared } = await signIn(context)
  assertCheck(access.consentRef !== '', 'CONSENT_ID_MISSING')
  Object.assign(context, { access, sharedAccountRefs: shared })
}

/** RFC 8414 or OpenID Connect Discovery, at an address that names itself as the issuer. */
async function isMetadataPublished({ authorizationServer }: Registration, http: OutboundHttp): Promise<boolean> {
  for (const name of ['openid-configuration', 'oauth-authorization-server']) {
    const url = new URL(authorizationServer)
    url.pathname =
      name === 'openid-configuration'
        ? `${url.pathname.replace(/\/$/, '')}/.well-known/${name}`
        : `/.well-known/${name}${url.pathname.replace(/\/$/, '')}`
    const response = await sendToBank(http, { method: 'GET', url: url.href, timeoutMs: 4_000, maxBytes: 262_144 })
    const issuer = (parseJson(response.text) as { issuer?: unknown } | undefined)?.issuer
    if (response.status === 200 && issuer === authorizationServer) return true
  }
  return false
}
