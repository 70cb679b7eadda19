import {
  assertCheck,
  CheckFailure,
  errorCodeOf,
  finishSignIn,
  startSignIn,
  type CheckContext,
} from './check-context.ts'

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
  const { authorizationServer, apiBase } = context.target.registration
  const forgedCallback = new URL(authorizationServer ?? apiBase)
  forgedCallback.search = new URLSearchParams({
    state: pending.state,
    code: 'made-up',
    ...(authorizationServer !== undefined && { iss: authorizationServer }),
  }).toString()
  assertCheck((await errorCodeOf(finishSignIn(context, forgedCallback, pending))) !== 'NONE', 'FORGED_CODE_ACCEPTED')
}

/** A sign-in leads to access. */
export async function checkSignIn(context: CheckContext): Promise<void> {
  const { access, shared } = await context.signIn()
  assertCheck(access.consentRef !== '', 'CONSENT_ID_MISSING')
  Object.assign(context, { access, sharedAccountRefs: shared })
}
