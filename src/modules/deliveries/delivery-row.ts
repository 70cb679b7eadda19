import type { Delivery, DeliveryStatus, EventType, Priority } from './model.ts'

/** A row of `delivery` as SQL returns it. */
export interface DeliveryRow {
  id: string
  event_type: EventType
  alert_id: string | null
  webhook_endpoint_id: string
  consent_id: string | null
  attempt_count: number
  created_at: Date
  next_attempt_at: Date
  priority: Priority
}

/** Maps a row to a delivery with this status. */
export const toDelivery = (row: DeliveryRow, status: DeliveryStatus): Delivery => ({
  id: row.id,
  eventType: row.event_type,
  alertId: row.alert_id,
  webhookEndpointId: row.webhook_endpoint_id,
  consentId: row.consent_id,
  status,
  attemptCount: row.attempt_count,
  createdAt: row.created_at,
  nextAttemptAt: row.next_attempt_at,
})
