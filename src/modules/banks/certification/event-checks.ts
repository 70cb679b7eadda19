import {
  assertCheck,
  errorCodeOf,
  requireAccess,
  requireSharedAccount,
  signIn,
  type CheckContext,
} from './check-context.ts'

const isAccepted = (status: number): boolean => status >= 200 && status < 300

/** Alerts are accepted once, and a forged one is refused. */
export async function checkEvents(context: CheckContext): Promise<void> {
  requireAccess(context)
  const account = requireSharedAccount(context)
  await context.bank.pollEvents?.({ acknowledged: [], rejected: [] })
  assertCheck(
    (await context.requireTestInterface().pushAlert(account, 'VALID')).every(isAccepted),
    'EVENT_NOT_ACCEPTED',
  )
  assertCheck(
    (await context.requireTestInterface().pushAlert(account, 'DUPLICATE')).every(isAccepted),
    'DUPLICATE_EVENT_NOT_ACCEPTED',
  )
  const forgedStatuses = await context.target.expectForgedEvent(() =>
    context.requireTestInterface().pushAlert(account, 'TAMPERED'),
  )
  assertCheck(forgedStatuses.length > 0 && forgedStatuses.every((status) => status === 400), 'FORGED_EVENT_ACCEPTED')
}

/** A consent that the gateway has ended authorizes no access. */
export async function checkRevocationByGateway(context: CheckContext): Promise<void> {
  const access = requireAccess(context)
  await context.bank.revokeConsent(access)
  assertCheck((await errorCodeOf(context.bank.accounts(access, null))) === 'RECONNECT_REQUIRED', 'ACCESS_NOT_REVOKED')
  if (access.refreshToken !== null)
    assertCheck((await errorCodeOf(context.bank.refresh(access))) !== 'NONE', 'TOKEN_STILL_REFRESHED')
}

/** The bank reports a consent that the customer has ended there, and it authorizes no access. */
export async function checkRevocationAtBank(context: CheckContext): Promise<void> {
  const { access } = await signIn(context)
  const statuses = await context.requireTestInterface().revokeConsent(access.consentRef)
  assertCheck(statuses.length > 0 && statuses.every(isAccepted), 'REVOCATION_EVENT_NOT_ACCEPTED')
  assertCheck((await errorCodeOf(context.bank.accounts(access, null))) === 'RECONNECT_REQUIRED', 'ACCESS_NOT_REVOKED')
}
