import { DAY_MS, later } from '../../kernel/clock.ts'
import { digest, newId } from '../../kernel/ids.ts'
import type { CustomerCaller, RequestContext } from '../../kernel/request.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Banks } from '../banks/index.ts'
import type { Consents, Grant } from '../consents/index.ts'
import type { WebhookMessage } from '../deliveries/index.ts'
import type { Ledger } from '../ledger/index.ts'
import type { Outbox } from '../outbox/index.ts'
import type { Alert, OpenedAlert } from './model.ts'
import { alertStore } from './store.ts'

/** What banks tell of their customers' accounts. */
export type Alerts = ReturnType<typeof createAlerts>

/** What alerts stand on. */
export interface AlertsDependencies {
  database: Database
  world: World
  seal: Seal
  banks: Banks
  consents: Consents
  ledger: Ledger
  outbox: Outbox
}

const MAX_PAGE = 50
/** A day longer than the oldest event that is still taken. */
const REMEMBERED_MS = 8 * DAY_MS

/** Takes banks' events and opens alerts by grant. */
export function createAlerts({ database, world, seal, banks, consents, ledger, outbox }: AlertsDependencies) {
  const store = alertStore(database)

  const opened = (alert: Alert, grant: Grant): OpenedAlert => ({
    publicId: `alert_${seal.digest('public', 'alert', grant.clientId, alert.id)}`,
    publicAccountId: `account_${seal.digest('public', 'account', grant.clientId, alert.accountId)}`,
    bankId: grant.bankId,
    alert,
  })

  return {
    /**
     * Takes one pushed event: verified by the connector's standard, remembered once, and stored with its promise to
     * tell and its ledger line in one transaction before this returns. A repeated event changes nothing. An alert about
     * an account that nobody shares is not kept. Throws `NOT_FOUND` or `EVENT_REJECTED`.
     */
    async receive(connectorId: string, token: string, audience: string): Promise<void> {
      const { bankId, event } = await banks.readEvent(connectorId, token, audience)
      const { notice, issuer, jti } = event
      if (notice.kind === 'CONSENT_REVOKED') {
        // Ending twice is harmless, so the event is remembered only once it has had its effect.
        await consents.revokedAtBank(connectorId, notice.consentRef)
      }
      await database.transaction(async (tx) => {
        if (!(await store.remember(tx, issuer, digest(jti)))) return
        if (notice.kind !== 'ALERT') return
        const candidates = await consents.accountIdsByRef(tx, bankId, notice.accountRefs)
        const shared = new Set(
          (await consents.holdersOf(candidates, 'alerts:read', tx)).flatMap(({ accountIds }) => accountIds),
        )
        const { type, severity, ask, occurredAt } = notice
        const alerts = candidates
          .filter((accountId) => shared.has(accountId))
          .map((accountId): Alert => ({
            id: newId('alrt', world.randomness),
            accountId,
            type,
            severity,
            ask,
            occurredAt,
          }))
        await store.add(tx, alerts)
        for (const { id, accountId } of alerts) {
          await outbox.promise(tx, 'alert.received', id)
          await ledger.record(tx, { kind: 'ALERT_RECEIVED', accountId, subjectId: id })
        }
      })
    },

    /** Forgets the events that are too old to be taken again anyway; returns how many. */
    forgetEvents: (): Promise<number> => store.forgetEvents(later(world.clock.now(), -REMEMBERED_MS)),

    find: (id: string): Promise<Alert | null> => store.find(id),

    /** The newest alerts that the caller's customer shares, since the customer began to share them. */
    async newest(caller: CustomerCaller, { requestId }: RequestContext, first: number): Promise<OpenedAlert[]> {
      const grants = (await consents.grantsFor(caller)).filter((grant) => grant.allows('alerts:read'))
      const since = new Map<string, Grant>()
      for (const grant of grants)
        for (const accountId of grant.accountIds) {
          const known = since.get(accountId)
          if (!known || grant.since < known.since) since.set(accountId, grant)
        }
      await ledger.recordReads(
        grants.map(({ clientId, customerId, consentId, purposes }) => ({
          kind: 'READ_ALERTS',
          requestId,
          clientId,
          customerId,
          consentId,
          purposes,
        })),
      )
      const rows = await store.newest(
        [...since].map(([accountId, grant]) => ({ accountId, since: grant.since })),
        Math.min(first, MAX_PAGE),
      )
      return rows.map((alert) => opened(alert, since.get(alert.accountId)!))
    },

    /** The alert as the caller's customer shares it, or nothing; for a live listener. Written in the ledger. */
    async openFor(
      caller: CustomerCaller,
      { requestId }: RequestContext,
      alertId: string,
    ): Promise<OpenedAlert | undefined> {
      const alert = await store.find(alertId)
      const grant =
        alert &&
        (await consents.grantsFor(caller)).find(
          (one) => one.allows('alerts:read') && one.accountIds.includes(alert.accountId),
        )
      if (!grant) return undefined
      const { clientId, customerId, consentId, purposes } = grant
      await ledger.recordReads([
        {
          kind: 'READ_ALERTS',
          requestId,
          clientId,
          customerId,
          consentId,
          accountId: alert.accountId,
          subjectId: alertId,
          purposes,
        },
      ])
      return opened(alert, grant)
    },

    /** What a webhook says of the alert, to whoever holds a grant for its account. */
    async messageOf(
      alertId: string,
    ): Promise<{ accountId: string; tell: (grant: Grant) => WebhookMessage } | undefined> {
      const alert = await store.find(alertId)
      if (!alert) return undefined
      return {
        accountId: alert.accountId,
        tell: (grant) => {
          const { publicId, publicAccountId, bankId } = opened(alert, grant)
          return {
            type: 'alert.received',
            data: {
              id: publicId,
              customer: consents.subjectOf(grant.clientId, grant.customerId),
              account: publicAccountId,
              bank: bankId,
              type: alert.type,
              severity: alert.severity,
              ask: alert.ask,
              occurredAt: alert.occurredAt.toISOString(),
            },
          }
        },
      }
    },
  }
}
