import { z } from 'zod'
import { addMs, MINUTE_MS, type Clock } from '../../kernel/clock.ts'
import { parseResponse, type createBankApi } from '../bank-api.ts'
import type { BankEvent, EventPayload, EventTools, ReceivedEvent } from '../bank-event.ts'
import type { ConnectorTools, EventAcknowledgements, PollEvents, Registration } from '../connector.ts'
import type { AllowedOperations } from '../endpoints.ts'
import { STRICT_EVENT_RULES, type EventRules } from '../event-rules.ts'
import {
  readSecurityAlert,
  eventRejected,
  SECURITY_ALERT,
  verifySecurityEvents,
  type SecurityEvent,
} from '../security-events.ts'
import { opaqueId } from '../wire-members.ts'
import { eventsResponse, MAX_EVENT_ID_LENGTH, MAX_EVENT_LENGTH, MAX_EVENTS, subscriptionsResponse } from './wire.ts'

/** Open Banking event notifications 4.0, section "consent authorization revoked". */
const CONSENT_REVOKED = 'urn:uk:org:openbanking:events:consent-authorization-revoked'
const RESOURCE_ID = 'http://openbanking.org.uk/rid'
const RESOURCE_TYPE = 'http://openbanking.org.uk/rty'
const subjectSchema = z.object({
  subject: z.object({ [RESOURCE_ID]: opaqueId, [RESOURCE_TYPE]: z.string().max(256).optional().catch(undefined) }),
})
/** The resource type of the consents that Guichet creates. The standard's own examples have it in the plural too. */
const ACCOUNT_CONSENT = /^account-access-consents?$/i

/** Tokens are signed like messages: `typ` is JOSE or absent, and `crit` names three parameters (3.1.11 and 4.0). */
const EVENT_RULES: EventRules = {
  ...STRICT_EVENT_RULES,
  tokenTypes: ['secevent+jwt', 'JOSE', 'ABSENT'],
  criticalHeaders: 'OPEN_BANKING',
}

/** Reads the event notification of an Open Banking bank. Throws as `Standard.readEvent` does. */
export async function readObieEvent(
  received: ReceivedEvent,
  registration: Registration,
  tools: EventTools,
): Promise<BankEvent> {
  const { issuer, jti, events } = await verifySecurityEvents(received, registration, tools, EVENT_RULES)
  return { issuer, jti, payloads: events.map(({ type, event }) => toPayload(type, event, events, tools.clock)) }
}

function toPayload(type: string, event: unknown, all: readonly SecurityEvent[], clock: Clock): EventPayload {
  if (type === SECURITY_ALERT) return readSecurityAlert(event, clock)
  if (type !== CONSENT_REVOKED) return { kind: 'IGNORED' }
  const { [RESOURCE_ID]: consentRef, [RESOURCE_TYPE]: resourceType } = revokedResource(event, all)
  // Consents of other APIs have ids of their own.
  const isOther = resourceType !== undefined && !ACCOUNT_CONSENT.test(resourceType)
  return isOther ? { kind: 'IGNORED' } : { kind: 'CONSENT_REVOKED', consentRef }
}

/**
 * The resource that a revocation names. If a bank sends it beside the update of the same resource, it can be empty, as in the
 * standard's own example: then it is about the only resource of the token.
 */
function revokedResource(event: unknown, all: readonly SecurityEvent[]) {
  const own = subjectSchema.safeParse(event)
  if (own.success) return own.data.subject
  const isEmpty = typeof event === 'object' && event !== null && Object.keys(event).length === 0
  const [other, ...further] = all.flatMap((one) => subjectSchema.safeParse(one.event).data?.subject ?? [])
  if (!isEmpty || !other || further.length > 0) throw eventRejected('revoked consent')
  return other
}

/** Every operation that Guichet calls at the events API, which has its own base URL. */
export const EVENT_OPERATIONS = {
  subscriptions: ['GET', '/event-subscriptions'],
  subscribe: ['POST', '/event-subscriptions'],
  events: ['POST', '/events'],
} as const satisfies AllowedOperations

/** A client credentials token is reused for this long. */
const CLIENT_TOKEN_TTL_MS = 4 * MINUTE_MS
/** The error for a rejected event (RFC 8935, 2.4). */
const INVALID_EVENT_ERROR = { err: 'invalid_request', description: 'the event is invalid' }

/** The dependencies of the poller of one bank. */
interface EventPollerDependencies {
  readonly callEventsApi: ReturnType<typeof createBankApi<typeof EVENT_OPERATIONS>>
  readonly tools: Pick<ConnectorTools, 'clock' | 'eventsUrl' | 'report'>
  /** The version of the standard in a subscription. */
  readonly version: '3.1' | '4.0'
  /** Gets a new token of the gateway itself. */
  getToken(): Promise<string>
  readonly tokenHeaders: (token: string) => Readonly<Record<string, string>>
  /** The same for a request with a body. */
  readonly bodyHeaders: (token: string) => Readonly<Record<string, string>>
  /** Signs the body of a subscription; absent if the bank requires no signature. */
  readonly sign: ((body: string) => Promise<string>) | undefined
}

/**
 * Event notifications, "aggregated polling": each poll acknowledges the events of the previous one. The first poll
 * subscribes to the events unless a subscription exists.
 */
export function createEventPoller(dependencies: EventPollerDependencies): PollEvents {
  const { callEventsApi, tools, version: Version, getToken, tokenHeaders, bodyHeaders, sign } = dependencies
  const callbackUrl = `${tools.eventsUrl}/event-notifications`
  let isSubscribed = false
  let cachedToken: { readonly token: string; readonly expiresAt: Date } | undefined

  async function getClientToken(): Promise<string> {
    const now = tools.clock.now()
    if (!cachedToken || cachedToken.expiresAt <= now)
      cachedToken = { token: await getToken(), expiresAt: addMs(now, CLIENT_TOKEN_TTL_MS) }
    return cachedToken.token
  }

  async function subscribe(token: string): Promise<void> {
    const response = await callEventsApi('subscriptions', { headers: tokenHeaders(token) })
    const { EventSubscription } = parseResponse(subscriptionsResponse, response, tools.report).Data
    if (!EventSubscription.some((subscription) => subscription?.CallbackUrl === callbackUrl)) {
      const body = { Data: { CallbackUrl: callbackUrl, Version, EventTypes: [CONSENT_REVOKED, SECURITY_ALERT] } }
      const headers = {
        ...bodyHeaders(token),
        ...(sign && { 'x-jws-signature': await sign(JSON.stringify(body)) }),
      }
      await callEventsApi('subscribe', { headers, body })
    }
    isSubscribed = true
  }

  async function pollSets({ acknowledged, rejected }: EventAcknowledgements): Promise<Record<string, unknown>> {
    const token = await getClientToken()
    if (!isSubscribed) await subscribe(token)
    const setErrs = Object.fromEntries(rejected.map((id) => [id, INVALID_EVENT_ERROR]))
    const body = { maxEvents: MAX_EVENTS, returnImmediately: true, ack: acknowledged, setErrs }
    const response = await callEventsApi('events', { headers: bodyHeaders(token), body })
    return parseResponse(eventsResponse, response, tools.report).sets
  }

  return async (acknowledgements) => {
    const sets = await pollSets(acknowledgements).catch((error: unknown) => {
      // The bank may have revoked the token early.
      cachedToken = undefined
      throw error
    })
    const { eventsUrl } = tools
    // What is left is still in the queue of the bank.
    const events = Object.entries(sets)
      .filter(([id]) => id !== '' && id.length <= MAX_EVENT_ID_LENGTH)
      .slice(0, MAX_EVENTS)
    return events.map(([id, token]) => ({
      id,
      event: { contentType: 'application/jwt', headers: {}, body: textOf(token), url: eventsUrl, audience: eventsUrl },
    }))
  }
}

/** The token of an event; empty, which is rejected like a forged one, if it is no text or too long. */
const textOf = (token: unknown): string => (typeof token === 'string' && token.length <= MAX_EVENT_LENGTH ? token : '')
