import { SignJWT, type JWTPayload } from 'jose'
import { SECOND_MS } from '../kernel/clock.ts'
import { GatewayError } from '../kernel/errors.ts'
import type { OutboundResponse } from '../kernel/outbound-http.ts'
import { parseRetryAfter } from '../kernel/retry-after.ts'
import type { CustomerAnswer } from './alert-response-rules.ts'
import { signingKeyOf } from './client-authentication.ts'
import type { BankInterface, ConnectorTools, Registration, Standard } from './connector.ts'
import { createReusedToken, type ReusedToken } from './events-api.ts'
import { createEndpointCheck } from './endpoints.ts'
import { createOauthClient } from './oauth-client.ts'
import { resolveOauthProfile } from './oauth-profile.ts'
import { sendToBank } from './send-to-bank.ts'

/** The event type of a customer's answer to an alert, for banks of every standard: none of the standards has one. */
const ALERT_RESPONSE = 'urn:guichet:events:alert-response'

const TIMEOUT_MS = 4 * SECOND_MS
const MAX_BYTES = 65_536
/** A pause holds back the responses of all customers of the bank, among them those that freeze a card. */
const MAX_RETRY_AFTER_S = 300
/** The only status whose body is read (RFC 8935, 2.3). */
const STATUS_WITH_ERROR = 400
/** The error codes of RFC 8935, 2.4, that do not change if the same token is sent again. */
const FINAL_ERRORS: ReadonlySet<unknown> = new Set(['invalid_request', 'invalid_issuer', 'invalid_audience'])
const FINAL_STATUSES: ReadonlySet<number> = new Set([410, 413, 422])

/** Adds to a standard what a bank can have in addition: an endpoint for the responses of customers. */
export const withAlertResponses = <R extends Registration>(standard: Standard<R>): Standard<R> => ({
  ...standard,
  connect: (registration, tools) => ({
    ...standard.connect(registration, tools),
    ...createSender(standard, registration, tools),
  }),
})

function createSender<R extends Registration>(
  standard: Standard<R>,
  registration: R,
  tools: ConnectorTools,
): Pick<BankInterface, 'sendAlertResponse'> {
  const { alertResponses: rules, events, authorizationServer } = registration
  if (!rules) return {}
  const profile = resolveOauthProfile(standard.oauthDefaults, registration.oauth)
  const audience = rules.audience ?? events?.issuer ?? authorizationServer ?? rules.url
  const token = rules.scope === undefined ? undefined : createToken(standard, registration, tools, rules.scope)

  /** A Security Event Token with the answer as its only event (RFC 8417). */
  async function sign(answer: CustomerAnswer): Promise<string> {
    const { key, kid } = await signingKeyOf(tools)
    const subject = subjectOf(answer, audience, standard)
    const claims: JWTPayload = {
      jti: answer.id,
      ...(subject && { sub_id: subject }),
      events: { [ALERT_RESPONSE]: eventOf(answer) },
    }
    return new SignJWT(claims)
      .setProtectedHeader({ alg: profile.signingAlgorithm, typ: 'secevent+jwt', kid })
      .setIssuer(tools.issuer)
      .setAudience(audience)
      .setIssuedAt(toSeconds(answer.respondedAt))
      .sign(key)
  }

  return {
    async sendAlertResponse(answer) {
      const response = await sendToBank(tools.http, {
        method: 'POST',
        url: rules.url,
        headers: {
          'content-type': 'application/secevent+jwt',
          accept: 'application/json',
          ...(token && { authorization: `Bearer ${await token.get()}` }),
        },
        body: await sign(answer),
        timeoutMs: TIMEOUT_MS,
        firstByteTimeoutMs: TIMEOUT_MS,
        maxBytes: MAX_BYTES,
        // A body that cannot be read must not hide that the bank accepted the response.
        ignoresBody: (status) => status !== STATUS_WITH_ERROR,
      })
      if (response.status < 300) return 'ACCEPTED'
      if (response.status === 401 || response.status === 403) token?.drop()
      if (isFinal(response)) return 'REJECTED'
      throw toRetryableError(response, tools.clock.now())
    },
  }
}

const toSeconds = (at: string): number => Math.floor(Date.parse(at) / 1_000)

const eventOf = ({ eventId, answer, respondedAt, consentRef }: CustomerAnswer) => ({
  alert: eventId,
  answer,
  responded_at: toSeconds(respondedAt),
  ...(consentRef !== undefined && { consent: consentRef }),
})

/** The account (RFC 9493, 3.2.5) or, if the alert is about none, the person (3.2.4). Undefined if the bank gave no ID of it. */
function subjectOf(
  { accountRef, customerRef }: CustomerAnswer,
  issuer: string,
  { toAccountId = (ref) => ref }: Pick<Standard, 'toAccountId'>,
): Readonly<Record<string, string>> | undefined {
  const accountId = accountRef === undefined ? undefined : toAccountId(accountRef)
  if (accountId !== undefined) return { format: 'opaque', id: accountId }
  return accountRef === undefined && customerRef !== undefined
    ? { format: 'iss_sub', iss: issuer, sub: customerRef }
    : undefined
}

function createToken<R extends Registration>(
  standard: Standard<R>,
  registration: R,
  tools: ConnectorTools,
  scope: string,
): ReusedToken {
  const profile = resolveOauthProfile(standard.oauthDefaults, registration.oauth)
  const checkEndpoint = createEndpointCheck(registration, standard.resourceServers(registration))
  const oauth = createOauthClient(registration, tools, profile, checkEndpoint)
  return createReusedToken(() => oauth.clientCredentialsToken(scope), tools.clock)
}

/** Whether the bank will never take the token. Of the body, only `err` of RFC 8935, 2.3, is read. */
function isFinal({ status, text }: OutboundResponse): boolean {
  if (status !== STATUS_WITH_ERROR) return FINAL_STATUSES.has(status)
  try {
    return FINAL_ERRORS.has((JSON.parse(text) as { readonly err?: unknown } | null)?.err)
  } catch {
    return false
  }
}

function toRetryableError({ status, headers }: OutboundResponse, now: Date): GatewayError {
  const internalMessage = `the endpoint for responses returned ${status}`
  if (status === 429) {
    const retryAfterSeconds = parseRetryAfter(headers['retry-after'], now, MAX_RETRY_AFTER_S)
    return new GatewayError('BANK_RATE_LIMITED', {
      internalMessage,
      ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
    })
  }
  return new GatewayError(status >= 500 ? 'BANK_UNAVAILABLE' : 'BANK_REFUSED', { internalMessage })
}
