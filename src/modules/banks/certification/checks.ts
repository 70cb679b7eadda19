import { toGatewayError } from '../../../kernel/errors.ts'
import type { FailureCause } from '../../../kernel/failure-causes.ts'
import { includesLevel, type CertificationCheck, type CertificationLevel, type CheckName } from '../model.ts'
import {
  checkAccounts,
  checkBalances,
  checkBulkBalances,
  checkErrors,
  checkFaults,
  checkLatency,
  checkNoPurchaseData,
  checkPaging,
  checkResultFields,
  checkTokenRenewal,
} from './account-checks.ts'
import { CheckFailure, CheckSkipped, type CheckContext } from './check-context.ts'
import { checkEvents, checkRevocationAtBank, checkRevocationByGateway } from './event-checks.ts'
import { checkAbandonedSignIn, checkCancelledSignIn, checkSignIn } from './sign-in-checks.ts'
import {
  checkBankKeys,
  checkConsent,
  checkMetadata,
  checkReachability,
  checkRequests,
  checkRequirements,
  checkTls,
} from './static-checks.ts'

/** A check with the cause that only operators may see. */
export type CheckResult = Omit<CertificationCheck, 'failureCause'> & { readonly failureCause: FailureCause | null }

/** A check, and the first level that has it. */
interface CheckDefinition {
  readonly level: CertificationLevel
  readonly run: (context: CheckContext) => void | Promise<void>
}

/** Every check, in the order in which they run: from the bank's metadata to the end of a consent. */
const CHECKS: Readonly<Record<CheckName, CheckDefinition>> = {
  REQUIREMENTS: { level: 'STATIC', run: checkRequirements },
  REACHABILITY: { level: 'STATIC', run: checkReachability },
  METADATA: { level: 'STATIC', run: checkMetadata },
  TLS: { level: 'STATIC', run: checkTls },
  BANK_KEYS: { level: 'STATIC', run: checkBankKeys },
  CONSENT: { level: 'STATIC', run: checkConsent },
  SIGN_IN_CANCELLED: { level: 'AUTOMATIC', run: checkCancelledSignIn },
  SIGN_IN_ABANDONED: { level: 'AUTOMATIC', run: checkAbandonedSignIn },
  SIGN_IN: { level: 'ATTENDED', run: checkSignIn },
  ACCOUNTS: { level: 'ATTENDED', run: checkAccounts },
  PAGING: { level: 'AUTOMATIC', run: checkPaging },
  BALANCES: { level: 'ATTENDED', run: checkBalances },
  BULK_BALANCES: { level: 'ATTENDED', run: checkBulkBalances },
  RESULT_FIELDS: { level: 'ATTENDED', run: checkResultFields },
  ERRORS: { level: 'ATTENDED', run: checkErrors },
  FAULTS: { level: 'AUTOMATIC', run: checkFaults },
  TOKEN_RENEWAL: { level: 'ATTENDED', run: checkTokenRenewal },
  NO_PURCHASE_DATA: { level: 'AUTOMATIC', run: checkNoPurchaseData },
  EVENTS: { level: 'AUTOMATIC', run: checkEvents },
  REVOKED_BY_GATEWAY: { level: 'ATTENDED', run: checkRevocationByGateway },
  REVOKED_AT_BANK: { level: 'AUTOMATIC', run: checkRevocationAtBank },
  LATENCY: { level: 'ATTENDED', run: checkLatency },
  REQUESTS: { level: 'STATIC', run: checkRequests },
}
const NAMES = Object.keys(CHECKS) as CheckName[]
const SIGN_IN_INDEX = NAMES.indexOf('SIGN_IN')

/** The checks before the customer's sign-in, and those from it on. */
export const CHECK_NAMES = {
  all: NAMES,
  beforeSignIn: NAMES.slice(0, SIGN_IN_INDEX),
  fromSignIn: NAMES.slice(SIGN_IN_INDEX),
} as const satisfies Record<string, readonly CheckName[]>

/** The checks that a run of this level does not have. */
export const checksNotAt = (level: CertificationLevel): CheckName[] =>
  NAMES.filter((name) => !includesLevel(level, CHECKS[name].level))

/**
 * Runs these checks and yields each result. A check that needs the result of a failed one, or is not at this level, is SKIPPED.
 */
export async function* runChecks(
  context: CheckContext,
  level: CertificationLevel,
  names: readonly CheckName[],
): AsyncGenerator<CheckResult> {
  const { timers } = context
  for (const name of names) {
    const startedMs = timers.monotonicMs()
    const { level: firstLevel, run } = CHECKS[name]
    const outcome = await runCheck(() => {
      if (!includesLevel(level, firstLevel)) throw new CheckSkipped('NOT_AT_THIS_LEVEL')
      return run(context)
    })
    yield { name, ...outcome, durationMs: Math.round(timers.monotonicMs() - startedMs) }
  }
}

/** A check that was skipped because an earlier one failed is not satisfied: its result is unknown. */
export const isSatisfied = ({ status, code }: Pick<CertificationCheck, 'status' | 'code'>): boolean =>
  status === 'PASSED' || (status === 'SKIPPED' && code !== 'PREREQUISITE_FAILED')

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
