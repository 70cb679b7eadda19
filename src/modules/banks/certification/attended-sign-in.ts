import type { PendingSignIn, PresentCustomer } from '../../../connectors/index.ts'
import { addMs, HOUR_MS, MINUTE_MS } from '../../../kernel/clock.ts'
import { GatewayError } from '../../../kernel/errors.ts'
import { digest } from '../../../kernel/ids.ts'
import type { Transaction } from '../../../kernel/transaction.ts'
import type { World } from '../../../kernel/world.ts'
import type { Database } from '../../../storage/database.ts'
import type { Seal } from '../../../storage/seal.ts'
import type { Connectors } from '../connectors.ts'
import type { Bank, CertificationRun } from '../model.ts'
import type { Reach } from '../reach.ts'
import { waitForBank } from './check-context.ts'
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
}

/** How the sign-in of a run ended. INTERRUPTED: the process that continued the run has ended. */
export type AttendedOutcome =
  | {
      readonly kind: 'RETURNED'
      readonly callback: URL
      readonly pending: PendingSignIn
      readonly customer: PresentCustomer
    }
  | { readonly kind: 'TIMED_OUT' | 'INTERRUPTED'; readonly pending: PendingSignIn | undefined }

/** What is stored, sealed, while a run waits for its person. */
interface AttendedSecrets {
  /** The secret in the link. */
  readonly link: string
  readonly pending?: PendingSignIn
  readonly callback?: { readonly url: string; readonly customer: PresentCustomer }
}

/** How long a link works. */
const LIFETIME_MS = 30 * MINUTE_MS
/** Each attempt creates a consent at the bank. */
const MAX_ATTEMPTS = 10
const CONSENT_MS = 24 * HOUR_MS
const LINK_BYTES = 32

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
  const { store, runs, database, world, seal, issuer, connectors, reach } = dependencies
  const { clock, randomness } = world
  const secret = (): string => randomness.bytes(LINK_BYTES).toString('base64url')
  const sealFor = (runId: string, secrets: AttendedSecrets) => seal.seal(`certification-sign-in:${runId}`, secrets)
  const unsealOf = async ({ runId, sealed }: AttendedSignInRow) =>
    (await seal.unseal(`certification-sign-in:${runId}`, sealed)) as AttendedSecrets
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
      const link = secret()
      const row = {
        runId,
        linkDigest: digest(link),
        sealed: await sealFor(runId, { link }),
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
      return row && isOpen(row) ? `${issuer}${CERTIFICATION_LINK_PATH}/${(await unsealOf(row)).link}` : null
    },

    /** The bank of a link. Throws `INTERACTION_EXPIRED` unless the link works. */
    async bankOfLink(link: string): Promise<Bank> {
      const { bankId } = await requireConnectorOf((await requireOpen(link)).runId)
      return connectors.requireBank(bankId)
    },

    /**
     * Begins an attempt: creates a consent for 24 hours at the bank and returns the address of its sign-in page. An earlier attempt can
     * no longer be completed. Throws `INTERACTION_EXPIRED` unless the link works, `RATE_LIMITED` after ten attempts, and the bank's error.
     */
    async start(link: string, customer: PresentCustomer): Promise<string> {
      const { runId } = await requireOpen(link)
      if (!(await store.countAttempt(runId, MAX_ATTEMPTS, clock.now()))) throw new GatewayError('RATE_LIMITED')
      const { connect, http } = await reach.loadContext(await requireConnectorOf(runId))
      const bank = connect({ http, log: world.log, report: () => undefined })
      const state = secret()
      const first = await bank.requestConsent({ expiresAt: addMs(clock.now(), CONSENT_MS), state, customer })
      const step = await waitForBank({ bank, timers: world.timers }, first, customer)
      if (step.kind !== 'REDIRECT' || !http.isAllowedUrl(step.url))
        throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: `the first step is ${step.kind}` })
      const attempt = { stateDigest: digest(state), sealed: await sealFor(runId, { link, pending: step.pending }) }
      if (!(await store.storeAttempt(runId, attempt, clock.now()))) throw new GatewayError('INTERACTION_EXPIRED')
      return step.url
    },

    /**
     * Takes the bank's callback if its `state` belongs to a run, whose checks then continue. False if it belongs to none. Throws
     * `INTERACTION_EXPIRED` if the sign-in is over, or if another request has taken the callback.
     */
    async receive(state: string, url: URL, customer: PresentCustomer): Promise<boolean> {
      const stateDigest = digest(state)
      const row = await store.findByState(stateDigest)
      if (!row) return false
      const secrets = await unsealOf(row)
      const sealed = await sealFor(row.runId, { ...secrets, callback: { url: url.href, customer } })
      if (!(await store.storeReturn(stateDigest, sealed, clock.now()))) throw new GatewayError('INTERACTION_EXPIRED')
      return true
    },

    /** Deletes the link, and what the bank returned, of a run that has ended. */
    forget: (tx: Transaction, runId: string): Promise<void> => store.delete(tx, runId),

    /** How the sign-in of a claimed run ended. Undefined if the run has not waited yet. */
    async resume(runId: string): Promise<AttendedOutcome | undefined> {
      if (!(await store.find(runId))) return undefined
      const isFirst = await store.resume(runId, clock.now())
      const { pending, callback } = await unsealOf((await store.find(runId))!)
      if (!isFirst) return { kind: 'INTERRUPTED', pending }
      if (!callback || !pending) return { kind: 'TIMED_OUT', pending }
      return { kind: 'RETURNED', callback: new URL(callback.url), customer: callback.customer, pending }
    },
  }
}
