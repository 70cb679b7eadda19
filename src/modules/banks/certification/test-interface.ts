import { z } from 'zod'
import { sendToBank } from '../../../connectors/index.ts'
import { GatewayError } from '../../../kernel/errors.ts'
import type { OutboundHttp } from '../../../kernel/outbound-http.ts'
import { parseJson } from '../../../kernel/wire.ts'

/** The action of the test customer on the bank's pages. */
export type Decision = 'ALLOW' | 'CANCEL' | 'ABANDON'

/** The faults that can be injected for one account. */
export type Fault =
  'SERVER_ERROR' | 'HTML_ERROR' | 'TOO_MANY_REQUESTS' | 'TRUNCATED' | 'HTML' | 'REDIRECT' | 'WRONG_TYPES'

/** How the bank pushes an alert: correctly, twice, or with a payload that does not match its signature. */
export type PushMode = 'VALID' | 'DUPLICATE' | 'TAMPERED'

/** A bank's test interface (docs/ADD-A-BANK.md). Every method throws a `GatewayError` if it fails. */
export interface TestInterface {
  /** Completes the bank's pages as the test customer. Returns the callback URL and the shared accounts. */
  signIn(url: string, decision: Decision): Promise<{ callback: URL | null; accounts: readonly string[] }>
  /** Injects a fault for the account, for a number of requests. */
  injectFault(account: string, kind: Fault, times: number): Promise<void>
  /** Removes all faults. */
  clearFaults(): Promise<void>
  /** Sets the text that all purchase data of the bank contains; `null` removes it. */
  setCanary(canary: string | null): Promise<void>
  /** Pushes an alert about the account. Returns the statuses of the responses. */
  pushAlert(account: string, deliveryMode: PushMode): Promise<readonly number[]>
  /** Ends the consent at the bank as the test customer. Returns the statuses of the responses to the bank's event. */
  revokeConsent(consentRef: string): Promise<readonly number[]>
}

const TIMEOUT_MS = 10_000
const MAX_RESPONSE_BYTES = 65_536
/** As for the ids of every bank. */
const MAX_ID_LENGTH = 1_024

const signInResponse = z.object({
  callback: z.url().nullable(),
  accounts: z.array(z.string().max(MAX_ID_LENGTH)).max(1_000),
})
const pushResponse = z.object({ pushed: z.array(z.object({ status: z.number().int() })).max(20) })

/** Creates the client of a test interface. It uses the guarded outbound HTTP, because the partner chose the address. */
export function createTestInterface(base: string, http: OutboundHttp): TestInterface {
  async function call<T>(
    method: 'POST' | 'PUT' | 'DELETE',
    path: string,
    body: unknown,
    schema: z.ZodType<T>,
  ): Promise<T> {
    const { status, text } = await sendToBank(http, {
      method,
      url: `${base.replace(/\/$/, '')}${path}`,
      ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
      timeoutMs: TIMEOUT_MS,
      maxBytes: MAX_RESPONSE_BYTES,
    })
    const parsed = status < 300 ? schema.safeParse(text === '' ? undefined : parseJson(text)) : undefined
    if (!parsed?.success)
      throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: `test interface: ${status}` })
    return parsed.data
  }
  const statuses = ({ pushed: deliveries }: z.output<typeof pushResponse>): number[] =>
    deliveries.map(({ status }) => status)

  return {
    async signIn(url, decision) {
      const { callback, accounts } = await call('POST', '/sign-ins', { url, decision }, signInResponse)
      return { callback: callback === null ? null : parseCallback(callback), accounts }
    },
    async injectFault(account, kind, times) {
      await call('PUT', '/faults', { account, kind, times }, z.unknown())
    },
    async clearFaults() {
      await call('DELETE', '/faults', undefined, z.unknown())
    },
    async setCanary(canary) {
      await call('PUT', '/canary', { canary }, z.unknown())
    },
    async pushAlert(account, deliveryMode) {
      return statuses(await call('POST', '/alerts', { account, type: 'NEW_SIGN_IN', deliveryMode }, pushResponse))
    },
    async revokeConsent(consent) {
      return statuses(await call('POST', '/revocations', { consent }, pushResponse))
    },
  }
}

/** A callback whose parameters are in the fragment has them in the query afterwards, as the gateway's page for banks does it. */
function parseCallback(text: string): URL {
  const url = new URL(text)
  if (url.hash !== '') [url.search, url.hash] = [url.hash.slice(1), '']
  return url
}
