import { z } from 'zod'
import { parseResponse, type createBankApi } from '../bank-api.ts'
import type { BankEvent, EventPayload, EventTools, ReceivedEvent } from '../bank-event.ts'
import type { ConnectorTools, EventAcknowledgements, PolledEvent, PollEvents, Registration } from '../connector.ts'
import type { AllowedOperations } from '../endpoints.ts'
import { STRICT_EVENT_RULES, type EventRules } from '../event-rules.ts'
import {
  contentRejected,
  verifySecurityEvents,
  type SecurityEvent,
  type SecurityEventToken,
} from '../security-events.ts'
import { pollRequest, pollResponse, toPolledEvents } from '../event-polling.ts'
import { createReusedToken } from '../events-api.ts'
import type { EventContext } from '../event-subjects.ts'
import { readSharedEvent, SHARED_EVENT_TYPES, toBankEvent } from '../shared-signals.ts'
import { opaqueId } from '../wire-members.ts'
import { subscriptionsResponse } from './wire.ts'

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
  const token = await verifySecurityEvents(received, registration, tools, EVENT_RULES)
  const context = { registration, clock: tools.clock }
  return toBankEvent(token, (event) => toPayload(event, token, context))
}

function toPayload(event: SecurityEvent, token: SecurityEventToken, context: EventContext): EventPayload {
  if (event.type !== CONSENT_REVOKED) return readSharedEvent(event, token, context)
  const { [RESOURCE_ID]: consentRef, [RESOURCE_TYPE]: resourceType } = revokedResource(event.event, token.events)
  // Consents of other APIs have ids of their own.
  const isOther = resourceType !== undefined && !ACCOUNT_CONSENT.test(resourceType)
  return isOther ? { kind: 'IGNORED', reason: 'NOT_CONCERNED' } : { kind: 'CONSENT_REVOKED', consentRef }
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
  if (!isEmpty || !other || further.length > 0) throw contentRejected('revoked consent')
  return other
}

/** Every operation that Guichet calls at the events API, which has its own base URL. */
export const EVENT_OPERATIONS = {
  subscriptions: ['GET', '/event-subscriptions'],
  subscribe: ['POST', '/event-subscriptions'],
  events: ['POST', '/events'],
} as const satisfies AllowedOperations

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
  const clientToken = createReusedToken(getToken, tools.clock)
  let isSubscribed = false

  async function subscribe(token: string): Promise<void> {
    const response = await callEventsApi('subscriptions', { headers: tokenHeaders(token) })
    const { EventSubscription } = parseResponse(subscriptionsResponse, response, tools.report).Data
    if (!EventSubscription.some((subscription) => subscription?.CallbackUrl === callbackUrl)) {
      const body = {
        Data: {
          CallbackUrl: callbackUrl,
          Version,
          EventTypes: [CONSENT_REVOKED, ...SHARED_EVENT_TYPES],
        },
      }
      const headers = {
        ...bodyHeaders(token),
        ...(sign && { 'x-jws-signature': await sign(JSON.stringify(body)) }),
      }
      await callEventsApi('subscribe', { headers, body })
    }
    isSubscribed = true
  }

  async function poll(acknowledgements: EventAcknowledgements): Promise<readonly PolledEvent[]> {
    const token = await clientToken.get()
    if (!isSubscribed) await subscribe(token)
    const response = await callEventsApi('events', {
      headers: bodyHeaders(token),
      body: pollRequest(acknowledgements),
    })
    return toPolledEvents(parseResponse(pollResponse, response, tools.report), tools)
  }

  return (acknowledgements) =>
    poll(acknowledgements).catch((error: unknown) => {
      // The bank may have revoked the token early.
      clientToken.drop()
      throw error
    })
}
