import { CompactSign, importJWK } from 'jose'
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../kernel/clock.ts'
import { shownCause } from '../../kernel/failure-causes.ts'
import { newId } from '../../kernel/ids.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { World } from '../../kernel/world.ts'
import type { CertificationCheck, CertificationReport, Connector } from './model.ts'
import type { BankStore } from './store.ts'
import { tryBank, type TrialSubject, type TriedCheck } from './trial.ts'

/** What certification stands on. */
export interface CertificationDependencies {
  readonly store: BankStore
  readonly world: World
  readonly issuer: string
  /** The connector as a trial takes it, and the key that its bank knows the gateway by. */
  subjectOf(connector: Connector): Promise<TrialSubject & { key: Record<string, unknown> }>
  find(id: string): Promise<Connector>
  /** Keeps the end of a run together with what follows from it. */
  conclude(connector: Connector, report: CertificationReport): Promise<void>
}

/** Runs of the trial: asked for, worked off by whoever comes, and again every night. */
export interface Certification {
  /** Asks for a run, together with everything else that `tx` commits. */
  ask(tx: Transaction, connectorId: string, kind: CertificationReport['kind']): Promise<void>
  /** Works off the oldest run of these kinds that was asked for; false where there is none. */
  work(kinds: readonly CertificationReport['kind'][]): Promise<boolean>
  /** Asks for a run of each of these that had none for a day, or whose last one failed an hour ago; returns how many. */
  again(connectors: readonly Connector[]): Promise<number>
  /** The newest runs first. */
  of(connectorId: string): Promise<CertificationReport[]>
}

const REPORTS = 10
/** A bad moment of a bank must not close it for a day. */
const AGAIN_AFTER_MS = { passed: DAY_MS, failed: HOUR_MS }
/** Longer than a run takes; one of a process that ended is begun anew after it. */
const LEASE_MS = 3 * MINUTE_MS

/** The result is signed with the key that the bank knows the gateway by, so that a partner can check it offline. */
export function createCertification(dependencies: CertificationDependencies): Certification {
  const { store, world, issuer, subjectOf, find, conclude } = dependencies
  const { clock, randomness } = world
  let claiming: Promise<unknown> = Promise.resolve()

  /** One after the other in this process, so that each claim sees what the one before it took. */
  function claim(kinds: readonly CertificationReport['kind'][]): Promise<CertificationReport | null> {
    const next = () => store.claimCertification(kinds, LEASE_MS)
    const claimed = claiming.then(next, next)
    claiming = claimed
    return claimed
  }

  async function run(report: CertificationReport): Promise<void> {
    const connector = await find(report.connectorId)
    const subject = await subjectOf(connector)
    const checks: CertificationCheck[] = []
    for await (const check of tryBank(subject, { ...world, http: subject.http })) {
      if (!check.passed) logFailed(connector.id, check)
      // The report goes to the bank's partner, with a signature.
      checks.push({ ...check, failureCause: check.failureCause ? shownCause(check.failureCause) : null })
      await store.noteChecks(report.id, checks)
    }
    const passed = checks.every((check) => check.passed)
    const over = { ...report, checks, passed, finishedAt: clock.now() }
    await conclude(connector, { ...over, statement: await signed(connector, over, subject.key) })
  }

  function logFailed(connectorId: string, { name, reason, failureCause }: TriedCheck): void {
    const why = { ...(reason !== null && { code: reason }), ...(failureCause && { failureCause }) }
    world.log.info('certification.check_failed', { connectorId, operation: name, ...why })
  }

  async function signed(
    { id, bankId, standard, registration }: Connector,
    { id: run, kind, at, passed, checks, finishedAt }: CertificationReport,
    key: Record<string, unknown>,
  ): Promise<string> {
    const { apiBase, authorizationServer } = registration
    const about = { connector: id, bank: bankId, standard, apiBase, authorizationServer }
    const statement = { iss: issuer, run, kind, at, finishedAt, ...about, passed, checks }
    return new CompactSign(Buffer.from(JSON.stringify(statement)))
      .setProtectedHeader({ alg: 'ES256', kid: String(key['kid']), typ: 'certification+jws' })
      .sign(await importJWK(key, 'ES256'))
  }

  return {
    ask: (tx, connectorId, kind) =>
      store.addCertification(tx, { id: newId('cert', randomness), connectorId, kind, at: clock.now() }),

    async work(kinds) {
      const report = await claim(kinds)
      if (report) await run(report)
      return report !== null
    },

    async again(connectors) {
      let asked = 0
      for (const { id } of connectors)
        if (await store.addCertificationUnless(id, newId('cert', randomness), clock.now(), AGAIN_AFTER_MS)) asked++
      return asked
    },

    of: (connectorId) => store.certifications(connectorId, REPORTS),
  }
}
