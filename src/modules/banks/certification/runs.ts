import { MINUTE_MS } from '../../../kernel/clock.ts'
import { toPublicFailureCause } from '../../../kernel/failure-causes.ts'
import { newId } from '../../../kernel/ids.ts'
import { connectionByTime, type Connection, type PageArguments } from '../../../kernel/pagination.ts'
import { RETRIES } from '../../../kernel/retry.ts'
import type { World } from '../../../kernel/world.ts'
import type { Database } from '../../../storage/database.ts'
import type { Connectors } from '../connectors.ts'
import type { Lifecycle } from '../lifecycle.ts'
import type { CertificationCheck, CertificationRun } from '../model.ts'
import type { Reach } from '../reach.ts'
import { runCertificationChecks, type CheckResult } from './checks.ts'
import { signReport } from './report.ts'
import type { CertificationStore } from './store.ts'

/** The dependencies of certification. */
export interface CertificationDependencies {
  readonly store: CertificationStore
  readonly database: Database
  readonly world: World
  readonly issuer: string
  readonly connectors: Connectors
  readonly reach: Reach
  readonly lifecycle: Lifecycle
}

/** Certification runs: requested by a partner or scheduled. One process at a time executes a run. */
export interface Certification {
  /** Adds a run. Its checks can be read as they end. Throws `STATE_CONFLICT` while another runs. */
  startCertification(actorClientId: string, connectorId: string): Promise<CertificationRun>
  /** Claims and executes the oldest waiting run of these triggers. Returns false if there is none. */
  runNextCertification(triggers: readonly CertificationRun['trigger'][]): Promise<boolean>
  /** Adds a run of each active connector whose last one is old enough. Returns how many. */
  scheduleCertifications(): Promise<number>
  findCertificationRun(id: string): Promise<CertificationRun | null>
  /** A page of the connector's runs, newest first. Throws `INVALID_INPUT` with every fault of `page`. */
  certificationRuns(connectorId: string, page: PageArguments): Promise<Connection<CertificationRun>>
}

const RERUN_AFTER_MS = {
  passed: RETRIES.scheduledCertification.delaysMs[0],
  failed: RETRIES.failedCertification.delaysMs[0],
}
/** Longer than a run takes. After it, a run of a process that has ended is started again. */
const LEASE_MS = 3 * MINUTE_MS
/** The only code with which a check of a passed run can be SKIPPED. */
const OPTIONAL_CODE = 'NOT_SUPPORTED'

/** Creates the runs. */
export function createCertification(dependencies: CertificationDependencies): Certification {
  const { store, database, world, issuer, connectors, reach, lifecycle } = dependencies
  const { clock, randomness } = world
  let lastClaim: Promise<unknown> = Promise.resolve()

  /** Claims of one process run one after another, so that each sees what the one before it took. */
  function claim(triggers: readonly CertificationRun['trigger'][]): Promise<CertificationRun | null> {
    const claimNext = () => store.claim(triggers, clock.now(), LEASE_MS)
    const claimed = lastClaim.then(claimNext, claimNext)
    lastClaim = claimed
    return claimed
  }

  async function execute(run: CertificationRun): Promise<void> {
    const connector = await connectors.requireConnector(run.connectorId)
    const context = await reach.loadContext(connector)
    const checks: CertificationCheck[] = []
    for await (const check of runCertificationChecks(context, { ...world, http: context.http })) {
      if (check.status === 'FAILED') logFailedCheck(connector.id, check)
      // The partner reads the report.
      checks.push({ ...check, failureCause: check.failureCause ? toPublicFailureCause(check.failureCause) : null })
      await store.saveChecks(run.id, checks)
    }
    const status = checks.every(isSatisfied) ? ('PASSED' as const) : ('FAILED' as const)
    const finished = { ...run, checks, status, finishedAt: clock.now() }
    const signedReport = await signReport(connector, finished, issuer, context.key)
    await lifecycle.completeCertification(connector, { ...finished, signedReport })
  }

  function logFailedCheck(connectorId: string, { name, code, failureCause }: CheckResult): void {
    const details = { ...(code !== null && { code }), ...(failureCause && { failureCause }) }
    world.log.info('certification.check_failed', { connectorId, operation: name, ...details })
  }

  return {
    async startCertification(actorClientId, connectorId) {
      const id = newId('cert', randomness)
      await lifecycle.startCertification(actorClientId, connectorId, (tx) =>
        store.add(tx, { id, connectorId, trigger: 'PARTNER', createdAt: clock.now() }),
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
      return database.withAdvisoryLock('scheduled-certification', async () => {
        let scheduledCount = 0
        for (const { id } of active)
          if (await store.addScheduledIfDue(id, newId('cert', randomness), clock.now(), RERUN_AFTER_MS))
            scheduledCount++
        return scheduledCount
      })
    },

    findCertificationRun: (id) => store.find(id),
    certificationRuns: (connectorId, page) =>
      connectionByTime(
        page,
        (id) => store.position(connectorId, id),
        (slice) => store.slice(connectorId, slice),
      ),
  }
}

/** A check that was skipped because an earlier one failed is not satisfied: its result is unknown. */
const isSatisfied = ({ status, code }: CertificationCheck): boolean =>
  status === 'PASSED' || (status === 'SKIPPED' && code === OPTIONAL_CODE)
