import type { BankAccess, BankInterface, OpenSignInStep, PendingSignIn } from '../../src/connectors/index.ts'

export const CUSTOMER = { ip: '203.0.113.9', userAgent: null }

type RedirectStep = Extract<OpenSignInStep, { kind: 'REDIRECT' }>

/** The redirect that a sign-in begins with. */
export async function redirectOf(started: Promise<OpenSignInStep>): Promise<RedirectStep> {
  const step = await started
  if (step.kind !== 'REDIRECT') throw new Error(`the sign-in begins with ${step.kind}`)
  return step
}

/** The access that a sign-in leads to by its callback, without a further step. */
export async function completeSignIn(bank: BankInterface, url: URL, pending: PendingSignIn): Promise<BankAccess> {
  const step = await bank.continueSignIn({ kind: 'CALLBACK', url, customer: CUSTOMER }, pending)
  if (step.kind !== 'COMPLETE') throw new Error(`the sign-in goes on with ${step.kind}`)
  return step.access
}
