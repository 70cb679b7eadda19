import { CompactSign, importJWK } from 'jose'
import { MINUTE_MS } from '../../../kernel/clock.ts'
import { toPublicFailureCause } from '../../../kernel/failure-causes.ts'
import { newId } from '../../../kernel/ids.ts'
import { connectionByTime, type Connection, type PageArguments } from '../../../kernel/pagination.ts'
import type { Transaction } from '../../../kernel/transaction.ts'
import type { World } from '../../../kernel/world.ts'
import { RETRIES } from '../../../kernel/retry.ts'
import type { CertificationCheck, CertificationRun, Connector } from '../model.ts'
import { runCertificationChecks, type CheckResult } from './checks.ts'
import type { CertificationTarget } from './check-context.ts'
import type { CertificationStore } from './store.ts'

/** What certification depends on. */
export interface CertificationDependencies {
  readonly store: CertificationStore
  readonly world: World
  readonly issuer: string
  /** The connector as checks take it, and the key that its bank knows the gateway by. */
  loadConnectorContext(connector: Connector): Promise<CertificationTarget & { key: Record<string, unknown> }>
  requireConnector(id: string): Promise<Connector>
  /** Stores the end of a run together with what follows from it. */
  completeCertification(connector: Connector, run: CertificationRun): Promise<void>
}

/** Certification runs: requested by a partner or scheduled daily, and claimed by one process each. */
export interface Certification {
  /** Adds a run in `tx`. */
  enqueue(tx: Transaction, connectorId: string, trigger: CertificationRun['trigger']): Promise<string>
  /** Claims and executes the oldest waiting run of these triggers; false if there is none. */
  runNext(triggers: readonly CertificationRun['trigger'][]): Promise<boolean>
  /** Adds a run of each connector that had none for a day, or whose last one failed an hour ago; returns how many. */
  schedule(connectors: readonly Connector[]): Promise<number>
  find(id: string): Promise<CertificationRun | null>
  /** A page of the connector's runs, newest first. Throws `INVALID_INPUT` with every fault of `page`. */
  page(connectorId: string, page: PageArguments): Promise<Connection<CertificationRun>>
}

const RERUN_AFTER_MS = {
  passed: RETRIES.scheduledCertification.delaysMs[0],
  failed: RETRIES.failedCertification.delaysMs[0],
}
/** Longer than a run takes; one of a process that ended is begun anew after it. */
const LEASE_MS = 3 * MINUTE_MS
/** The only reason for which a check of a passed run may be SKIPPED. */
const OPTIONAL_CODE = 'NOT_SUPPORTED'

/** The result is signed with the key that the bank knows the gateway by, so that a partner can check it offline. */
export function createCertification(dependencies: CertificationDependencies): Certification {
  const { store, world, issuer, loadConnectorContext, requireConnector, completeCertification } = dependencies
  const { clock, randomness } = world
  let lastClaim: Promise<unknown> = Promise.resolve()

  /** One after the other in this process, so that each claim sees what the one before it took. */
  function claim(triggers: readonly CertificationRun['trigger'][]): Promise<CertificationRun | null> {
    const claimNext = () => store.claim(triggers, clock.now(), LEASE_MS)
    const claimed = lastClaim.then(claimNext, claimNext)
    lastClaim = claimed
    return claimed
  }

  async function execute(run: CertificationRun): Promise<void> {
    const connector = await requireConnector(run.connectorId)
    const context = await loadConnectorContext(connector)
    const checks: CertificationCheck[] = []
    for await (const check of runCertificationChecks(context, { ...world, http: context.http })) {
      if (check.status === 'FAILED') logFailedCheck(connector.id, check)
      // The report goes to the bank's partner, with a signature.
      checks.push({ ...check, failureCause: check.failureCause ? toPublicFailureCause(check.failureCause) : null })
      await store.saveChecks(run.id, checks)
    }
    const status = checks.every(isSatisfied) ? ('PASSED' as const) : ('FAILED' as const)
    const finished = { ...run, checks, status, finishedAt: clock.now() }
    await completeCertification(connector, {
      ...finished,
      signedReport: await signReport(connector, finished, context.key),
    })
  }

  function logFailedCheck(connectorId: string, { name, code, failureCause }: CheckResult): void {
    const details = { ...(code !== null && { code }), ...(failureCause && { failureCause }) }
    world.log.info('certification.check_failed', { connectorId, operation: name, ...details })
  }

  async function signReport(
    { id, bankId, standard, registration }: Connector,
    { id: run, trigger, startedAt, status, checks, finishedAt }: CertificationRun,
    key: Record<string, unknown>,
  ): Promise<string> {
    const { apiBase, authorizationServer } = registration
    const connectorClaims = { connector: id, bank: bankId, standard, apiBase, authorizationServer }
    const report = { iss: issuer, run, trigger, startedAt, finishedAt, ...connectorClaims, status, checks }
    return new CompactSign(Buffer.from(JSON.stringify(report)))
      .setProtectedHeader({ alg: 'ES256', kid: String(key['kid']), typ: 'certification+jws' })
      .sign(await importJWK(key, 'ES256'))
  }

  return {
    async enqueue(tx, connectorId, trigger) {
      const id = newId('cert', randomness)
      await store.add(tx, { id, connectorId, trigger, createdAt: clock.now() })
      return id
    },

    async runNext(triggers) {
      const run = await claim(triggers)
      if (run) await execute(run)
      return run !== null
    },

    async schedule(connectors) {
      let scheduledCount = 0
      for (const { id } of connectors)
        if (await store.addScheduledIfDue(id, newId('cert', randomness), clock.now(), RERUN_AFTER_MS)) scheduledCount++
      return scheduledCount
    },

    find: (id) => store.find(id),
    page: (connectorId, page) =>
      connectionByTime(
        page,
        (id) => store.position(connectorId, id),
        (slice) => store.slice(connectorId, slice),
      ),
  }
}

/** A check that was skipped because an earlier one failed is not satisfied: nothing is known of it. */
const isSatisfied = ({ status, code }: CertificationCheck): boolean =>
  status === 'PASSED' || (status === 'SKIPPED' && code === OPTIONAL_CODE)
