import type { BankAccess, BankAccount, BankInterface, Balances, ResponseIssue } from '../../../connectors/index.ts'
import { addMs, HOUR_MS } from '../../../kernel/clock.ts'
import { toGatewayError } from '../../../kernel/errors.ts'
import type { Randomness } from '../../../kernel/ids.ts'
import { createLog } from '../../../kernel/log.ts'
import type { OutboundHttp } from '../../../kernel/outbound-http.ts'
import type { World } from '../../../kernel/world.ts'
import type { ConnectorContext } from '../reach.ts'
import { createTestInterface, type TestInterface } from './test-interface.ts'

/** The bank to check: its registration, and a way to connect it with the run's own tools. */
export type CertificationTarget = Omit<ConnectorContext, 'key' | 'tools'>

type ConsentRequest = Parameters<BankInterface['requestConsent']>[0]

/** What the checks of one run share: the bank, and what one check leaves for those after it. */
export interface CheckContext {
  readonly target: CertificationTarget
  readonly bank: BankInterface
  readonly http: OutboundHttp
  readonly randomness: Randomness
  readonly recorder: HttpRecorder
  /** Every line that was logged. */
  readonly log: string[]
  readonly issues: ResponseIssue[]
  readonly testInterface: TestInterface | undefined
  buildConsentRequest(): ConsentRequest
  /** Fails the check with `NO_TEST_INTERFACE` if the registration names none. */
  requireTestInterface(): TestInterface
  access?: BankAccess
  /** The bank's own ids of what the test customer shares. */
  sharedAccountRefs: readonly string[]
  accounts: readonly BankAccount[]
  readonly balancesByRef: Map<string, Balances>
}

/** An HTTP client, with what came in by it. */
interface HttpRecorder {
  readonly http: OutboundHttp
  readonly responseBodies: string[]
  readonly readDurationsMs: number[]
}

/** A test customer has no address: this one is set aside for documentation (RFC 5737), so it can be nobody's. */
const TEST_CUSTOMER = { ip: '192.0.2.1', userAgent: 'Guichet-Certification/1' }

/** Fails a check; `code` says why. */
export class CheckFailure extends Error {
  readonly code: string
  constructor(code: string) {
    super(code)
    this.code = code
  }
}

/** Skips a check; `code` says why. */
export class CheckSkipped extends Error {
  readonly code: 'PREREQUISITE_FAILED' | 'NOT_SUPPORTED'
  constructor(code: CheckSkipped['code']) {
    super(code)
    this.code = code
  }
}

/** Fails the check with `code` unless the condition holds. */
export const assertCheck = (condition: boolean, code: string): void => {
  if (!condition) throw new CheckFailure(code)
}

/** Connects the bank with the very code that customers are served by, and records what comes in and what is logged. */
export function createCheckContext(target: CertificationTarget, world: World): CheckContext {
  const recorder = recordHttp(world)
  const log: string[] = []
  const issues: ResponseIssue[] = []
  const recordingLog = createLog(
    'trace',
    () => world.clock.now(),
    (line) => void log.push(line),
  )
  const { testInterface: base } = target.registration
  const testInterface = base ? createTestInterface(base, world.http) : undefined
  return {
    target,
    bank: target.connect({ http: recorder.http, log: recordingLog, report: (issue) => void issues.push(issue) }),
    http: world.http,
    randomness: world.randomness,
    recorder,
    log,
    issues,
    testInterface,
    buildConsentRequest: () => ({
      expiresAt: addMs(world.clock.now(), 24 * HOUR_MS),
      state: world.randomness.bytes(24).toString('base64url'),
      customer: TEST_CUSTOMER,
    }),
    requireTestInterface() {
      if (!testInterface) throw new CheckFailure('NO_TEST_INTERFACE')
      return testInterface
    },
    sharedAccountRefs: [],
    accounts: [],
    balancesByRef: new Map(),
  }
}

/** The access of an earlier check. Skips the check if there is none. */
export function requireAccess({ access }: CheckContext): BankAccess {
  if (!access) throw new CheckSkipped('PREREQUISITE_FAILED')
  return access
}

/** The id of an account that the bank and the connector call the same. Skips the check if there is none. */
export function requireSharedAccount({ sharedAccountRefs, accounts }: CheckContext): string {
  const id = sharedAccountRefs.find((shared) => accounts.some(({ ref }) => ref === shared))
  if (id === undefined) throw new CheckSkipped('PREREQUISITE_FAILED')
  return id
}

/** A whole sign-in of the test customer, who allows everything. */
export async function signIn(context: CheckContext): Promise<{ access: BankAccess; shared: readonly string[] }> {
  const { url, pending } = await context.bank.requestConsent(context.buildConsentRequest())
  const { callback, accounts } = await context.requireTestInterface().signIn(url, 'ALLOW')
  if (!callback) throw new CheckFailure('NO_REDIRECT_BACK')
  return { access: await context.bank.completeSignIn(callback, pending), shared: accounts }
}

/** The code that a call fails with, or `NONE` if it does not fail. */
export const errorCodeOf = (pending: Promise<unknown>): Promise<string> =>
  pending.then(
    () => 'NONE',
    (error: unknown) => toGatewayError(error).code,
  )

/** The same HTTP client; it records response bodies and how long reads took. */
function recordHttp({ http, timers }: World): HttpRecorder {
  const responseBodies: string[] = []
  const readDurationsMs: number[] = []
  return {
    responseBodies,
    readDurationsMs,
    http: {
      ...http,
      async send(request) {
        const startedMs = timers.monotonicMs()
        const response = await http.send(request)
        if (request.method === 'GET') readDurationsMs.push(timers.monotonicMs() - startedMs)
        responseBodies.push(response.text)
        return response
      },
    },
  }
}
