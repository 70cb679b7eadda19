import type { BankAccess, BankAccount, BankInterface, Balances, Problem, Registration } from '../../connectors/index.ts'
import { HOUR_MS, addMs } from '../../kernel/clock.ts'
import { toGatewayError, GatewayError, type ErrorCode } from '../../kernel/errors.ts'
import type { FailureCause } from '../../kernel/failure-causes.ts'
import { createLog } from '../../kernel/log.ts'
import type { OutboundHttp } from '../../kernel/outbound-http.ts'
import type { World } from '../../kernel/world.ts'
import { parseJson } from '../../kernel/wire.ts'
import type { CertificationCheck, CheckName } from './model.ts'
import { createTestInterface, type Fault, type TestInterface } from './test-interface.ts'

/** What a trial is made of: a registration, and a way to connect it with tools of the trial's own. */
export interface CertificationTarget {
  /** Runs `work`, during which a forged event of this connector is what we asked the bank for. */
  expectForgedEvent<T>(work: () => Promise<T>): Promise<T>
  readonly registration: Registration
  readonly deadlineMs: number
  /** The connections that the bank is reached by. */
  readonly http: OutboundHttp
  connect(tools: ConnectionTools): BankInterface
}

/** What a connector is given anew for each use. */
export type ConnectionTools = Pick<World, 'http' | 'log'> & { report: (problem: Problem) => void }

/** A check with the cause that only operators may see. */
export type CheckResult = Omit<CertificationCheck, 'failureCause'> & { readonly failureCause: FailureCause | null }

/** A test customer is at no address: this one is set aside for documentation (RFC 5737), so it can be nobody's. */
const TEST_CUSTOMER = { ip: '192.0.2.1', userAgent: 'Guichet-Certification/1' }

/** What goes wrong at a bank, and what must become of it. */
const EXPECTED_FAULT_RESULTS: readonly (readonly [fault: Fault, code: ErrorCode | 'NO_BALANCE'])[] = [
  ['SERVER_ERROR', 'BANK_UNAVAILABLE'],
  ['HTML_ERROR', 'BANK_UNAVAILABLE'],
  ['TOO_MANY_REQUESTS', 'BANK_RATE_LIMITED'],
  ['TRUNCATED', 'BANK_RESPONSE_INVALID'],
  ['HTML', 'BANK_RESPONSE_INVALID'],
  ['REDIRECT', 'BANK_REFUSED'],
  ['WRONG_TYPES', 'NO_BALANCE'],
]

/** Something that is not as it must be; `reason` is a word of ours. */
class CheckFailure extends Error {
  readonly reason: string
  constructor(reason: string) {
    super(reason)
    this.reason = reason
  }
}

const assertCheck = (condition: boolean, reason: string): void => {
  if (!condition) throw new CheckFailure(reason)
}

/** What one check leaves for those after it. */
interface RunState {
  access?: BankAccess
  /** The bank's own ids of what the test customer shares. */
  sharedAccountRefs: readonly string[]
  accounts: readonly BankAccount[]
  balancesByRef: Map<string, Balances>
}

/**
 * Tries a bank's interface from its metadata to the end of a consent, with the very code that customers are served by.
 * Yields each check as it is done; one that needs what an earlier one did not find is NOT_TRIED.
 */
export async function* runCertificationChecks(target: CertificationTarget, world: World): AsyncGenerator<CheckResult> {
  const { registration } = target
  const recorder = recordHttp(world.http)
  const log: string[] = []
  const problems: Problem[] = []
  const bank = target.connect({
    http: recorder.http,
    log: createLog(
      'trace',
      () => world.clock.now(),
      (line) => void log.push(line),
    ),
    report: (problem) => void problems.push(problem),
  })
  const testInterface = registration.testInterface
    ? createTestInterface(registration.testInterface, world.http)
    : undefined
  const runState: RunState = { sharedAccountRefs: [], accounts: [], balancesByRef: new Map() }

  const buildConsentRequest = () => ({
    expiresAt: addMs(world.clock.now(), 24 * HOUR_MS),
    state: world.randomness.bytes(24).toString('base64url'),
    customer: TEST_CUSTOMER,
  })
  const requireTestInterface = (): TestInterface => {
    if (!testInterface) throw new CheckFailure('NO_TEST_INTERFACE')
    return testInterface
  }
  const requireAccess = (): BankAccess => {
    if (!runState.access) throw new CheckFailure('SKIPPED')
    return runState.access
  }
  async function signIn(): Promise<{ access: BankAccess; shared: readonly string[] }> {
    const { url, pending } = await bank.requestConsent(buildConsentRequest())
    const { callback, accounts } = await requireTestInterface().signIn(url, 'ALLOW')
    if (!callback) throw new CheckFailure('NO_REDIRECT_BACK')
    return { access: await bank.completeSignIn(callback, pending), shared: accounts }
  }
  /** The id of an account that the bank and the connector call the same. */
  function requireSharedAccount(): string {
    const id = runState.sharedAccountRefs.find((shared) => runState.accounts.some(({ ref }) => ref === shared))
    if (id === undefined) throw new CheckFailure('SKIPPED')
    return id
  }

  const checks: Readonly<Record<CheckName, () => void | Promise<void>>> = {
    async REACHABILITY() {
      assertCheck(await isMetadataPublished(registration, world.http), 'METADATA_NOT_FOUND')
    },
    async CONSENT() {
      const { url } = await bank.requestConsent(buildConsentRequest())
      assertCheck(world.http.isAllowedUrl(url), 'SIGN_IN_URL_NOT_ALLOWED')
    },
    async SIGN_IN_CANCELLED() {
      const { url, pending } = await bank.requestConsent(buildConsentRequest())
      const { callback } = await requireTestInterface().signIn(url, 'CANCEL')
      if (!callback) throw new CheckFailure('NO_REDIRECT_BACK')
      assertCheck(
        (await errorCodeOf(bank.completeSignIn(callback, pending))) === 'BANK_REFUSED',
        'CANCEL_NOT_RECOGNIZED',
      )
    },
    async SIGN_IN_ABANDONED() {
      const { url, pending } = await bank.requestConsent(buildConsentRequest())
      assertCheck((await requireTestInterface().signIn(url, 'ABANDON')).callback === null, 'UNEXPECTED_REDIRECT_BACK')
      // Whoever makes up a way back gets nothing for it.
      const forgedCallback = new URL(registration.authorizationServer)
      forgedCallback.search = new URLSearchParams({
        state: pending.state,
        code: 'made-up',
        iss: registration.authorizationServer,
      }).toString()
      assertCheck((await errorCodeOf(bank.completeSignIn(forgedCallback, pending))) !== 'NONE', 'FORGED_CODE_ACCEPTED')
    },
    async SIGN_IN() {
      const { access, shared } = await signIn()
      assertCheck(access.consentRef !== '', 'CONSENT_ID_MISSING')
      Object.assign(runState, { access, sharedAccountRefs: shared })
    },
    async ACCOUNTS() {
      problems.length = 0
      runState.accounts = await bank.accounts(requireAccess(), null)
      assertCheck(runState.accounts.length > 0, 'NO_ACCOUNTS')
      assertCheck(problems.length === 0, problems[0] ?? '')
    },
    PAGING() {
      requireAccess()
      // Over all of its pages, a list has exactly what the customer shared, each once.
      const refs = new Set(runState.accounts.map(({ ref }) => ref))
      assertCheck(refs.size === runState.accounts.length, 'DUPLICATE_ACCOUNT')
      assertCheck(refs.size === runState.sharedAccountRefs.length, 'ACCOUNTS_MISSING')
    },
    async BALANCES() {
      problems.length = 0
      for (const { ref } of runState.accounts)
        runState.balancesByRef.set(ref, await bank.balances(requireAccess(), ref, null))
      assertCheck(runState.balancesByRef.size > 0, 'SKIPPED')
      assertCheck(problems.length === 0, problems[0] ?? '')
      assertCheck(
        [...runState.balancesByRef.values()].every(({ balances }) => balances.length > 0),
        'NO_BALANCES',
      )
    },
    async BULK_BALANCES() {
      const access = requireAccess()
      if (!bank.bulkBalances) return
      const bulkBalances = await bank.bulkBalances(access, [...runState.balancesByRef.keys()], null)
      for (const [ref, { balances }] of runState.balancesByRef) {
        const bulkResult = bulkBalances.get(ref)
        assertCheck(bulkResult !== undefined && !(bulkResult instanceof GatewayError), 'ACCOUNT_MISSING_IN_BULK')
        assertCheck(
          JSON.stringify((bulkResult as Balances).balances) === JSON.stringify(balances),
          'BULK_BALANCES_DIFFER',
        )
      }
    },
    async ERRORS() {
      const [access, account] = [requireAccess(), requireSharedAccount()]
      for (const [fault, expected] of EXPECTED_FAULT_RESULTS) {
        await requireTestInterface().injectFault(account, fault, 1)
        const actual = await bank.balances(access, account, null).then(
          ({ balances }) => (balances.length === 0 ? 'NO_BALANCE' : 'NONE'),
          (error: unknown) => toGatewayError(error).code,
        )
        assertCheck(actual === expected, `${fault}_MAPPED_TO_${actual}`)
      }
      await requireTestInterface().clearFaults()
      assertCheck((await bank.balances(access, account, null)).balances.length > 0, 'NO_RECOVERY_AFTER_FAULT')
    },
    async TOKEN_RENEWAL() {
      runState.access = await bank.refresh(requireAccess())
      assertCheck((await bank.accounts(runState.access, null)).length > 0, 'NO_ACCOUNTS')
    },
    async NO_PURCHASE_DATA() {
      const access = requireAccess()
      const canary = `canary-${world.randomness.bytes(6).toString('hex')}`
      await requireTestInterface().setCanary(canary)
      recorder.responseBodies.length = log.length = problems.length = 0
      const accounts = await bank.accounts(access, null)
      const balances = await Promise.all(accounts.map(({ ref }) => bank.balances(access, ref, null)))
      const bulkBalances = bank.bulkBalances
        ? [
            ...(await bank.bulkBalances(
              access,
              accounts.map(({ ref }) => ref),
              null,
            )),
          ]
        : []
      await requireTestInterface().setCanary(null)
      // A check that could not have found anything proves nothing.
      assertCheck(
        recorder.responseBodies.some((text) => text.includes(canary)),
        'CANARY_NOT_RECEIVED',
      )
      assertCheck(
        !JSON.stringify([accounts, balances, bulkBalances, problems, log]).includes(canary),
        'PURCHASE_DATA_LEAKED',
      )
    },
    async EVENTS() {
      requireAccess()
      const account = requireSharedAccount()
      await bank.pollEvents?.({ acknowledged: [], rejected: [] })
      assertCheck((await requireTestInterface().pushAlert(account, 'VALID')).every(isAccepted), 'EVENT_NOT_ACCEPTED')
      assertCheck(
        (await requireTestInterface().pushAlert(account, 'DUPLICATE')).every(isAccepted),
        'DUPLICATE_EVENT_NOT_ACCEPTED',
      )
      const forgedStatuses = await target.expectForgedEvent(() => requireTestInterface().pushAlert(account, 'TAMPERED'))
      assertCheck(
        forgedStatuses.length > 0 && forgedStatuses.every((status) => status === 400),
        'FORGED_EVENT_ACCEPTED',
      )
    },
    async REVOKED_BY_GATEWAY() {
      const access = requireAccess()
      await bank.revokeConsent(access.consentRef)
      assertCheck((await errorCodeOf(bank.accounts(access, null))) === 'RECONNECT_REQUIRED', 'ACCESS_NOT_REVOKED')
      assertCheck((await errorCodeOf(bank.refresh(access))) !== 'NONE', 'TOKEN_STILL_REFRESHED')
    },
    async REVOKED_AT_BANK() {
      const { access } = await signIn()
      const statuses = await requireTestInterface().revokeConsent(access.consentRef)
      assertCheck(statuses.length > 0 && statuses.every(isAccepted), 'REVOCATION_EVENT_NOT_ACCEPTED')
      assertCheck((await errorCodeOf(bank.accounts(access, null))) === 'RECONNECT_REQUIRED', 'ACCESS_NOT_REVOKED')
    },
    LATENCY() {
      assertCheck(recorder.readDurationsMs.length > 0, 'SKIPPED')
      const slowest = [...recorder.readDurationsMs].sort((one, other) => one - other)[
        Math.floor(recorder.readDurationsMs.length * 0.9)
      ]!
      assertCheck(slowest <= target.deadlineMs, 'SLOWER_THAN_DEADLINE')
    },
  }

  for (const [name, check] of Object.entries(checks)) {
    const startedMs = performance.now()
    const failure = await runCheck(check)
    yield {
      name: name as CheckName,
      passed: failure === null,
      reason: failure?.reason ?? null,
      failureCause: failure?.cause ?? null,
      tookMs: Math.round(performance.now() - startedMs),
    }
  }
  await testInterface?.clearFaults().catch(() => undefined)
}

/** Why a check failed, in a word of ours, and why the bank could not be reached where that was it; nothing where it did not. */
async function runCheck(
  check: () => void | Promise<void>,
): Promise<{ reason: string; cause?: FailureCause | undefined } | null> {
  try {
    await check()
    return null
  } catch (error) {
    if (error instanceof CheckFailure) return { reason: error.reason }
    const { code, failureCause } = toGatewayError(error)
    return { reason: code, cause: failureCause }
  }
}

const isAccepted = (status: number): boolean => status >= 200 && status < 300

const errorCodeOf = (pending: Promise<unknown>): Promise<string> =>
  pending.then(
    () => 'NONE',
    (error: unknown) => toGatewayError(error).code,
  )

/** RFC 8414 or OpenID Connect Discovery, at an address that names itself as the issuer. */
async function isMetadataPublished({ authorizationServer }: Registration, http: OutboundHttp): Promise<boolean> {
  for (const name of ['openid-configuration', 'oauth-authorization-server']) {
    const url = new URL(authorizationServer)
    url.pathname =
      name === 'openid-configuration'
        ? `${url.pathname.replace(/\/$/, '')}/.well-known/${name}`
        : `/.well-known/${name}${url.pathname.replace(/\/$/, '')}`
    const response = await http.send({ method: 'GET', url: url.href, timeoutMs: 4_000, maxBytes: 262_144 })
    const issuer = (parseJson(response.text) as { issuer?: unknown } | undefined)?.issuer
    if (response.status === 200 && issuer === authorizationServer) return true
  }
  return false
}

/** The same way out, with what came in and how long reads took. */
function recordHttp(http: OutboundHttp): { http: OutboundHttp; responseBodies: string[]; readDurationsMs: number[] } {
  const responseBodies: string[] = []
  const readDurationsMs: number[] = []
  return {
    responseBodies,
    readDurationsMs,
    http: {
      ...http,
      async send(request) {
        const startedMs = performance.now()
        const response = await http.send(request)
        if (request.method === 'GET') readDurationsMs.push(performance.now() - startedMs)
        responseBodies.push(response.text)
        return response
      },
    },
  }
}
