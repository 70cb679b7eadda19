import type { BankAccess, BankAccount, BankInterface, Balances, Problem, Registration } from '../../connectors/index.ts'
import { HOUR_MS, later } from '../../kernel/clock.ts'
import { asGatewayError, GatewayError, type ErrorCode } from '../../kernel/errors.ts'
import type { FailureCause } from '../../kernel/failure-causes.ts'
import { createLog } from '../../kernel/log.ts'
import type { OutboundHttp } from '../../kernel/outbound-http.ts'
import type { World } from '../../kernel/world.ts'
import { parseJson } from '../../kernel/wire.ts'
import type { CertificationCheck, CheckName } from './model.ts'
import { testInterfaceAt, type Fault, type TestInterface } from './test-interface.ts'

/** What a trial is made of: a registration, and a way to connect it with tools of the trial's own. */
export interface TrialSubject {
  /** Runs `work`, during which a forged event of this connector is what we asked the bank for. */
  expectForgery<T>(work: () => Promise<T>): Promise<T>
  readonly registration: Registration
  readonly deadlineMs: number
  /** The connections that the bank is reached by. */
  readonly http: OutboundHttp
  connect(tools: TrialTools): BankInterface
}

/** What a connector is given anew for each use. */
export type TrialTools = Pick<World, 'http' | 'log'> & { report: (problem: Problem) => void }

/** A check with the cause that only operators may see. */
export type TriedCheck = Omit<CertificationCheck, 'failureCause'> & { readonly failureCause: FailureCause | null }

/** A test customer is at no address: this one is set aside for documentation (RFC 5737), so it can be nobody's. */
const TEST_CUSTOMER = { ip: '192.0.2.1', userAgent: 'Guichet-Certification/1' }

/** What goes wrong at a bank, and what must become of it. */
const FAULTS: readonly (readonly [fault: Fault, code: ErrorCode | 'NO_BALANCE'])[] = [
  ['SERVER_ERROR', 'BANK_UNAVAILABLE'],
  ['HTML_ERROR', 'BANK_UNAVAILABLE'],
  ['TOO_MANY_REQUESTS', 'BANK_RATE_LIMITED'],
  ['TRUNCATED', 'BANK_RESPONSE_INVALID'],
  ['HTML', 'BANK_RESPONSE_INVALID'],
  ['REDIRECT', 'BANK_REFUSED'],
  ['WRONG_TYPES', 'NO_BALANCE'],
]

/** Something that is not as it must be; `reason` is a word of ours. */
class Failure extends Error {
  readonly reason: string
  constructor(reason: string) {
    super(reason)
    this.reason = reason
  }
}

const must = (holds: boolean, reason: string): void => {
  if (!holds) throw new Failure(reason)
}

/** What one check leaves for those after it. */
interface Found {
  access?: BankAccess
  /** The bank's own ids of what the test customer shares. */
  shared: readonly string[]
  accounts: readonly BankAccount[]
  told: Map<string, Balances>
}

/**
 * Tries a bank's interface from its metadata to the end of a consent, with the very code that customers are served by.
 * Yields each check as it is done; one that needs what an earlier one did not find is NOT_TRIED.
 */
export async function* tryBank(subject: TrialSubject, world: World): AsyncGenerator<TriedCheck> {
  const { registration } = subject
  const spy = spyOn(world.http)
  const log: string[] = []
  const problems: Problem[] = []
  const bank = subject.connect({
    http: spy.http,
    log: createLog(
      'trace',
      () => world.clock.now(),
      (line) => void log.push(line),
    ),
    report: (problem) => void problems.push(problem),
  })
  const test = registration.testInterface ? testInterfaceAt(registration.testInterface, world.http) : undefined
  const found: Found = { shared: [], accounts: [], told: new Map() }

  const wish = () => ({
    expiresAt: later(world.clock.now(), 24 * HOUR_MS),
    state: world.randomness.bytes(24).toString('base64url'),
    customer: TEST_CUSTOMER,
  })
  const tested = (): TestInterface => {
    if (!test) throw new Failure('NO_TEST_INTERFACE')
    return test
  }
  const opened = (): BankAccess => {
    if (!found.access) throw new Failure('NOT_TRIED')
    return found.access
  }
  async function signIn(): Promise<{ access: BankAccess; shared: readonly string[] }> {
    const { url, resume } = await bank.requestConsent(wish())
    const { callback, accounts } = await tested().signIn(url, 'ALLOW')
    if (!callback) throw new Failure('NOT_SENT_BACK')
    return { access: await bank.completeSignIn(callback, resume), shared: accounts }
  }
  /** The id of an account that the bank and the connector call the same. */
  function oneAccount(): string {
    const id = found.shared.find((shared) => found.accounts.some(({ ref }) => ref === shared))
    if (id === undefined) throw new Failure('NOT_TRIED')
    return id
  }

  const checks: Readonly<Record<CheckName, () => void | Promise<void>>> = {
    async REACHABILITY() {
      must(await metadataFound(registration, world.http), 'METADATA_NOT_FOUND')
    },
    async CONSENT() {
      const { url } = await bank.requestConsent(wish())
      must(world.http.accepts(url), 'SIGN_IN_ADDRESS')
    },
    async SIGN_IN_CANCELLED() {
      const { url, resume } = await bank.requestConsent(wish())
      const { callback } = await tested().signIn(url, 'CANCEL')
      if (!callback) throw new Failure('NOT_SENT_BACK')
      must((await codeOf(bank.completeSignIn(callback, resume))) === 'BANK_REFUSED', 'CANCEL_NOT_SEEN')
    },
    async SIGN_IN_ABANDONED() {
      const { url, resume } = await bank.requestConsent(wish())
      must((await tested().signIn(url, 'ABANDON')).callback === null, 'SENT_BACK')
      // Whoever makes up a way back gets nothing for it.
      const madeUp = new URL(registration.authorizationServer)
      madeUp.search = new URLSearchParams({
        state: resume.state,
        code: 'made-up',
        iss: registration.authorizationServer,
      }).toString()
      must((await codeOf(bank.completeSignIn(madeUp, resume))) !== 'NONE', 'MADE_UP_CODE_TAKEN')
    },
    async SIGN_IN() {
      const { access, shared } = await signIn()
      must(access.consentRef !== '', 'NO_CONSENT_ID')
      Object.assign(found, { access, shared })
    },
    async ACCOUNTS() {
      problems.length = 0
      found.accounts = await bank.accounts(opened(), null)
      must(found.accounts.length > 0, 'NO_ACCOUNTS')
      must(problems.length === 0, problems[0] ?? '')
    },
    PAGING() {
      opened()
      // Over all of its pages, a list has exactly what the customer shared, each once.
      const refs = new Set(found.accounts.map(({ ref }) => ref))
      must(refs.size === found.accounts.length, 'ACCOUNT_TWICE')
      must(refs.size === found.shared.length, 'ACCOUNTS_MISSING')
    },
    async BALANCES() {
      problems.length = 0
      for (const { ref } of found.accounts) found.told.set(ref, await bank.balances(opened(), ref, null))
      must(found.told.size > 0, 'NOT_TRIED')
      must(problems.length === 0, problems[0] ?? '')
      must(
        [...found.told.values()].every(({ balances }) => balances.length > 0),
        'NO_BALANCES',
      )
    },
    async BULK_BALANCES() {
      const access = opened()
      if (!bank.bulkBalances) return
      const told = await bank.bulkBalances(access, [...found.told.keys()], null)
      for (const [ref, { balances }] of found.told) {
        const same = told.get(ref)
        must(same !== undefined && !(same instanceof GatewayError), 'ACCOUNT_MISSING_IN_BULK')
        must(JSON.stringify((same as Balances).balances) === JSON.stringify(balances), 'OTHER_AMOUNTS_IN_BULK')
      }
    },
    async ERRORS() {
      const [access, account] = [opened(), oneAccount()]
      for (const [fault, expected] of FAULTS) {
        await tested().fault(account, fault, 1)
        const came = await bank.balances(access, account, null).then(
          ({ balances }) => (balances.length === 0 ? 'NO_BALANCE' : 'NONE'),
          (error: unknown) => asGatewayError(error).code,
        )
        must(came === expected, `${fault}_BECAME_${came}`)
      }
      await tested().heal()
      must((await bank.balances(access, account, null)).balances.length > 0, 'DOES_NOT_HEAL')
    },
    async TOKEN_RENEWAL() {
      found.access = await bank.refresh(opened())
      must((await bank.accounts(found.access, null)).length > 0, 'NO_ACCOUNTS')
    },
    async PURCHASES_STAY_OUT() {
      const access = opened()
      const canary = `canary-${world.randomness.bytes(6).toString('hex')}`
      await tested().plant(canary)
      spy.bytes.length = log.length = problems.length = 0
      const accounts = await bank.accounts(access, null)
      const told = await Promise.all(accounts.map(({ ref }) => bank.balances(access, ref, null)))
      const bulk = bank.bulkBalances
        ? [
            ...(await bank.bulkBalances(
              access,
              accounts.map(({ ref }) => ref),
              null,
            )),
          ]
        : []
      await tested().plant(null)
      // A check that could not have found anything proves nothing.
      must(
        spy.bytes.some((text) => text.includes(canary)),
        'NO_CANARY_SENT',
      )
      must(!JSON.stringify([accounts, told, bulk, problems, log]).includes(canary), 'PURCHASE_DATA_PASSED')
    },
    async EVENTS() {
      opened()
      const account = oneAccount()
      await bank.collectEvents?.({ taken: [], refused: [] })
      must((await tested().alert(account, 'WELL')).every(isTaken), 'EVENT_NOT_TAKEN')
      must((await tested().alert(account, 'TWICE')).every(isTaken), 'REPEATED_EVENT_NOT_TAKEN')
      const refused = await subject.expectForgery(() => tested().alert(account, 'TAMPERED'))
      must(refused.length > 0 && refused.every((status) => status === 400), 'FORGED_EVENT_TAKEN')
    },
    async REVOKED_BY_US() {
      const access = opened()
      await bank.revokeConsent(access.consentRef)
      must((await codeOf(bank.accounts(access, null))) === 'RECONNECT_REQUIRED', 'STILL_OPEN')
      must((await codeOf(bank.refresh(access))) !== 'NONE', 'STILL_RENEWED')
    },
    async REVOKED_AT_BANK() {
      const { access } = await signIn()
      const statuses = await tested().revoke(access.consentRef)
      must(statuses.length > 0 && statuses.every(isTaken), 'REVOCATION_NOT_TAKEN')
      must((await codeOf(bank.accounts(access, null))) === 'RECONNECT_REQUIRED', 'STILL_OPEN')
    },
    LATENCY() {
      must(spy.readsMs.length > 0, 'NOT_TRIED')
      const slowest = [...spy.readsMs].sort((one, other) => one - other)[Math.floor(spy.readsMs.length * 0.9)]!
      must(slowest <= subject.deadlineMs, 'SLOWER_THAN_DEADLINE')
    },
  }

  for (const [name, check] of Object.entries(checks)) {
    const began = performance.now()
    const failure = await whyNot(check)
    yield {
      name: name as CheckName,
      passed: failure === null,
      reason: failure?.reason ?? null,
      failureCause: failure?.cause ?? null,
      tookMs: Math.round(performance.now() - began),
    }
  }
  await test?.heal().catch(() => undefined)
}

/** Why a check failed, in a word of ours, and why the bank could not be reached where that was it; nothing where it did not. */
async function whyNot(
  check: () => void | Promise<void>,
): Promise<{ reason: string; cause?: FailureCause | undefined } | null> {
  try {
    await check()
    return null
  } catch (error) {
    if (error instanceof Failure) return { reason: error.reason }
    const { code, failureCause } = asGatewayError(error)
    return { reason: code, cause: failureCause }
  }
}

const isTaken = (status: number): boolean => status >= 200 && status < 300

const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'NONE',
    (error: unknown) => asGatewayError(error).code,
  )

/** RFC 8414 or OpenID Connect Discovery, at an address that names itself as the issuer. */
async function metadataFound({ authorizationServer }: Registration, http: OutboundHttp): Promise<boolean> {
  for (const name of ['openid-configuration', 'oauth-authorization-server']) {
    const url = new URL(authorizationServer)
    url.pathname =
      name === 'openid-configuration'
        ? `${url.pathname.replace(/\/$/, '')}/.well-known/${name}`
        : `/.well-known/${name}${url.pathname.replace(/\/$/, '')}`
    const answer = await http.send({ method: 'GET', url: url.href, timeoutMs: 4_000, maxBytes: 262_144 })
    const issuer = (parseJson(answer.text) as { issuer?: unknown } | undefined)?.issuer
    if (answer.status === 200 && issuer === authorizationServer) return true
  }
  return false
}

/** The same way out, with what came in and how long reads took. */
function spyOn(http: OutboundHttp): { http: OutboundHttp; bytes: string[]; readsMs: number[] } {
  const bytes: string[] = []
  const readsMs: number[] = []
  return {
    bytes,
    readsMs,
    http: {
      ...http,
      async send(request) {
        const began = performance.now()
        const answer = await http.send(request)
        if (request.method === 'GET') readsMs.push(performance.now() - began)
        bytes.push(answer.text)
        return answer
      },
    },
  }
}
