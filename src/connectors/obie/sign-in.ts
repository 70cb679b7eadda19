import { addMs, SECOND_MS } from '../../kernel/clock.ts'
import { GatewayError, type ErrorCode } from '../../kernel/errors.ts'
import { RETRIES } from '../../kernel/retry.ts'
import { createSecret, parseResponse, type BankCall, type BankResponse } from '../bank-api.ts'
import type { BankInterface, ConnectorTools } from '../connector.ts'
import type { OauthClient } from '../oauth-client.ts'
import { requireCallback, type OpenSignInStep, type PendingSignIn } from '../sign-in.ts'
import { consentResponse } from './wire.ts'

/** The only permissions that Guichet requests. */
export const PERMISSIONS = ['ReadAccountsDetail', 'ReadBalances']

/** The states in which no customer can agree to a consent any more, in 3.1.11 and 4.0. */
const ENDED_STATUSES: ReadonlySet<string> = new Set(['Rejected', 'Revoked', 'RJCT', 'CANC', 'EXPD'])
/** A bank that does not know a consent yet has several words for that. */
const UNKNOWN_CONSENT: ReadonlySet<ErrorCode> = new Set([
  'BALANCE_NOT_PROVIDED',
  'BANK_REFUSED',
  'BANK_RESPONSE_INVALID',
  'RECONNECT_REQUIRED',
])
/** How long the sign-in can still begin after the consent can be used for certain. */
const MARGIN_MS = 60 * SECOND_MS

/** The dependencies of the sign-in at one bank. */
interface ObieSignInDependencies {
  readonly oauth: OauthClient
  readonly tools: ConnectorTools
  readonly callBank: (operation: 'createConsent' | 'consent', call: BankCall) => Promise<BankResponse>
  readonly tokenHeaders: (token: string) => Readonly<Record<string, string>>
  readonly bodyHeaders: (token: string) => Readonly<Record<string, string>>
  /** When a new consent can be used at the latest; undefined if immediately. */
  readonly consentReadyAfterSeconds: number | undefined
}

/**
 * The steps of a sign-in: the consent, where the bank needs it a wait until the consent can be used, and the redirect. While the
 * customer waits, the bank is polled; at the end of the stated time they are sent on in any case.
 */
export function createObieSignIn({
  oauth,
  tools,
  callBank,
  tokenHeaders,
  bodyHeaders,
  consentReadyAfterSeconds,
}: ObieSignInDependencies): Pick<BankInterface, 'requestConsent' | 'continueSignIn'> {
  async function redirect(pending: PendingSignIn): Promise<OpenSignInStep> {
    const intent = { openbanking_intent_id: { value: pending.consentRef, essential: true } }
    return {
      kind: 'REDIRECT',
      url: await oauth.signInUrl({ claims: JSON.stringify({ id_token: intent }) }, pending),
      pending,
    }
  }

  const wait = (pending: PendingSignIn, readyAt: string): OpenSignInStep => ({
    kind: 'WAIT',
    waitsFor: 'SIGN_IN_PAGE',
    pollAfterSeconds: RETRIES.newConsent.delaysMs[0] / SECOND_MS,
    expiresAt: addMs(new Date(readyAt), MARGIN_MS).toISOString(),
    pending: { ...pending, progress: readyAt },
  })

  /** Whether the bank already knows its own consent. Throws `BANK_REFUSED` if the consent has ended. */
  async function isKnown(consentRef: string): Promise<boolean> {
    const headers = tokenHeaders(await oauth.clientCredentialsToken())
    try {
      const response = await callBank('consent', { params: { consent: consentRef }, headers })
      const { Status = '' } = parseResponse(consentResponse, response, tools.report).Data
      if (!ENDED_STATUSES.has(Status)) return true
    } catch (error) {
      if (error instanceof GatewayError && UNKNOWN_CONSENT.has(error.code)) return false
      throw error
    }
    throw new GatewayError('BANK_REFUSED', { internalMessage: 'the consent ended before the sign-in' })
  }

  return {
    async requestConsent({ expiresAt, state, customer }) {
      const token = await oauth.clientCredentialsToken()
      const response = await callBank('createConsent', {
        headers: { ...bodyHeaders(token), 'x-fapi-customer-ip-address': customer.ip },
        body: { Data: { Permissions: PERMISSIONS, ExpirationDateTime: expiresAt.toISOString() }, Risk: {} },
      })
      const { ConsentId } = parseResponse(consentResponse, response, tools.report).Data
      const pending = { consentRef: ConsentId, state, codeVerifier: createSecret(tools), nonce: createSecret(tools) }
      if (consentReadyAfterSeconds === undefined) return redirect(pending)
      return wait(pending, addMs(tools.clock.now(), consentReadyAfterSeconds * SECOND_MS).toISOString())
    },

    async continueSignIn(input, pending) {
      if (input.kind === 'POLL') {
        const readyAt = String(pending.progress)
        const isReady = tools.clock.now().toISOString() >= readyAt || (await isKnown(pending.consentRef))
        return isReady ? redirect(pending) : wait(pending, readyAt)
      }
      const { access, claims } = await oauth.redeemCode(requireCallback(input), pending)
      const { idTokenNamesConsent } = oauth.profile
      // Prevents an attack that injects a code issued for another consent into this customer's browser.
      if (idTokenNamesConsent && claims['openbanking_intent_id'] !== pending.consentRef)
        throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: 'tokens are for another consent' })
      return { kind: 'COMPLETE', access }
    },
  }
}
