import type { PresentCustomer, SignInView, StepInput } from '../../../connectors/index.ts'
import { addMs, MINUTE_MS } from '../../../kernel/clock.ts'
import { GatewayError } from '../../../kernel/errors.ts'
import { digest } from '../../../kernel/ids.ts'
import type { Transaction } from '../../../kernel/transaction.ts'
import type { World } from '../../../kernel/world.ts'
import type { Database } from '../../../storage/database.ts'
import type { Seal } from '../../../storage/seal.ts'
import type { Connectors } from '../connectors.ts'
import { outlineSignIn, type Bank, type CertificationRun, type SignInOutline } from '../model.ts'
import type { Reach } from '../reach.ts'
import {
  createAttendedSecret,
  createAttendedSteps,
  sealAttended,
  unsealAttended,
  type AttendedResult,
  type AttendedSecrets,
  type AttendedStep,
} from './attended-steps.ts'
import type { OpenAccesses } from './open-accesses.ts'
import type { AttendedSignInRow, AttendedSignInStore } from './sign-in-store.ts'
import type { CertificationStore } from './store.ts'

/** Dependencies of attended sign-ins. */
export interface AttendedSignInDependencies {
  readonly store: AttendedSignInStore
  readonly runs: CertificationStore
  readonly database: Database
  readonly world: World
  readonly seal: Seal
  readonly issuer: string
  readonly connectors: Connectors
  readonly reach: Reach
  readonly accesses: OpenAccesses
}

/** How the sign-in of a run ended. INTERRUPTED: the process that continued the run has ended. */
export type AttendedOutcome = Pick<AttendedSecrets, 'requestFault'> &
  ({ readonly kind: 'RETURNED'; readonly result: AttendedResult } | { readonly kind: 'TIMED_OUT' | 'INTERRUPTED' })

/** How long a link works. */
const LIFETIME_MS = 30 * MINUTE_MS

/** The path of a link, before its secret. */
export const CERTIFICATION_LINK_PATH = '/certification'

/** The sign-ins of people who attend certification runs. */
export type AttendedSignIns = ReturnType<typeof createAttendedSignIns>

/**
 * Creates the sign-ins. A run waits for its person without a process. Its link is a secret that only the partner can read; the person who
 * has it can attempt the sign-in until somebody has returned from the bank. Each attempt has a `state` of its own, which belongs to
 * no consent of a customer and works once.
 */
export function createAttendedSignIns(dependencies: AttendedSignInDependencies) {
  const { store, runs, database, world, seal, issuer, connectors } = dependencies
  const { clock } = world
  const steps = createAttendedSteps(dependencies)
  const isOpen = ({ returnedAt, resumedAt, expiresAt }: AttendedSignInRow): boolean =>
    !returnedAt && !resumedAt && expiresAt > clock.now()

  /** The open sign-in with this link. Throws `INTERACTION_EXPIRED` if there is none. */
  async function requireOpen(link: string): Promise<AttendedSignInRow> {
    const row = await store.findByLink(digest(link))
    if (!row || !isOpen(row)) throw new GatewayError('INTERACTION_EXPIRED')
    return row
  }

  async function requireConnectorOf(runId: string) {
    const run = await runs.find(runId)
    return connectors.requireConnector(run!.connectorId)
  }

  return {
    /** Lets a claimed run wait for its person, without a process. */
    async wait(runId: string): Promise<void> {
      const link = createAttendedSecret(world)
      const row = {
        runId,
        linkDigest: digest(link),
        sealed: await sealAttended(seal, runId, { link }),
        expiresAt: addMs(clock.now(), LIFETIME_MS),
      }
      await database.transaction(async (tx) => {
        await store.add(tx, row)
        await runs.release(tx, runId)
      })
    },

    /** The link of a run, for the partner. Null unless the run waits for its person. */
    async signInUrl({ id, level, status }: CertificationRun): Promise<string | null> {
      if (level !== 'ATTENDED' || status !== 'RUNNING') return null
      const row = await store.find(id)
      return row && isOpen(row) ? `${issuer}${CERTIFICATION_LINK_PATH}/${(await unsealAttended(seal, row)).link}` : null
    },

    /** The bank of a link, and how one signs in there. Throws `INTERACTION_EXPIRED` unless the link works. */
    async bankOfLink(link: string): Promise<Bank & { readonly signIn: SignInOutline }> {
      const connector = await requireConnectorOf((await requireOpen(link)).runId)
      return { ...(await connectors.requireBank(connector.bankId)), signIn: outlineSignIn(connector) }
    },

    /**
     * Begins an attempt: creates a consent for 24 hours at the bank and returns the first step. An earlier attempt can no longer be
     * completed. Throws `INTERACTION_EXPIRED` unless the link works, `RATE_LIMITED` after ten attempts, and the bank's error.
     */
    async start(link: string, customer: PresentCustomer): Promise<SignInView> {
      const row = await requireOpen(link)
      return steps.begin(row, link, await requireConnectorOf(row.runId), customer)
    },

    /** Continues the newest attempt by a form or a poll. Throws `INTERACTION_EXPIRED` unless the link works. */
    async continue(link: string, input: StepInput, customer: PresentCustomer): Promise<AttendedStep> {
      const row = await requireOpen(link)
      return steps.advance(row, await requireConnectorOf(row.runId), input, customer)
    },

    /**
     * Continues by the bank's callback if its `state` belongs to a run. Returns the link and the next step; undefined if it belongs to
     * none. Throws `INTERACTION_EXPIRED` if the sign-in is over, or if another request has taken the callback.
     */
    async receive(
      state: string,
      url: URL,
      customer: PresentCustomer,
    ): Promise<{ readonly link: string; readonly step: AttendedStep } | undefined> {
      const row = await store.findByState(digest(state))
      if (!row) return undefined
      if (!isOpen(row)) throw new GatewayError('INTERACTION_EXPIRED')
      const { link } = await unsealAttended(seal, row)
      const connector = await requireConnectorOf(row.runId)
      return { link, step: await steps.advance(row, connector, { kind: 'CALLBACK', url }, customer) }
    },

    /** Ends the newest attempt, so that nothing completes it. The link can be attempted again. */
    async abandon(link: string): Promise<void> {
      const row = await requireOpen(link)
      await steps.abandon(row, link, await requireConnectorOf(row.runId))
    },

    /** Deletes the link, and what the bank returned, of a run that has ended. */
    forget: (tx: Transaction, runId: string): Promise<void> => store.delete(tx, runId),

    /** How the sign-in of a claimed run ended. Undefined if the run has not waited yet. */
    async resume(runId: string): Promise<AttendedOutcome | undefined> {
      if (!(await store.find(runId))) return undefined
      const isFirst = await store.resume(runId, clock.now())
      const { result, requestFault } = await unsealAttended(seal, (await store.find(runId))!)
      if (!isFirst) return { kind: 'INTERRUPTED', requestFault }
      return result ? { kind: 'RETURNED', result, requestFault } : { kind: 'TIMED_OUT', requestFault }
    },
  }
}
