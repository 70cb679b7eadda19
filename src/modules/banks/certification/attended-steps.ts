import {
  canPollAgain,
  createRequestCheck,
  isStepClaimable,
  STANDARDS,
  storedStep,
  toSignInInput,
  viewOfStep,
  type BankAccess,
  type OpenSignInStep,
  type PresentCustomer,
  type SignInInput,
  type SignInStep,
  type SignInView,
  type StepInput,
  type StoredStep,
} from '../../../connectors/index.ts'
import { addMs, HOUR_MS } from '../../../kernel/clock.ts'
import { GatewayError, toGatewayError, type ErrorCode } from '../../../kernel/errors.ts'
import type { FailureCause } from '../../../kernel/failure-causes.ts'
import { digest } from '../../../kernel/ids.ts'
import { RETRIES } from '../../../kernel/retry.ts'
import type { World } from '../../../kernel/world.ts'
import type { Database } from '../../../storage/database.ts'
import type { Seal, SealContext } from '../../../storage/seal.ts'
import type { Connector } from '../model.ts'
import type { Reach } from '../reach.ts'
import { recordHttp } from './check-context.ts'
import type { OpenAccesses } from './open-accesses.ts'
import type { AttendedSignInRow, AttendedSignInStore } from './sign-in-store.ts'

/** How a sign-in ended: with access, or with an error. */
export type AttendedResult =
  | { readonly access: BankAccess; readonly customer: PresentCustomer }
  | { readonly code: ErrorCode; readonly failureCause: FailureCause | undefined }

/** What is stored, sealed, while a run waits for its person. */
export interface AttendedSecrets {
  /** The secret in the link. */
  readonly link: string
  /** The present step of the newest attempt. Absent before the first. */
  readonly progress?: StoredStep | undefined
  /** Absent until the sign-in ends. */
  readonly result?: AttendedResult | undefined
  /** A fault of a request to the bank. */
  readonly requestFault?: string | undefined
}

/** Dependencies of the steps. */
export interface AttendedStepsDependencies {
  readonly store: AttendedSignInStore
  readonly database: Database
  readonly world: World
  readonly seal: Seal
  readonly reach: Reach
  readonly accesses: OpenAccesses
}

/** The present step, or that the sign-in has ended, or that nobody has begun an attempt. */
export type AttendedStep = SignInView | 'RETURNED' | 'NOT_STARTED'

/** Each attempt creates a consent at the bank. */
const MAX_ATTEMPTS = 10
const CONSENT_MS = 24 * HOUR_MS
const SECRET_BYTES = 32

const sealContext = (runId: string): SealContext => `certification-sign-in:${runId}`

/** Seals the secrets of a run's sign-in. */
export const sealAttended = (seal: Seal, runId: string, secrets: AttendedSecrets): Promise<string> =>
  seal.seal(sealContext(runId), secrets)

/** Unseals the secrets of a run's sign-in. */
export const unsealAttended = async (
  seal: Seal,
  { runId, sealed }: Pick<AttendedSignInRow, 'runId' | 'sealed'>,
): Promise<AttendedSecrets> => (await seal.unseal(sealContext(runId), sealed)) as AttendedSecrets

/** A new secret of a sign-in. */
export const createAttendedSecret = ({ randomness }: World): string =>
  randomness.bytes(SECRET_BYTES).toString('base64url')

/** The steps of people's sign-ins: the bank's own pages, forms of the gateway, and waits for the bank or its app. */
export function createAttendedSteps(dependencies: AttendedStepsDependencies) {
  const { store, database, world, seal, reach, accesses } = dependencies
  const { clock, timers } = world

  /** Connects the bank, and checks every request that is then sent to it. What the bank gives is recorded. */
  async function connectBank(runId: string, connector: Connector) {
    const { connect, http, standard, registration } = await reach.loadContext(connector)
    const recorder = recordHttp({ http, timers })
    const faultOf = createRequestCheck(STANDARDS[standard], registration)
    return {
      bank: accesses.record(runId, connect({ http: recorder.http, log: world.log, report: () => undefined })),
      findRequestFault: () => recorder.requests.map(faultOf).find((fault) => fault !== undefined),
      assertAllowed(step: SignInStep): void {
        if (step.kind === 'REDIRECT' && !http.isAllowedUrl(step.url))
          throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: 'the address of a sign-in page' })
      },
    }
  }

  /**
   * Begins an attempt with a `state` of its own, which replaces the one before it. Throws `INTERACTION_EXPIRED` unless the sign-in is
   * open, `RATE_LIMITED` after ten attempts, and the bank's error.
   */
  async function begin(
    { runId }: AttendedSignInRow,
    link: string,
    connector: Connector,
    customer: PresentCustomer,
  ): Promise<SignInView> {
    if (!(await store.countAttempt(runId, MAX_ATTEMPTS, clock.now()))) throw new GatewayError('RATE_LIMITED')
    const { bank, findRequestFault, assertAllowed } = await connectBank(runId, connector)
    const state = createAttendedSecret(world)
    const stateDigest = digest(state)
    const step = await bank.requestConsent({ expiresAt: addMs(clock.now(), CONSENT_MS), state, customer })
    assertAllowed(step)
    const progress = storedStep(step, 0, clock.now())
    const sealed = await sealAttended(seal, runId, { link, progress, requestFault: findRequestFault() })
    if (!(await replaceAttempt(runId, connector, { stateDigest, sealed }))) {
      await accesses.discard(stateDigest, connector.bankId)
      throw new GatewayError('INTERACTION_EXPIRED')
    }
    return viewOfStep(progress)
  }

  /** Stores an attempt, or none, and enqueues the end of what the one before it has. False if the sign-in is not open any more. */
  const replaceAttempt = (
    runId: string,
    { bankId }: Connector,
    attempt: { readonly stateDigest: string | null; readonly sealed: string },
  ): Promise<boolean> =>
    database.transaction(async (tx) => {
      const replaced = await store.storeAttempt(tx, runId, attempt, clock.now())
      if (replaced && replaced.stateDigest !== null) await accesses.enqueueEnd(tx, replaced.stateDigest, bankId)
      return replaced !== undefined
    })

  /** Ends the newest attempt, so that nothing completes it. */
  async function abandon({ runId }: AttendedSignInRow, link: string, connector: Connector): Promise<void> {
    const sealed = await sealAttended(seal, runId, { link })
    await replaceAttempt(runId, connector, { stateDigest: null, sealed })
  }

  /**
   * Continues a sign-in by one step, once: a repeated or concurrent request gets the present step. After an error of the bank, the
   * sign-in has ended with it. Throws `INTERACTION_EXPIRED` if the sign-in has ended or another request has this callback.
   */
  async function advance(
    row: AttendedSignInRow,
    connector: Connector,
    input: StepInput,
    customer: PresentCustomer,
  ): Promise<AttendedStep> {
    const secrets = await unsealAttended(seal, row)
    const { progress } = secrets
    if (!progress) return 'NOT_STARTED'
    const now = clock.now()
    const bankInput = toSignInInput(input, customer, progress, now)
    if (!bankInput) return viewOfStep(progress)
    const isClaimed = isStepClaimable(row.stepClaimedAt, progress, now) && (await store.claimStep(row, now))
    return isClaimed
      ? continueClaimed({ ...row, stepClaimedAt: now }, { ...secrets, progress }, connector, bankInput)
      : awaitStep(row, progress, bankInput)
  }

  /** The step to which another request leads. Nobody waits for the bank twice. */
  async function awaitStep(
    { runId, sealed }: AttendedSignInRow,
    progress: StoredStep,
    { kind }: SignInInput,
  ): Promise<AttendedStep> {
    if (kind === 'CALLBACK') throw new GatewayError('INTERACTION_EXPIRED')
    const deadlineMs = timers.monotonicMs() + (kind === 'FORM' ? RETRIES.repeatedDecision.timeoutMs : 0)
    while (timers.monotonicMs() < deadlineMs) {
      const row = await store.find(runId)
      if (!row || row.returnedAt) return 'RETURNED'
      const present = row.sealed === sealed ? undefined : (await unsealAttended(seal, row)).progress
      if (present) return viewOfStep(present)
      await timers.sleep(RETRIES.repeatedDecision.delaysMs[0])
    }
    return viewOfStep(progress)
  }

  async function continueClaimed(
    claimed: AttendedSignInRow,
    secrets: AttendedSecrets & { readonly progress: StoredStep },
    connector: Connector,
    input: SignInInput,
  ): Promise<AttendedStep> {
    const { link, progress } = secrets
    const { runId } = claimed
    const { bank, findRequestFault, assertAllowed } = await connectBank(runId, connector)
    const taken = await takeStep(progress, input.customer, async () => {
      const step = await bank.continueSignIn(input, progress.step.pending)
      assertAllowed(step)
      return step
    })
    const now = clock.now()
    const isOpen = 'kind' in taken
    const next = isOpen ? storedStep(taken, progress.number, now) : progress
    const sealed = await sealAttended(seal, runId, {
      link,
      progress: next,
      ...(!isOpen && { result: taken }),
      requestFault: secrets.requestFault ?? findRequestFault(),
    })
    const isStored = await (isOpen ? store.storeStep : store.storeResult)(claimed, sealed, now)
    if (!isStored) {
      await discardUnused(claimed, connector)
      throw new GatewayError('INTERACTION_EXPIRED')
    }
    return isOpen ? viewOfStep(next) : 'RETURNED'
  }

  /** Ends what an attempt has, unless another request has continued it after a long time. */
  async function discardUnused({ runId, stateDigest }: AttendedSignInRow, { bankId }: Connector): Promise<void> {
    const present = await store.find(runId)
    if (present?.stateDigest !== stateDigest) await accesses.discard(stateDigest!, bankId)
  }

  /** The next step, the present one if a poll of the bank has failed, or how the sign-in ended. */
  async function takeStep(
    progress: StoredStep,
    customer: PresentCustomer,
    take: () => Promise<SignInStep>,
  ): Promise<OpenSignInStep | AttendedResult> {
    try {
      const step = await take()
      return step.kind === 'COMPLETE' ? { access: step.access, customer } : step
    } catch (thrown) {
      const error = toGatewayError(thrown)
      if (canPollAgain(progress, error, clock.now())) return progress.step
      return { code: error.code, failureCause: error.failureCause }
    }
  }

  return { begin, advance, abandon }
}
