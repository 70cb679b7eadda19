import type { BankAccess, BankInterface, OpenSignInStep, PendingSignIn } from '../../src/connectors/index.ts'
import type { SignInStep } from '../../src/connectors/sign-in.ts'

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

/** Continues a sign-in with a form, a poll or a callback. */
export interface SignInSteps {
  submit(step: SignInStep, values: Readonly<Record<string, string>>): Promise<SignInStep>
  poll(step: SignInStep): Promise<SignInStep>
  back(step: SignInStep, search: string): Promise<SignInStep>
}

/** The steps of sign-ins at a bank. */
export function stepsOf(bank: BankInterface): SignInSteps {
  const pendingOf = (step: SignInStep): PendingSignIn => {
    if (step.kind === 'COMPLETE') throw new Error('the sign-in is complete')
    // What is stored is JSON.
    return JSON.parse(JSON.stringify(step.pending)) as PendingSignIn
  }
  return {
    submit: (step, values) => bank.continueSignIn({ kind: 'FORM', values, customer: CUSTOMER }, pendingOf(step)),
    poll: (step) => bank.continueSignIn({ kind: 'POLL', customer: CUSTOMER }, pendingOf(step)),
    back: (step, search) =>
      bank.continueSignIn(
        { kind: 'CALLBACK', url: new URL(`https://gateway.example/bank/callback${search}`), customer: CUSTOMER },
        pendingOf(step),
      ),
  }
}
