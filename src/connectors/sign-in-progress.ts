import { addMs, MINUTE_MS, SECOND_MS, subtractMs } from '../kernel/clock.ts'
import type { GatewayError } from '../kernel/errors.ts'
import type { PresentCustomer } from './access.ts'
import type { OpenSignInStep, SignInField, SignInInput, SignInValues, WaitsFor } from './sign-in.ts'

/** The present step of a sign-in, as it is stored, sealed, until the sign-in continues. */
export interface StoredStep {
  readonly step: OpenSignInStep
  /** Counts the steps, so that a form counts only for the step that it was made for. */
  readonly number: number
  /** When the bank can be polled again, ISO 8601, UTC. Absent unless the step is a WAIT. */
  readonly nextPollAt?: string | undefined
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

/** What continues a sign-in: the bank's callback, the form of one step, or a request for the present step. */
export type StepInput =
  /** `url` is the redirect URI as the bank called it, with its parameters. */
  | { readonly kind: 'CALLBACK'; readonly url: URL }
  | { readonly kind: 'FORM'; readonly number: number; readonly values: SignInValues }
  | { readonly kind: 'POLL' }

/** After this time, no request can still be polling a bank: the process that did has ended. */
const POLL_LEASE_MS = MINUTE_MS

/** What is stored for a step that follows the step with this number. */
export const storedStep = (step: OpenSignInStep, previousNumber: number, now: Date): StoredStep => ({
  step,
  number: previousNumber + 1,
  ...(step.kind === 'WAIT' && { nextPollAt: addMs(now, step.pollAfterSeconds * SECOND_MS).toISOString() }),
})

/** What the customer sees of what is stored. */
export function viewOfStep({ step, number }: StoredStep): SignInView {
  switch (step.kind) {
    case 'REDIRECT':
      return { kind: 'REDIRECT', url: step.url }
    case 'ASK':
      return { kind: 'ASK', number, fields: step.fields, isRepeated: step.isRepeated }
    case 'WAIT':
      return { kind: 'WAIT', waitsFor: step.waitsFor, pollAfterSeconds: step.pollAfterSeconds }
  }
}

/** Whether nobody has claimed the present step, or the process that polled the bank for it has ended. */
export const isStepClaimable = (claimedAt: Date | null, { step }: StoredStep, now: Date): boolean =>
  claimedAt === null || (step.kind === 'WAIT' && claimedAt <= subtractMs(now, POLL_LEASE_MS))

/** What the bank's connector gets. Undefined if the input does not fit the present step, which is then only shown. */
export function toSignInInput(
  input: StepInput,
  customer: PresentCustomer,
  { step, number, nextPollAt }: StoredStep,
  now: Date,
): SignInInput | undefined {
  switch (input.kind) {
    case 'CALLBACK':
      return step.kind === 'REDIRECT' ? { kind: 'CALLBACK', url: input.url, customer } : undefined
    case 'FORM':
      return step.kind === 'ASK' && input.number === number
        ? { kind: 'FORM', values: input.values, customer }
        : undefined
    case 'POLL':
      return step.kind === 'WAIT' && now.toISOString() >= (nextPollAt ?? '') ? { kind: 'POLL', customer } : undefined
  }
}

/** Whether a poll that failed says nothing about the sign-in, so that it goes on. It is bounded by the step. */
export const canPollAgain = ({ step }: StoredStep, { definition }: GatewayError, now: Date): boolean =>
  step.kind === 'WAIT' && definition.category === 'BANK' && definition.retryable && now.toISOString() < step.expiresAt
