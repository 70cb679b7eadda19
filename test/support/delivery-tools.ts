import type { EndpointOptions } from '../../src/modules/deliveries/webhook-endpoints.ts'
import { eventually, type TestGateway } from './gateway.ts'

/** A delivery as a test compares it. */
export interface ShownDelivery {
  readonly status: string
  readonly attempts: readonly {
    readonly number: number
    readonly httpStatus: number | null
    readonly outcome: string
  }[]
}

/** Plans and attempts deliveries of `chatterbox` step by step, in a gateway without a worker. */
export interface DeliveryTools {
  /** Sends an alert of Northbank to the client and plans it. Returns the IDs of its deliveries, by the age of their endpoints. */
  newDeliveries(alert?: { readonly type?: string; readonly account?: string }): Promise<string[]>
  /** Makes every pending delivery due now. */
  makeDue(): Promise<void>
  /** Attempts what is due, like a worker, and waits for the outcomes. */
  attemptDue(): Promise<void>
  show(id: string): Promise<ShownDelivery>
  nextAttemptOf(id: string): Promise<Date>
  /** Ends every pending delivery. */
  clear(): Promise<void>
}

/** Registers an endpoint of `chatterbox` and disables all others. Returns its ID. */
export async function registerOnlyEndpoint(
  { app, database }: TestGateway,
  url: string,
  options?: EndpointOptions,
): Promise<string> {
  await database.query("update webhook_endpoint set status = 'DISABLED'")
  const { webhookEndpoint } = await app.services.deliveries.registerEndpoint('chatterbox', url, options)
  return webhookEndpoint.id
}

/** Removes every alert and its deliveries, of which none is attempted any more. A truncation could wait for a job that waits for it. */
export async function removeAlerts({ app, database }: TestGateway): Promise<void> {
  await eventually('the plans of all alerts', async () => {
    const open = await database.query(
      "select 1 from outbox_message where topic in ('alert.urgent', 'alert.received') and processed_at is null",
    )
    return open.length === 0
  })
  await database.query("update delivery set status = 'DROPPED', ended_at = now() where status = 'PENDING'")
  await app.services.deliveries.waitUntilIdle()
  for (const table of ['delivery_attempt', 'delivery', 'alert']) await database.query(`delete from ${table}`)
}

/** Creates the tools. `gateway` needs `GUICHET_ROLE=gateway` and a customer `bo` of `northbank`. */
export function createDeliveryTools(gateway: TestGateway): DeliveryTools {
  const { deliveries } = gateway.app.services
  return {
    async newDeliveries({ type = 'CARD_SECURITY', account = 'nb-10003' } = {}) {
      await gateway.alert('northbank', { account, type })
      const [alert] = await gateway.database.query<{ id: string }>(
        'select id from alert order by created_at desc, id desc limit 1',
      )
      await gateway.database.query(
        "update outbox_message set next_attempt_at = '2000-01-01' where topic in ('alert.urgent', 'alert.received')",
      )
      await deliveries.planDue()
      const rows = await gateway.database.query<{ id: string }>(
        `select delivery.id from delivery join webhook_endpoint endpoint on endpoint.id = webhook_endpoint_id
         where alert_id = $1 order by endpoint.created_at, endpoint.id`,
        [alert!.id],
      )
      if (rows.length === 0) throw new Error('no delivery was planned')
      return rows.map(({ id }) => id)
    },
    async makeDue() {
      await gateway.database.query(
        "update delivery set next_attempt_at = '2000-01-01', claimed_until = null where status = 'PENDING'",
      )
    },
    async attemptDue() {
      await deliveries.startDue(() => undefined)
      await deliveries.waitUntilIdle()
    },
    async show(id) {
      const delivery = (await deliveries.findDelivery('chatterbox', id))!
      const attempts = await deliveries.findAttempts([id])
      return {
        status: delivery.status,
        attempts: attempts.map(({ number, httpStatus, outcome }) => ({ number, httpStatus, outcome })),
      }
    },
    nextAttemptOf: async (id) => (await deliveries.findDelivery('chatterbox', id))!.nextAttemptAt,
    async clear() {
      await gateway.database.query("update delivery set status = 'DROPPED', ended_at = now() where status = 'PENDING'")
    },
  }
}
