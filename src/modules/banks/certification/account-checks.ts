import type { Balances, BankAccount, BankBalance } from '../../../connectors/index.ts'
import { toGatewayError, GatewayError, type ErrorCode } from '../../../kernel/errors.ts'
import {
  assertCheck,
  CheckSkipped,
  errorCodeOf,
  requireAccess,
  requireSharedAccount,
  type CheckContext,
} from './check-context.ts'
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
  context.accounts = await context.bank.accounts(requireAccess(context), context.customer)
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
    context.balancesByRef.set(ref, await context.bank.balances(requireAccess(context), ref, context.customer))
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
  const bulkBalances = await context.bank.bulkBalances(access, [...context.balancesByRef.keys()], context.customer)
  for (const [ref, { balances }] of context.balancesByRef) {
    const bulkResult = bulkBalances.get(ref)
    assertCheck(bulkResult !== undefined && !(bulkResult instanceof GatewayError), 'ACCOUNT_MISSING_IN_BULK')
    assertCheck(JSON.stringify((bulkResult as Balances).balances) === JSON.stringify(balances), 'BULK_BALANCES_DIFFER')
  }
}

/**
 * What the standard's own calls can provoke leads to no data and to the right codes: an account that the bank does not know has no
 * balances, by whichever error the bank says so, and a token that it does not know ends the access. Where the customer has no token,
 * the consent authorizes the access.
 */
export async function checkErrors(context: CheckContext): Promise<void> {
  const { bank, randomness, customer } = context
  const access = requireAccess(context)
  const unknown = `unknown-${randomness.bytes(9).toString('base64url')}`
  const balances = await bank.balances(access, unknown, customer).then(
    (result) => result.balances,
    () => [],
  )
  assertCheck(balances.length === 0, 'UNKNOWN_ACCOUNT_ACCEPTED')
  const unknownAccess = access.accessToken === '' ? { consentRef: unknown } : { accessToken: unknown }
  const code = await errorCodeOf(bank.accounts({ ...access, ...unknownAccess }, customer))
  assertCheck(code !== 'NONE', 'UNKNOWN_TOKEN_ACCEPTED')
  assertCheck(code === 'RECONNECT_REQUIRED', 'UNKNOWN_TOKEN_NOT_RECOGNIZED')
  assertCheck((await bank.accounts(access, customer)).length > 0, 'NO_RECOVERY_AFTER_ERROR')
}

/** Accounts and balances have only the fields of the domain, and no log line has an account's ID or number. */
export function checkResultFields(context: CheckContext): void {
  requireAccess(context)
  const balances = [...context.balancesByRef.values()]
  const hasOnly = (value: object, fields: object): boolean =>
    Object.entries(value).every(([name, member]) => member === undefined || Object.hasOwn(fields, name))
  assertCheck(
    context.accounts.every((account) => hasOnly(account, ACCOUNT_FIELDS)) &&
      balances.every(
        (result) =>
          hasOnly(result, BALANCES_FIELDS) && result.balances.every((balance) => hasOnly(balance, BALANCE_FIELDS)),
      ),
    'UNKNOWN_RESULT_FIELD',
  )
  const identifiers = context.accounts
    .flatMap(({ ref, number }) => [ref, number ?? ''])
    .filter((text) => text.length >= MIN_IDENTIFIER_LENGTH)
  assertCheck(!context.log.some((line) => identifiers.some((text) => line.includes(text))), 'ACCOUNT_IN_LOG')
}
const ACCOUNT_FIELDS = {
  ref: true,
  type: true,
  usage: true,
  status: true,
  currency: true,
  number: true,
  lastFourDigits: true,
  displayName: true,
} as const satisfies Record<keyof BankAccount, true>
const BALANCES_FIELDS = {
  balances: true,
  invalidTypes: true,
  unsupportedTypes: true,
  isPartial: true,
} as const satisfies Record<keyof Balances, true>
const BALANCE_FIELDS = {
  amount: true,
  currency: true,
  type: true,
  creditLineIncluded: true,
  creditLimit: true,
} as const satisfies Record<keyof BankBalance, true>
/** Shorter ones are in log lines by chance. */
const MIN_IDENTIFIER_LENGTH = 6

/** Faults of the bank lead to the right codes, and the bank recovers. */
export async function checkFaults(context: CheckContext): Promise<void> {
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

/** Renewed tokens give access. A bank that gives no refresh token has nothing to renew. */
export async function checkTokenRenewal(context: CheckContext): Promise<void> {
  const access = requireAccess(context)
  if (access.refreshToken === null) throw new CheckSkipped('NOT_SUPPORTED')
  context.access = await context.bank.refresh(access)
  assertCheck((await context.bank.accounts(context.access, context.customer)).length > 0, 'NO_ACCOUNTS')
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
