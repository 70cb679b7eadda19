import type { AlertView } from '../alerts/index.ts'

/** The type of every message, in its body and in `Delivery.eventType`. */
export const ALERT_EVENT_TYPE = 'alert.received'

/** The body of a webhook, with the client's own IDs. docs/PLATFORMS.md describes it. */
export interface WebhookMessage {
  readonly type: typeof ALERT_EVENT_TYPE
  readonly data: Readonly<Record<string, string | null>>
}

/** Builds the body for an alert; `customerId` is the client's ID for the customer. */
export const buildMessage = (
  { publicId, publicAccountId, bankId, alert, occurredAt }: AlertView,
  customerId: string,
): WebhookMessage => ({
  type: ALERT_EVENT_TYPE,
  data: {
    id: publicId,
    customerId,
    accountId: publicAccountId,
    bankId,
    type: alert.type,
    severity: alert.severity,
    requestedAction: alert.requestedAction,
    occurredAt,
  },
})
