import { CompactSign, importJWK } from 'jose'
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../kernel/clock.ts'
import { toPublicFailureCause } from '../../kernel/failure-causes.ts'
import { newId } from '../../kernel/ids.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { World } from '../../kernel/world.ts'
import type { CertificationCheck, CertificationReport, Connector } from './model.ts'
import type { BankStore } from './store.ts'
import { runCertificationChecks, type CertificationTarget, type CheckResult } from './trial.ts'

/** What certification stands on. */
export interface CertificationDependencies {
  readonly store: BankStore
  readonly world: World
  readonly issuer: string
  /** The connector as a trial takes it, and the key that its bank knows the gateway by. */
  loadConnectorContext(connector: Connector): Promise<CertificationTarget & { key: Record<string, unknown> }>
  requireConnector(id: string): Promise<Connector>
  /** Keeps the end of a run together with what follows from it. */
  completeCertification(connector: Connector, report: CertificationReport): Promise<void>
}

/** Runs of the trial: asked for, worked off by whoever comes, and again every night. */
export interface Certification {
  /** Asks for a run, together with everything else that `tx` commits. */
  enqueue(tx: Transaction, connectorId: string, kind: CertificationReport['kind']): Promise<void>
  /** Works off the oldest run of these kinds that was asked for; false where there is none. */
  runNext(kinds: readonly CertificationReport['kind'][]): Promise<boolean>
  /** Asks for a run of each of these that had none for a day, or whose last one failed an hour ago; returns how many. */
  scheduleNightly(connectors: readonly Connector[]): Promise<number>
  /** The newest runs first. */
  recentRuns(connectorId: string): Promise<CertificationReport[]>
}

const RUN_HISTORY_LIMIT = 10
/** A bad moment of a bank must not close it for a day. */
const RERUN_AFTER_MS = { passed: DAY_MS, failed: HOUR_MS }
/** Longer than a run takes; one of a process that ended is begun anew after it. */
const LEASE_MS = 3 * MINUTE_MS

/** The result is signed with the key that the bank knows the gateway by, so that a partner can check it offline. */
export function createCertification(dependencies: CertificationDependencies): Certification {
  const { store, world, issuer, loadConnectorContext, requireConnector, completeCertification } = dependencies
  const { clock, randomness } = world
  let lastClaim: Promise<unknown> = Promise.resolve()

  /** One after the other in this process, so that each claim sees what the one before it took. */
  function claim(kinds: readonly CertificationReport['kind'][]): Promise<CertificationReport | null> {
    const claimNext = () => store.claimCertification(kinds, LEASE_MS)
    const claimed = lastClaim.then(claimNext, claimNext)
    lastClaim = claimed
    return claimed
  }

  async function executeRun(report: CertificationReport): Promise<void> {
    const connector = await requireConnector(report.connectorId)
    const context = await loadConnectorContext(connector)
    const checks: CertificationCheck[] = []
    for await (const check of runCertificationChecks(context, { ...world, http: context.http })) {
      if (!check.passed) logFailedCheck(connector.id, check)
      // The report goes to the bank's partner, with a signature.
      checks.push({ ...check, failureCause: check.failureCause ? toPublicFailureCause(check.failureCause) : null })
      await store.saveChecks(report.id, checks)
    }
    const passed = checks.every((check) => check.passed)
    const finishedReport = { ...report, checks, passed, finishedAt: clock.now() }
    await completeCertification(connector, {
      ...finishedReport,
      statement: await signStatement(connector, finishedReport, context.key),
    })
  }

  function logFailedCheck(connectorId: string, { name, reason, failureCause }: CheckResult): void {
    const details = { ...(reason !== null && { code: reason }), ...(failureCause && { failureCause }) }
    world.log.info('certification.check_failed', { connectorId, operation: name, ...details })
  }

  async function signStatement(
    { id, bankId, standard, registration }: Connector,
    { id: run, kind, at, passed, checks, finishedAt }: CertificationReport,
    key: Record<string, unknown>,
  ): Promise<string> {
    const { apiBase, authorizationServer } = registration
    const connectorClaims = { connector: id, bank: bankId, standard, apiBase, authorizationServer }
    const statement = { iss: issuer, run, kind, at, finishedAt, ...connectorClaims, passed, checks }
    return new CompactSign(Buffer.from(JSON.stringify(statement)))
      .setProtectedHeader({ alg: 'ES256', kid: String(key['kid']), typ: 'certification+jws' })
      .sign(await importJWK(key, 'ES256'))
  }

  return {
    enqueue: (tx, connectorId, kind) =>
      store.addCertification(tx, { id: newId('cert', randomness), connectorId, kind, at: clock.now() }),

    async runNext(kinds) {
      const report = await claim(kinds)
      if (report) await executeRun(report)
      return report !== null
    },

    async scheduleNightly(connectors) {
      let scheduledCount = 0
      for (const { id } of connectors)
        if (await store.addNightlyCertificationIfDue(id, newId('cert', randomness), clock.now(), RERUN_AFTER_MS))
          scheduledCount++
      return scheduledCount
    },

    recentRuns: (connectorId) => store.certifications(connectorId, RUN_HISTORY_LIMIT),
  }
}
