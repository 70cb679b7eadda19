import type {
  BankAccess,
  BankAccount,
  BankInterface,
  Balances,
  ConsentRequest,
  OpenSignInStep,
  SignInStep,
  PendingSignIn,
  PresentCustomer,
  ResponseIssue,
  ServerMetadata,
} from '../../../connectors/index.ts'
import { addMs, HOUR_MS, SECOND_MS, type Timers } from '../../../kernel/clock.ts'
import { toGatewayError } from '../../../kernel/errors.ts'
import type { Randomness } from '../../../kernel/ids.ts'
import { createLog } from '../../../kernel/log.ts'
import type { OutboundHttp, OutboundRequest } from '../../../kernel/outbound-http.ts'
import type { World } from '../../../kernel/world.ts'
import type { ConnectorContext } from '../reach.ts'
import { createTestInterface, type TestInterface } from './test-interface.ts'

/** The bank to check: its registration, and a function that connects it with the tools of the run. */
export type CertificationTarget = Omit<ConnectorContext, 'key' | 'tools'>

/** The state of one run: the bank, and the results of checks that later checks need. */
export interface CheckContext {
  readonly target: CertificationTarget
  readonly bank: BankInterface
  readonly http: OutboundHttp
  readonly randomness: Randomness
  readonly timers: Timers
  readonly recorder: HttpRecorder
  /** All log lines of the run. */
  readonly log: string[]
  readonly issues: ResponseIssue[]
  readonly testInterface: TestInterface | undefined
  readonly now: () => Date
  /** The person who signed in, while they are present; otherwise null. */
  customer: PresentCustomer | null
  /** A fault of a request of the person's sign-in, which was sent before this run continued. */
  signInRequestFault?: string | undefined
  /** Absent until it was read, and if the bank publishes none. */
  metadata?: ServerMetadata
  buildConsentRequest(): ConsentRequest
  /** Fails the check with `NO_TEST_INTERFACE` if the registration names none. */
  requireTestInterface(): TestInterface
  /** Signs in at the bank: by the test interface, unless a person attends the run. `shared` are the accounts as the bank knows them. */
  signIn(): Promise<SignInResult>
  access?: BankAccess
  /** The bank's IDs of the accounts that the test customer shares. */
  sharedAccountRefs: readonly string[]
  accounts: readonly BankAccount[]
  readonly balancesByRef: Map<string, Balances>
}

/** The access of a sign-in, and the accounts that are certainly shared. */
interface SignInResult {
  readonly access: BankAccess
  readonly shared: readonly string[]
}

/** An HTTP client with a record of its responses. */
interface HttpRecorder {
  readonly http: OutboundHttp
  /** What was sent to the bank, without bodies. */
  readonly requests: Pick<OutboundRequest, 'method' | 'url' | 'headers'>[]
  readonly responseBodies: string[]
  readonly readDurationsMs: number[]
}

/** The address of the test customer: one that is reserved for documentation (RFC 5737), so it belongs to nobody. */
const TEST_CUSTOMER = { ip: '192.0.2.1', userAgent: 'Guichet-Certification/1' }

/** Fails a check; `code` says why. */
export class CheckFailure extends Error {
  readonly code: string
  constructor(code: string) {
    super(code)
    this.code = code
  }
}

/** Skips a check; `code` says why. Only with the first the run cannot pass. */
export class CheckSkipped extends Error {
  readonly code: 'PREREQUISITE_FAILED' | 'NOT_SUPPORTED' | 'NOT_AT_THIS_LEVEL' | 'CUSTOMER_REQUIRED'
  constructor(code: CheckSkipped['code']) {
    super(code)
    this.code = code
  }
}

/** Fails the check with `code` unless the condition holds. */
export const assertCheck = (condition: boolean, code: string): void => {
  if (!condition) throw new CheckFailure(code)
}

/** Connects the bank with the same code that serves customers, and records responses, log lines, and what `record` does. */
export function createCheckContext(
  target: CertificationTarget,
  world: World,
  record: (bank: BankInterface) => BankInterface,
): CheckContext {
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
  const context: CheckContext = {
    target,
    bank: record(
      target.connect({ http: recorder.http, log: recordingLog, report: (issue) => void issues.push(issue) }),
    ),
    http: world.http,
    randomness: world.randomness,
    timers: world.timers,
    recorder,
    log,
    issues,
    testInterface,
    now: () => world.clock.now(),
    customer: null,
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
    signIn: () => signIn(context),
  }
  return context
}

/** The access of an earlier check. Skips the check if there is none. */
export function requireAccess({ access }: CheckContext): BankAccess {
  if (!access) throw new CheckSkipped('PREREQUISITE_FAILED')
  return access
}

/** The ID of an account that is the same for bank and connector. Skips the check if there is none. */
export function requireSharedAccount({ sharedAccountRefs, accounts }: CheckContext): string {
  const id = sharedAccountRefs.find((shared) => accounts.some(({ ref }) => ref === shared))
  if (id === undefined) throw new CheckSkipped('PREREQUISITE_FAILED')
  return id
}

/** Begins a sign-in, and waits while the bank gets ready for it. The first step is the customer's. */
export const beginSignIn = async ({ bank, timers, buildConsentRequest }: CheckContext): Promise<SignInStep> =>
  waitForBank({ bank, timers }, await bank.requestConsent(buildConsentRequest()))

/** Begins a sign-in at the bank's own pages. Fails the check if the bank asks the customer elsewhere, which a run cannot answer. */
export async function startSignIn(context: CheckContext): Promise<RedirectStep> {
  const step = await beginSignIn(context)
  if (step.kind !== 'REDIRECT') throw new CheckFailure('CUSTOMER_REQUIRED')
  return step
}
type RedirectStep = Extract<OpenSignInStep, { kind: 'REDIRECT' }>

/** The first step for which the bank is not awaited. */
async function waitForBank(
  { bank, timers }: Pick<CheckContext, 'bank' | 'timers'>,
  first: SignInStep,
): Promise<SignInStep> {
  let step = first
  while (step.kind === 'WAIT' && step.waitsFor !== 'CUSTOMER') {
    await timers.sleep(step.pollAfterSeconds * SECOND_MS)
    step = await bank.continueSignIn({ kind: 'POLL', customer: TEST_CUSTOMER }, step.pending)
  }
  return step
}

/** Completes a sign-in after the bank's callback, and waits while the bank has not completed its consent. */
export async function finishSignIn(
  { bank, timers }: Pick<CheckContext, 'bank' | 'timers'>,
  callback: URL,
  pending: PendingSignIn,
): Promise<BankAccess> {
  const first = await bank.continueSignIn({ kind: 'CALLBACK', url: callback, customer: TEST_CUSTOMER }, pending)
  const step = await waitForBank({ bank, timers }, first)
  if (step.kind !== 'COMPLETE') throw new CheckFailure('CUSTOMER_REQUIRED')
  return step.access
}

/** Completes a sign-in of the test customer, who allows everything. */
export async function signIn(context: CheckContext): Promise<{ access: BankAccess; shared: readonly string[] }> {
  const { url, pending } = await startSignIn(context)
  const { callback, accounts } = await context.requireTestInterface().signIn(url, 'ALLOW')
  if (!callback) throw new CheckFailure('NO_REDIRECT_BACK')
  return { access: await finishSignIn(context, callback, pending), shared: accounts }
}

/** The error code of a failed call, or `NONE` if it succeeds. */
export const errorCodeOf = (pending: Promise<unknown>): Promise<string> =>
  pending.then(
    () => 'NONE',
    (error: unknown) => toGatewayError(error).code,
  )

/** The same HTTP client, which records response bodies and the durations of reads. */
export function recordHttp({ http, timers }: Pick<World, 'http' | 'timers'>): HttpRecorder {
  const requests: HttpRecorder['requests'] = []
  const responseBodies: string[] = []
  const readDurationsMs: number[] = []
  return {
    requests,
    responseBodies,
    readDurationsMs,
    http: {
      ...http,
      async send(request) {
        const startedMs = timers.monotonicMs()
        requests.push({
          method: request.method,
          url: request.url,
          ...(request.headers && { headers: request.headers }),
        })
        const response = await http.send(request)
        if (request.method === 'GET') readDurationsMs.push(timers.monotonicMs() - startedMs)
        responseBodies.push(response.text)
        return response
      },
    },
  }
}
