import { z } from 'zod'
import { sendToBank } from '../../../connectors/index.ts'
import { GatewayError } from '../../../kernel/errors.ts'
import type { OutboundHttp } from '../../../kernel/outbound-http.ts'
import { parseJson } from '../../../kernel/wire.ts'

/** What the test customer does on the bank's pages. */
export type Decision = 'ALLOW' | 'CANCEL' | 'ABANDON'

/** What can be made to go wrong with one account. */
export type Fault =
  'SERVER_ERROR' | 'HTML_ERROR' | 'TOO_MANY_REQUESTS' | 'TRUNCATED' | 'HTML' | 'REDIRECT' | 'WRONG_TYPES'

/** How a bank pushes an alert: as it should, twice, or changed under its signature. */
export type PushMode = 'VALID' | 'DUPLICATE' | 'TAMPERED'

/** A bank that lets itself be tested, by the addresses of docs/ADD-A-BANK.md. Every method throws a `GatewayError`. */
export interface TestInterface {
  /** The test customer goes through the bank's pages; returns where they are sent back, and what they chose to share. */
  signIn(url: string, decision: Decision): Promise<{ callback: URL | null; accounts: readonly string[] }>
  /** From now on, and so many times, this goes wrong with the account. */
  injectFault(account: string, kind: Fault, times: number): Promise<void>
  /** All is well again. */
  clearFaults(): Promise<void>
  /** Puts the text into everything purchase-like that the bank sends; nothing again where it is `null`. */
  setCanary(canary: string | null): Promise<void>
  /** Pushes an alert about the account; the statuses that it was answered. */
  pushAlert(account: string, deliveryMode: PushMode): Promise<readonly number[]>
  /** The test customer ends the consent at the bank; the statuses that the bank's event was answered. */
  revokeConsent(consentRef: string): Promise<readonly number[]>
}

const TIMEOUT_MS = 10_000
const MAX_RESPONSE_BYTES = 65_536

const signInResponse = z.object({ callback: z.url().nullable(), accounts: z.array(z.string().max(128)).max(1_000) })
const pushResponse = z.object({ pushed: z.array(z.object({ status: z.number().int() })).max(20) })

/** Reaches it through the guarded outbound HTTP, like everything that others chose the address of. */
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
      return { callback: callback === null ? null : new URL(callback), accounts }
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
