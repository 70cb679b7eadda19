import type { Balances } from '../../../connectors/index.ts'
import { toGatewayError, GatewayError, type ErrorCode } from '../../../kernel/errors.ts'
import { assertCheck, CheckSkipped, requireAccess, requireSharedAccount, type CheckContext } from './check-context.ts'
import type { Fault } from './test-interface.ts'

/** Each fault of the test interface, and the code or result that it must lead to. */
const EXPECTED_FAULT_RESULTS: readonly (readonly [fault: Fault, code: ErrorCode | 'NO_BALANCE'])[] = [
  ['SERVER_ERROR', 'BANK_UNAVAILABLE'],
  ['HTML_ERROR', 'BANK_UNAVAILABLE'],
  ['TOO_MANY_REQUESTS', 'BANK_RATE_LIMITED'],
  ['TRUNCATED', 'BANK_RESPONSE_INVALID'],
  ['HTML', 'BANK_RESPONSE_INVALID'],
  ['REDIRECT', 'BANK_REFUSED'],
  ['WRONG_TYPES', 'NO_BALANCE'],
]

/** Every account in the list can be used. */
export async function checkAccounts(context: CheckContext): Promise<void> {
  context.issues.length = 0
  context.accounts = await context.bank.accounts(requireAccess(context), null)
  assertCheck(context.accounts.length > 0, 'NO_ACCOUNTS')
  assertCheck(context.issues.length === 0, context.issues[0] ?? '')
}

/** Over all of its pages, the list has exactly what the customer shared, each once. */
export function checkPaging(context: CheckContext): void {
  requireAccess(context)
  const refs = new Set(context.accounts.map(({ ref }) => ref))
  assertCheck(refs.size === context.accounts.length, 'DUPLICATE_ACCOUNT')
  assertCheck(refs.size === context.sharedAccountRefs.length, 'ACCOUNTS_MISSING')
}

/** Every account has balances that can be used. */
export async function checkBalances(context: CheckContext): Promise<void> {
  context.issues.length = 0
  for (const { ref } of context.accounts)
    context.balancesByRef.set(ref, await context.bank.balances(requireAccess(context), ref, null))
  if (context.balancesByRef.size === 0) throw new CheckSkipped('PREREQUISITE_FAILED')
  assertCheck(context.issues.length === 0, context.issues[0] ?? '')
  assertCheck(
    [...context.balancesByRef.values()].every(({ balances }) => balances.length > 0),
    'NO_BALANCES',
  )
}

/** A bulk read returns the same as single reads. */
export async function checkBulkBalances(context: CheckContext): Promise<void> {
  const access = requireAccess(context)
  if (!context.bank.bulkBalances) throw new CheckSkipped('NOT_SUPPORTED')
  const bulkBalances = await context.bank.bulkBalances(access, [...context.balancesByRef.keys()], null)
  for (const [ref, { balances }] of context.balancesByRef) {
    const bulkResult = bulkBalances.get(ref)
    assertCheck(bulkResult !== undefined && !(bulkResult instanceof GatewayError), 'ACCOUNT_MISSING_IN_BULK')
    assertCheck(JSON.stringify((bulkResult as Balances).balances) === JSON.stringify(balances), 'BULK_BALANCES_DIFFER')
  }
}

/** Faults of the bank lead to the right codes, and the bank recovers. */
export async function checkErrors(context: CheckContext): Promise<void> {
  const [access, account] = [requireAccess(context), requireSharedAccount(context)]
  for (const [fault, expected] of EXPECTED_FAULT_RESULTS) {
    await context.requireTestInterface().injectFault(account, fault, 1)
    const actual = await context.bank.balances(access, account, null).then(
      ({ balances }) => (balances.length === 0 ? 'NO_BALANCE' : 'NONE'),
      (error: unknown) => toGatewayError(error).code,
    )
    assertCheck(actual === expected, `${fault}_MAPPED_TO_${actual}`)
  }
  await context.requireTestInterface().clearFaults()
  assertCheck((await context.bank.balances(access, account, null)).balances.length > 0, 'NO_RECOVERY_AFTER_FAULT')
}

/** Renewed tokens give access. */
export async function checkTokenRenewal(context: CheckContext): Promise<void> {
  context.access = await context.bank.refresh(requireAccess(context))
  assertCheck((await context.bank.accounts(context.access, null)).length > 0, 'NO_ACCOUNTS')
}

/** Purchase data that the bank sends reaches neither results nor logs. */
export async function checkNoPurchaseData(context: CheckContext): Promise<void> {
  const access = requireAccess(context)
  const canary = `canary-${context.randomness.bytes(6).toString('hex')}`
  await context.requireTestInterface().setCanary(canary)
  context.recorder.responseBodies.length = context.log.length = context.issues.length = 0
  const accounts = await context.bank.accounts(access, null)
  const balances = await Promise.all(accounts.map(({ ref }) => context.bank.balances(access, ref, null)))
  const bulkBalances = context.bank.bulkBalances
    ? await context.bank.bulkBalances(
        access,
        accounts.map(({ ref }) => ref),
        null,
      )
    : []
  await context.requireTestInterface().setCanary(null)
  // If the bank sent no purchase data, the check could not have found any.
  assertCheck(
    context.recorder.responseBodies.some((text) => text.includes(canary)),
    'CANARY_NOT_RECEIVED',
  )
  assertCheck(
    !JSON.stringify([accounts, balances, ...bulkBalances, context.issues, context.log]).includes(canary),
    'PURCHASE_DATA_LEAKED',
  )
}

/** Nine of ten reads take no longer than the deadline. */
export function checkLatency(context: CheckContext): void {
  const { readDurationsMs } = context.recorder
  if (readDurationsMs.length === 0) throw new CheckSkipped('PREREQUISITE_FAILED')
  const slowest = [...readDurationsMs].sort((one, other) => one - other)[Math.floor(readDurationsMs.length * 0.9)]!
  assertCheck(slowest <= context.target.deadlineMs, 'SLOWER_THAN_DEADLINE')
}
