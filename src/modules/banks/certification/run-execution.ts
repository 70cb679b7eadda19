import { GatewayError, toGatewayError, type ErrorCode } from '../../../kernel/errors.ts'
import { toPublicFailureCause } from '../../../kernel/failure-causes.ts'
import { errorTrace } from '../../../kernel/log.ts'
import type { World } from '../../../kernel/world.ts'
import type { Connectors } from '../connectors.ts'
import type { Lifecycle } from '../lifecycle.ts'
import type { CertificationCheck, CertificationRun, CheckName, Connector } from '../model.ts'
import type { Reach } from '../reach.ts'
import type { AttendedOutcome, AttendedSignIns } from './attended-sign-in.ts'
import { CheckFailure, CheckSkipped, createCheckContext, type CheckContext } from './check-context.ts'
import { CHECK_NAMES, isSatisfied, runChecks, type CheckResult } from './checks.ts'
import type { OpenAccesses } from './open-accesses.ts'
import { signReport } from './report.ts'
import type { CertificationStore } from './store.ts'

/** Dependencies of the execution of runs. */
export interface RunExecutionDependencies {
  readonly store: CertificationStore
  readonly world: World
  readonly issuer: string
  readonly connectors: Connectors
  readonly reach: Reach
  readonly lifecycle: Lifecycle
  readonly attended: AttendedSignIns
  readonly accesses: OpenAccesses
}

/** Creates the execution of claimed runs: to the end, or to the sign-in of the person for whom a run then waits. */
export function createRunExecution(dependencies: RunExecutionDependencies) {
  const { store, world, issuer, connectors, reach, lifecycle, attended, accesses } = dependencies

  /** Executes a run. After an unexpected error the run has FAILED with its code. Throws if not even that can be stored. */
  return async function execute(run: CertificationRun): Promise<void> {
    try {
      await executeChecks(run)
    } catch (error) {
      world.log.error('certification.run_failed', { connectorId: run.connectorId, trace: errorTrace(error) })
      await fail(run, toGatewayError(error).code)
    }
  }

  async function executeChecks(run: CertificationRun): Promise<void> {
    const connector = await connectors.requireConnector(run.connectorId)
    const target = await reach.loadContext(connector)
    const context = createCheckContext(target, { ...world, http: target.http }, (bank) => accesses.record(run.id, bank))
    const outcome = run.level === 'ATTENDED' ? await attended.resume(run.id) : undefined
    const checks: CertificationCheck[] = outcome ? checksBeforeSignIn(run) : []
    if (!outcome) await runAndSave(run, context, CHECK_NAMES.beforeSignIn, checks)
    if (run.level === 'ATTENDED') {
      // A run that has failed needs no person.
      if (!outcome && checks.every(isSatisfied)) {
        await accesses.endAll(run.id, context.bank)
        return attended.wait(run.id)
      }
      if (outcome?.kind === 'RETURNED' && 'access' in outcome.result) context.customer = outcome.result.customer
      context.signInRequestFault = outcome?.requestFault
      context.signIn = () => Promise.try(() => signInOf(outcome))
    }
    await runAndSave(run, context, CHECK_NAMES.fromSignIn, checks)
    await cleanUp(context, run.id)
    const status = checks.every(isSatisfied) ? ('PASSED' as const) : ('FAILED' as const)
    const finished = { ...run, checks, status, finishedAt: world.clock.now() }
    const signedReport = await signReport(connector, finished, issuer, target.key)
    await complete(connector, { ...finished, signedReport })
  }

  async function fail(run: CertificationRun, failureCode: ErrorCode): Promise<void> {
    const connector = await connectors.requireConnector(run.connectorId)
    const { checks } = (await store.find(run.id))!
    const failed = { ...run, checks, status: 'FAILED', finishedAt: world.clock.now(), failureCode } as const
    await complete(connector, failed)
  }

  /** Stores the end of a run. What it still has at the bank is ended by the outbox. */
  async function complete(connector: Connector, run: CertificationRun): Promise<void> {
    await lifecycle.completeCertification(connector, run, async (tx) => {
      await attended.forget(tx, run.id)
      await accesses.enqueueEnds(tx, run.id, connector.bankId)
    })
  }

  /** Ends what the run has left at the bank. A fault that cannot be cleared ends by its count. */
  async function cleanUp({ testInterface, bank }: CheckContext, runId: string): Promise<void> {
    await testInterface?.clearFaults().catch(() => undefined)
    await accesses.endAll(runId, bank)
  }

  async function runAndSave(
    { id, connectorId, level }: CertificationRun,
    context: CheckContext,
    names: readonly CheckName[],
    checks: CertificationCheck[],
  ): Promise<void> {
    for await (const check of runChecks(context, level, names)) {
      if (check.status === 'FAILED') logFailedCheck(connectorId, check)
      // The partner reads the report.
      checks.push({ ...check, failureCause: check.failureCause ? toPublicFailureCause(check.failureCause) : null })
      await store.saveChecks(id, checks)
    }
  }

  function logFailedCheck(connectorId: string, { name, code, failureCause }: CheckResult): void {
    const details = { ...(code !== null && { code }), ...(failureCause && { failureCause }) }
    world.log.info('certification.check_failed', { connectorId, operation: name, ...details })
  }
}

const checksBeforeSignIn = ({ checks }: CertificationRun): CertificationCheck[] =>
  checks.filter(({ name }) => CHECK_NAMES.beforeSignIn.includes(name))

/** The access of the person who attends the run. No ID of an account is known besides what the bank lists. */
function signInOf(outcome: AttendedOutcome | undefined) {
  if (!outcome) throw new CheckSkipped('PREREQUISITE_FAILED')
  if (outcome.kind !== 'RETURNED')
    throw new CheckFailure(outcome.kind === 'TIMED_OUT' ? 'SIGN_IN_TIMED_OUT' : 'RUN_INTERRUPTED')
  const { result } = outcome
  if ('access' in result) return { access: result.access, shared: [] }
  throw new GatewayError(result.code, { ...(result.failureCause && { failureCause: result.failureCause }) })
}
