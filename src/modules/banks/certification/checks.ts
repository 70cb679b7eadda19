import { toGatewayError } from '../../../kernel/errors.ts'
import type { FailureCause } from '../../../kernel/failure-causes.ts'
import type { World } from '../../../kernel/world.ts'
import type { CertificationCheck, CheckName } from '../model.ts'
import {
  checkAccounts,
  checkBalances,
  checkBulkBalances,
  checkErrors,
  checkLatency,
  checkNoPurchaseData,
  checkPaging,
  checkTokenRenewal,
} from './account-checks.ts'
import {
  CheckFailure,
  CheckSkipped,
  createCheckContext,
  type CertificationTarget,
  type CheckContext,
} from './check-context.ts'
import { checkEvents, checkRevocationAtBank, checkRevocationByGateway } from './event-checks.ts'
import {
  checkAbandonedSignIn,
  checkCancelledSignIn,
  checkConsent,
  checkReachability,
  checkSignIn,
} from './sign-in-checks.ts'

/** A check with the cause that only operators may see. */
export type CheckResult = Omit<CertificationCheck, 'failureCause'> & { readonly failureCause: FailureCause | null }

/** Every check, in the order in which they run: from the bank's metadata to the end of a consent. */
const CHECKS: Readonly<Record<CheckName, (context: CheckContext) => void | Promise<void>>> = {
  REACHABILITY: checkReachability,
  CONSENT: checkConsent,
  SIGN_IN_CANCELLED: checkCancelledSignIn,
  SIGN_IN_ABANDONED: checkAbandonedSignIn,
  SIGN_IN: checkSignIn,
  ACCOUNTS: checkAccounts,
  PAGING: checkPaging,
  BALANCES: checkBalances,
  BULK_BALANCES: checkBulkBalances,
  ERRORS: checkErrors,
  TOKEN_RENEWAL: checkTokenRenewal,
  NO_PURCHASE_DATA: checkNoPurchaseData,
  EVENTS: checkEvents,
  REVOKED_BY_GATEWAY: checkRevocationByGateway,
  REVOKED_AT_BANK: checkRevocationAtBank,
  LATENCY: checkLatency,
}

/** Runs every check and yields each result. A check that needs the result of a failed one is SKIPPED. */
export async function* runCertificationChecks(target: CertificationTarget, world: World): AsyncGenerator<CheckResult> {
  const context = createCheckContext(target, world)
  for (const [name, check] of Object.entries(CHECKS)) {
    const startedMs = world.timers.monotonicMs()
    const outcome = await runCheck(() => check(context))
    yield { name: name as CheckName, ...outcome, durationMs: Math.round(world.timers.monotonicMs() - startedMs) }
  }
  await context.testInterface?.clearFaults().catch(() => undefined)
}

async function runCheck(
  check: () => void | Promise<void>,
): Promise<Pick<CheckResult, 'status' | 'code' | 'failureCause'>> {
  try {
    await check()
    return { status: 'PASSED', code: null, failureCause: null }
  } catch (error) {
    if (error instanceof CheckSkipped) return { status: 'SKIPPED', code: error.code, failureCause: null }
    if (error instanceof CheckFailure) return { status: 'FAILED', code: error.code, failureCause: null }
    const { code, failureCause } = toGatewayError(error)
    return { status: 'FAILED', code, failureCause: failureCause ?? null }
  }
}
