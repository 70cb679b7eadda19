import { MINUTE_MS } from '../../../kernel/clock.ts'
import { newId } from '../../../kernel/ids.ts'
import { throwInvalidInput } from '../../../kernel/input-faults.ts'
import { connectionByTime, type Connection, type PageArguments } from '../../../kernel/pagination.ts'
import { RETRIES } from '../../../kernel/retry.ts'
import type { World } from '../../../kernel/world.ts'
import type { Database } from '../../../storage/database.ts'
import type { Seal } from '../../../storage/seal.ts'
import type { Outbox } from '../../outbox/index.ts'
import type { Connectors } from '../connectors.ts'
import type { Lifecycle } from '../lifecycle.ts'
import type { BankCertification, CertificationLevel, CertificationRun, Connector } from '../model.ts'
import type { Reach } from '../reach.ts'
import { certificationAccessStore } from './access-store.ts'
import { createAttendedSignIns, type AttendedSignIns } from './attended-sign-in.ts'
import { CHECK_NAMES } from './checks.ts'
import { createOpenAccesses } from './open-accesses.ts'
import { createRunExecution } from './run-execution.ts'
import { attendedSignInStore } from './sign-in-store.ts'
import type { CertificationStore } from './store.ts'

/** The dependencies of certification. */
export interface CertificationDependencies {
  readonly store: CertificationStore
  readonly database: Database
  readonly world: World
  readonly seal: Seal
  readonly issuer: string
  readonly connectors: Connectors
  readonly reach: Reach
  readonly lifecycle: Lifecycle
  readonly outbox: Pick<Outbox, 'enqueue'>
}

/** Certification runs: requested by a partner or scheduled. One process at a time executes a run. */
export interface Certification {
  /**
   * Adds a run; its checks can be read as they end. The default level is AUTOMATIC with a test interface and ATTENDED without one.
   * Throws `STATE_CONFLICT` while another runs, and `INVALID_INPUT` for AUTOMATIC without a test interface.
   */
  startCertification(
    actorClientId: string,
    connectorId: string,
    level?: CertificationLevel | null,
  ): Promise<CertificationRun>
  /** Claims and executes the oldest waiting run of these triggers. Returns false if there is none. */
  runNextCertification(triggers: readonly CertificationRun['trigger'][]): Promise<boolean>
  /** Adds a run of each active connector whose last one is old enough. Returns how many. */
  scheduleCertifications(): Promise<number>
  /** The handler of `certification-access.end`: ends a consent that a run has left at the bank. Throws the bank's error. */
  endCertificationAccess(id: string): Promise<void>
  findCertificationRun(id: string): Promise<CertificationRun | null>
  /** How each of these connectors was certified last. One that never was is absent. */
  certificationsOf(connectorIds: readonly string[]): Promise<ReadonlyMap<string, BankCertification>>
  /** The sign-ins of people who attend runs. */
  readonly attendedSignIns: AttendedSignIns
  /** A page of the connector's runs, newest first. Throws `INVALID_INPUT` with every fault of `page`. */
  certificationRuns(connectorId: string, page: PageArguments): Promise<Connection<CertificationRun>>
}

const RERUN_AFTER_MS = {
  passed: RETRIES.scheduledCertification.delaysMs[0],
  failed: RETRIES.failedCertification.delaysMs[0],
}
/** Longer than a run takes. After it, a run of a process that has ended is started again. */
const LEASE_MS = 3 * MINUTE_MS

/** Creates the runs. */
export function createCertification(dependencies: CertificationDependencies): Certification {
  const { store, database, world, connectors, lifecycle } = dependencies
  const { clock, randomness } = world
  const accesses = createOpenAccesses({ ...dependencies, store: certificationAccessStore(database), runs: store })
  const signIns = attendedSignInStore(database)
  const attended = createAttendedSignIns({ ...dependencies, store: signIns, runs: store, accesses })
  const execute = createRunExecution({ ...dependencies, attended, accesses })
  let lastClaim: Promise<unknown> = Promise.resolve()

  /** Claims of one process run one after another, so that each sees what the one before it took. */
  function claim(triggers: readonly CertificationRun['trigger'][]): Promise<CertificationRun | null> {
    const claimNext = () => store.claim(triggers, clock.now(), LEASE_MS)
    const claimed = lastClaim.then(claimNext, claimNext)
    lastClaim = claimed
    return claimed
  }

  /** AUTOMATIC for a connector that was certified so; otherwise STATIC, because nobody is there to sign in. */
  async function scheduledLevels(active: readonly Connector[]): Promise<ReadonlyMap<string, CertificationLevel>> {
    const certifying = await store.certifyingRuns(active.map(({ id }) => id))
    return new Map(
      active.map(({ id, registration }) => {
        const certified = certifying.find(({ connectorId }) => connectorId === id)?.level ?? 'AUTOMATIC'
        return [id, certified === 'AUTOMATIC' && registration.testInterface !== undefined ? 'AUTOMATIC' : 'STATIC']
      }),
    )
  }

  return {
    async startCertification(actorClientId, connectorId, chosenLevel) {
      const id = newId('cert', randomness)
      const { registration } = await connectors.requireConnector(connectorId)
      const level = chosenLevel ?? (registration.testInterface === undefined ? 'ATTENDED' : 'AUTOMATIC')
      if (level === 'AUTOMATIC' && registration.testInterface === undefined)
        throwInvalidInput(['level'], 'must be STATIC or ATTENDED: the registration has no `testInterface`')
      const run = { id, connectorId, level, trigger: 'PARTNER', createdAt: clock.now() } as const
      await lifecycle.startCertification(actorClientId, connectorId, (tx, before) =>
        store.add(tx, { ...run, wasCertified: before === 'CERTIFIED' }),
      )
      return (await store.find(id))!
    },

    async runNextCertification(triggers) {
      const run = await claim(triggers)
      if (run) await execute(run)
      return run !== null
    },

    async scheduleCertifications() {
      const active = await connectors.activeConnectors()
      const levels = await scheduledLevels(active)
      return database.withAdvisoryLock('scheduled-certification', async () => {
        let scheduledCount = 0
        for (const { id: connectorId } of active) {
          const run = { id: newId('cert', randomness), connectorId, level: levels.get(connectorId)! }
          if (await store.addScheduledIfDue(run, clock.now(), RERUN_AFTER_MS)) scheduledCount++
        }
        return scheduledCount
      })
    },

    endCertificationAccess: accesses.end,
    findCertificationRun: (id) => store.find(id),
    attendedSignIns: attended,
    async certificationsOf(connectorIds) {
      const certifying = await store.certifyingRuns(connectorIds)
      return new Map(certifying.map((run) => [run.connectorId, toCertification(run)]))
    },
    certificationRuns: (connectorId, page) =>
      connectionByTime(
        page,
        (id) => store.position(connectorId, id),
        (slice) => store.slice(connectorId, slice),
      ),
  }
}

/** What a run has certified. A check that the run does not have, also because it is older than the check, was not shown. */
const toCertification = ({ level, finishedAt, checks }: CertificationRun): BankCertification => ({
  level,
  certifiedAt: finishedAt!,
  notShown: CHECK_NAMES.all.filter((name) => {
    const check = checks.find((each) => each.name === name)
    return !check || (check.status === 'SKIPPED' && check.code === 'NOT_AT_THIS_LEVEL')
  }),
})
