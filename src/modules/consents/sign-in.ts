import type { OpenSignInStep, PendingSignIn, SignInField, WaitsFor } from '../../connectors/index.ts'
import { addMs, SECOND_MS } from '../../kernel/clock.ts'
import type { Seal } from '../../storage/seal.ts'
import type { SignInRow } from './sign-in-store.ts'

/** What is stored, sealed, until the sign-in continues. */
export interface SignInSecrets {
  readonly step: OpenSignInStep
  /** Counts the steps, so that a form counts only for the step that it was made for. */
  readonly number: number
  /** When the bank can be polled again, ISO 8601, UTC. Absent unless the step is a WAIT. */
  readonly nextPollAt?: string | undefined
  readonly claimsSameCustomer: boolean
}

/** What the customer sees of a step. */
export type SignInView =
  | { readonly kind: 'REDIRECT'; readonly url: string }
  | {
      readonly kind: 'ASK'
      readonly number: number
      readonly fields: readonly SignInField[]
      readonly isRepeated: boolean
    }
  | { readonly kind: 'WAIT'; readonly waitsFor: WaitsFor; readonly pollAfterSeconds: number }

/** What a version before the steps stored. */
interface RedirectSecrets {
  readonly url: string
  readonly resume: PendingSignIn
  readonly claimsSameCustomer: boolean
}

/** Unseals what was stored for a sign-in. */
export async function unsealSignIn(seal: Seal, { consentId, sealedData }: SignInRow): Promise<SignInSecrets> {
  const stored = (await seal.unseal(`sign-in:${consentId}`, sealedData)) as SignInSecrets | RedirectSecrets
  if ('step' in stored) return stored
  const { url, resume, claimsSameCustomer } = stored
  return { step: { kind: 'REDIRECT', url, pending: resume }, number: 1, claimsSameCustomer }
}

/** What is stored for a step that follows the step with this number. */
export const secretsOf = (
  step: OpenSignInStep,
  { number, claimsSameCustomer }: Pick<SignInSecrets, 'number' | 'claimsSameCustomer'>,
  now: Date,
): SignInSecrets => ({
  step,
  number: number + 1,
  ...(step.kind === 'WAIT' && { nextPollAt: addMs(now, step.pollAfterSeconds * SECOND_MS).toISOString() }),
  claimsSameCustomer,
})

/** What the customer sees of what is stored. */
export function viewOf({ step, number }: SignInSecrets): SignInView {
  switch (step.kind) {
    case 'REDIRECT':
      return { kind: 'REDIRECT', url: step.url }
    case 'ASK':
      return { kind: 'ASK', number, fields: step.fields, isRepeated: step.isRepeated }
    case 'WAIT':
      return { kind: 'WAIT', waitsFor: step.waitsFor, pollAfterSeconds: step.pollAfterSeconds }
  }
}
