import { EVENT_TYPES, type CustomerEventType, type EventType, type WebhookFormat } from './model.ts'
import type { EventSigner } from './security-event.ts'

/** What a message says, with the client's own IDs. docs/WEBHOOKS.md describes it. */
export interface WebhookMessage {
  readonly type: EventType
  /** When the message was created. */
  readonly timestamp: Date
  /** The place of the message among those about this customer, from 1. Absent for a message about no customer. */
  readonly sequence?: number
  readonly data: Readonly<Record<string, unknown>>
}

/** The data of an example for each type of message, by which a client can test how it reads them. All of it is made up. */
export const EXAMPLES: Readonly<Record<CustomerEventType, WebhookMessage['data']>> = {
  [EVENT_TYPES.alert]: {
    id: 'alert_example',
    customerId: 'example',
    accountId: 'account_example',
    bankId: 'example-bank',
    type: 'UNUSUAL_ACTIVITY_REVIEW',
    severity: 'WARNING',
    requestedAction: 'REVIEW_WITH_BANK',
    occurredAt: '2026-11-27T10:00:00.000Z',
    responseOptions: ['CALL_ME', 'IT_WAS_NOT_ME'],
    respondBy: '2026-11-28T10:00:00.000Z',
  },
  [EVENT_TYPES.consentExpiring]: {
    id: 'cons_example',
    customerId: 'example',
    bankId: 'example-bank',
    expiresAt: '2026-12-04T10:00:00.000Z',
    daysLeft: 7,
  },
}

/** The message of a test, which has an example and can never be taken for a real message of its type. */
export const testMessage = (
  webhookEndpointId: string,
  eventType: CustomerEventType,
  timestamp: Date,
): WebhookMessage => ({
  type: EVENT_TYPES.test,
  timestamp,
  data: { webhookEndpointId, eventType, example: EXAMPLES[eventType] },
})

/** To whom a message is sent. */
export interface MessageAddress {
  readonly deliveryId: string
  readonly clientId: string
  readonly format: WebhookFormat
}

/** The body of a message, which is the same in every attempt. */
export const buildBody = (
  { type, timestamp, sequence, data }: WebhookMessage,
  { deliveryId, clientId, format }: MessageAddress,
  signer: EventSigner,
): string =>
  format === 'STANDARD_WEBHOOKS'
    ? JSON.stringify({ type, timestamp: timestamp.toISOString(), sequence, data })
    : signer.sign({
        id: deliveryId,
        audience: clientId,
        subject: typeof data['customerId'] === 'string' ? data['customerId'] : undefined,
        type,
        at: timestamp,
        payload: { sequence, data },
      })
