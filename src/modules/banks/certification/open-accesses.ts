import type { BankAccess, BankInterface, PendingSignIn } from '../../../connectors/index.ts'
import { addMs, DAY_MS } from '../../../kernel/clock.ts'
import { digest } from '../../../kernel/ids.ts'
import type { Transaction } from '../../../kernel/transaction.ts'
import type { World } from '../../../kernel/world.ts'
import type { Database } from '../../../storage/database.ts'
import type { Seal } from '../../../storage/seal.ts'
import type { Outbox } from '../../outbox/index.ts'
import type { Connectors } from '../connectors.ts'
import type { Reach } from '../reach.ts'
import type { CertificationAccessRow, CertificationAccessStore } from './access-store.ts'
import type { CertificationStore } from './store.ts'

/** Dependencies of open accesses. */
export interface OpenAccessesDependencies {
  readonly store: CertificationAccessStore
  readonly runs: CertificationStore
  readonly database: Database
  readonly world: World
  readonly seal: Seal
  readonly outbox: Pick<Outbox, 'enqueue'>
  readonly connectors: Connectors
  readonly reach: Reach
}

/** A consent at the bank, with its tokens if there are any. */
type OpenAccess = Pick<BankAccess, 'consentRef'> & Partial<BankAccess>

/** The consents of runs end after a day by themselves. */
const CONSENT_LIFETIME_MS = DAY_MS

/** What certification runs have at banks. */
export type OpenAccesses = ReturnType<typeof createOpenAccesses>

/**
 * Creates the record of what runs have at banks: each consent and its tokens are stored as soon as the bank has returned them, so that
 * they are ended there even if the process of the run ends.
 */
export function createOpenAccesses(dependencies: OpenAccessesDependencies) {
  const { store, runs, database, world, seal, outbox, connectors, reach } = dependencies

  async function save(runId: string, id: string, access: OpenAccess): Promise<void> {
    const sealed = await seal.seal(`certification-access:${id}`, access)
    await store.save({ id, runId, sealed, createdAt: world.clock.now() })
  }

  async function revoke({ id, sealed }: CertificationAccessRow, bank: BankInterface): Promise<void> {
    await bank.revokeConsent((await seal.unseal(`certification-access:${id}`, sealed)) as OpenAccess)
    await store.delete(id)
  }

  return {
    /** The same bank. What it gives to the run is recorded, and forgotten when it was ended. */
    record(runId: string, bank: BankInterface): BankInterface {
      const idsByConsent = new Map<string, string>()

      async function note(state: string, access: OpenAccess): Promise<void> {
        if (access.consentRef === '') return
        const id = digest(state)
        idsByConsent.set(access.consentRef, id)
        await save(runId, id, access)
      }

      return {
        ...bank,
        async requestConsent(request) {
          const step = await bank.requestConsent(request)
          await note(request.state, accessOf(step.pending))
          return step
        },
        async continueSignIn(input, pending) {
          const step = await bank.continueSignIn(input, pending)
          const access = step.kind === 'COMPLETE' ? step.access : accessOf(step.pending)
          if (JSON.stringify(access) !== JSON.stringify(accessOf(pending))) await note(pending.state, access)
          return step
        },
        async refresh(access) {
          const renewed = await bank.refresh(access)
          const id = idsByConsent.get(access.consentRef)
          if (id !== undefined) await save(runId, id, renewed)
          return renewed
        },
        async revokeConsent(consent) {
          await bank.revokeConsent(consent)
          const id = idsByConsent.get(consent.consentRef)
          if (id !== undefined) await store.delete(id)
        },
      }
    },

    /** Ends what a run still has at the bank. What cannot be ended now stays recorded. */
    async endAll(runId: string, bank: BankInterface): Promise<void> {
      for (const row of await store.ofRun(runId)) await revoke(row, bank).catch(() => undefined)
    },

    /** Enqueues the end of what a run still has at the bank. */
    async enqueueEnds(tx: Transaction, runId: string, bankId: string): Promise<void> {
      for (const id of await store.idsOfRun(tx, runId)) await outbox.enqueue(tx, 'certification-access.end', id, bankId)
    },

    /** Enqueues the end of what the attempt of a sign-in has at the bank. */
    enqueueEnd: (tx: Transaction, stateDigest: string, bankId: string): Promise<void> =>
      outbox.enqueue(tx, 'certification-access.end', stateDigest, bankId),

    /** Ends what the attempt of a sign-in has at the bank: nobody can complete it any more. */
    discard: (stateDigest: string, bankId: string): Promise<void> =>
      database.transaction((tx) => outbox.enqueue(tx, 'certification-access.end', stateDigest, bankId)),

    /** The handler of `certification-access.end`. Throws the bank's error, unless the consent has ended by itself. */
    async end(id: string): Promise<void> {
      const row = await store.find(id)
      if (!row) return
      if (addMs(row.createdAt, CONSENT_LIFETIME_MS) <= world.clock.now()) return store.delete(id)
      const { connectorId } = (await runs.find(row.runId))!
      const connector = await connectors.requireConnector(connectorId)
      const { connect, http } = await reach.loadContext(connector)
      await revoke(row, connect({ http, log: world.log, report: () => undefined }))
    },
  }
}

/** What a sign-in that is not complete has at the bank. */
const accessOf = ({ consentRef, access }: PendingSignIn): OpenAccess => ({ ...access, consentRef })
