import { createBrowser, type Browser } from '../../src/entrypoints/cli/browser.ts'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { DAY_MS, MINUTE_MS } from '../../src/kernel/clock.ts'
import type { App } from '../../src/app.ts'
import type { TestGateway } from './gateway.ts'

/** The message of a reminder, as a receiver parses it. */
export interface ReminderMessage {
  readonly type: string
  readonly timestamp: string
  readonly sequence: number
  readonly data: {
    readonly id: string
    readonly customerId: string
    readonly bankId: string
    readonly expiresAt: string
    readonly daysLeft: number
  }
}

/** A consent with the token that came of its opt-in. */
export interface NewConsent {
  readonly id: string
  readonly token: Token
  readonly expiresAt: Date
}

/** A browser whose customer chooses to share for so many days. */
export function browserOfDays(days: number): Browser {
  const own = createBrowser()
  return {
    ...own,
    submit: (page, fields, ...rest) =>
      own.submit(
        page,
        fields.map(([name, value]) => [name, name === 'days' ? String(days) : value]),
        ...rest,
      ),
  }
}

/** Creates consents and reminds of their end step by step, in a gateway without a worker. */
export function createReminderTools(gateway: TestGateway) {
  const { database } = gateway
  return {
    /** A customer shares with a client from now on, for so many days. In one browser, it is the same customer. */
    async newConsent({
      days = 90,
      clientId = 'chatterbox',
      name = 'bo',
      browser = browserOfDays(days),
    } = {}): Promise<NewConsent> {
      const token = await gateway.customer(name, ['northbank'], { clientId, browser })
      const [consent] = await database.query<{ id: string; expiresAt: Date }>(
        `select id, expires_at as "expiresAt" from consent where client_id = $1 and status = 'ACTIVE'
         order by activated_at desc, id limit 1`,
        [clientId],
      )
      return { ...consent!, token }
    },

    /** Moves the clock to so many days before the end of a consent, and a minute more. Never back. */
    forwardTo({ expiresAt }: Pick<NewConsent, 'expiresAt'>, daysBefore: number): void {
      gateway.forward(Math.max(0, expiresAt.getTime() - daysBefore * DAY_MS - Date.now() + MINUTE_MS))
    },

    /** Enqueues the reminders that are due and plans their webhooks, like a worker. */
    async plan({ services }: Pick<App, 'services'> = gateway.app): Promise<void> {
      await services.consents.jobs.enqueueReminders()
      while (await services.deliveries.planDue());
    },

    /** The reminders of a consent, oldest first. */
    remindersOf: (consentId: string) =>
      database.query<{ id: string; status: string; body: string }>(
        `select id, status, body from delivery where event_type = 'consent.expiring' and consent_id = $1
         order by created_at, id`,
        [consentId],
      ),

    /** The days that each reminder of a consent states, oldest first. */
    async daysLeftOf(consentId: string): Promise<number[]> {
      const reminders = await this.remindersOf(consentId)
      return reminders.map(({ body }) => (JSON.parse(body) as ReminderMessage).data.daysLeft)
    },

    /** Deletes all deliveries, and ends all consents without any consequence. */
    async clear(): Promise<void> {
      await database.query('delete from delivery_attempt')
      await database.query('delete from delivery')
      await database.query("delete from outbox_message where topic = 'consent.expiring'")
      await database.query("update consent set status = 'REVOKED', ended_at = now() where status = 'ACTIVE'")
    },
  }
}
