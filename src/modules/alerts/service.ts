import type { ReceivedEvent } from '../../connectors/index.ts'
import { chain, type MaybePromise } from '../../kernel/maybe-promise.ts'
import { subtractMs, DAY_MS, SECOND_MS } from '../../kernel/clock.ts'
import { digest, newId } from '../../kernel/ids.ts'
import { throwInvalidInput } from '../../kernel/input-faults.ts'
import { createLoadingCache } from '../../kernel/loading-cache.ts'
import type { CustomerCaller, RequestContext } from '../../kernel/request-context.ts'
import type { EventCounter } from '../../kernel/event-counter.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Signals } from '../../storage/signals.ts'
import type { Banks } from '../banks/index.ts'
import type { AccountAccess, Consents, SharedAccess } from '../consents/index.ts'
import type { Ledger } from '../ledger/index.ts'
import type { Outbox } from '../outbox/index.ts'
import type { Alert, AlertFilter, AlertView } from './model.ts'
import { createPolling } from './polling.ts'
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
  signals: Signals
  /** Events that were not acceptable, whoever brought them. */
  rejectedEvents: EventCounter
}

/** So many can be paged through; older ones are told no more. */
const MAX_ALERTS = 1_000
const CACHE_OPTIONS = { maxBytes: 16_777_216, ttlMs: 30 * SECOND_MS }
/** An alert with its names for one client, and the texts that are made of it, measured. */
const BYTES_PER_ALERT = 1_024
/** A day longer than the oldest event that is still taken. */
const EVENT_RETENTION_MS = 8 * DAY_MS

/** An account of a list, with the grants that cover it. */
interface SharedRow {
  readonly account: SharedAccess['accounts'][number]
  readonly grants: SharedAccess['grants']
}

/** What a customer shares of alerts, and when the first of the consents ends that open it. */
interface CachedAlerts {
  readonly alerts: readonly AlertView[]
  readonly expiresAt: Date
}

/** Takes banks' events and opens alerts by grant. */
export function createAlerts({
  database,
  world,
  seal,
  banks,
  consents,
  ledger,
  outbox,
  signals,
  rejectedEvents,
}: AlertsDependencies) {
  const store = alertStore(database)
  const alertCache = createLoadingCache<CachedAlerts>({
    clock: world.clock,
    ...CACHE_OPTIONS,
    bytesOf: ({ alerts: rows }) => 256 + rows.length * BYTES_PER_ALERT,
    tagsOf: (_alerts, key) => cacheTagsOf(key),
    coherence: signals.coherence,
  })
  signals.onSignal((signal) => {
    if (signal.kind === 'CLIENT') alertCache.invalidateTag(`client/${signal.id}`)
    if (signal.kind === 'CONSENT' && signal.customerId !== null)
      alertCache.invalidateTag(`customer/${signal.customerId}`)
    if (signal.kind === 'ALERTS_CHANGED')
      for (const customerId of signal.customerIds) alertCache.invalidateTag(`customer/${customerId}`)
  })

  const toView = (alert: Alert, { grant }: AccountAccess): AlertView => ({
    publicId: `alert_${seal.digest('public', 'alert', grant.clientId, alert.id)}`,
    publicAccountId: alert.accountId && `account_${seal.digest('public', 'account', grant.clientId, alert.accountId)}`,
    bankId: grant.bankId,
    alert,
    occurredAt: alert.occurredAt.toISOString(),
    grant,
  })

  async function loadAlerts(caller: CustomerCaller): Promise<CachedAlerts> {
    const accessByAccount = new Map<string, AccountAccess>()
    const now = world.clock.now()
    for (const grant of (await consents.findShared(caller)).grants)
      for (const access of grant.openAll('alerts:read', now)) {
        const existing = accessByAccount.get(access.accountId)
        if (!existing || grant.grantedAt < existing.grant.grantedAt) accessByAccount.set(access.accountId, access)
      }
    const accesses = [...accessByAccount.values()]
    const rows = await store.findNewest(
      accesses.map(({ accountId, grant }) => ({ accountId, since: grant.grantedAt })),
      MAX_ALERTS,
    )
    const expiryTimes = accesses.map(({ grant }) => grant.expiresAt.getTime())
    return {
      alerts: rows.flatMap((alert) => {
        const access = alert.accountId !== null && accessByAccount.get(alert.accountId)
        return access ? [toView(alert, access)] : []
      }),
      expiresAt: new Date(Math.min(...expiryTimes, 8.64e15)),
    }
  }

  async function receive(connectorId: string, delivered: ReceivedEvent): Promise<void> {
    const { bankId, event } = await banks.readEvent(connectorId, delivered)
    const { payload, issuer, jti } = event
    const now = world.clock.now()
    if (payload.kind === 'CONSENT_CHECK_REQUIRED') {
      // Anybody can say so: of what nobody knows nothing is kept, and a bank is not asked as often as somebody likes.
      const connectionId = await consents.findConnectionByBankConsent(connectorId, payload.consentRef)
      if (connectionId === undefined) return
      // Asking the bank follows from the commit, so that no answer of the bank, and no end of this process, loses it.
      await database.transaction(async (tx) => {
        if (await store.insertEventIfNew(tx, issuer, digest(jti), now))
          await outbox.enqueue(tx, 'connection.check', connectionId, bankId)
      })
      return
    }
    if (payload.kind === 'IGNORED') return
    if (payload.kind === 'CONSENT_REVOKED') {
      // Ending twice is harmless, so the event is remembered only once it has had its effect.
      await consents.revokeByBankConsent(connectorId, payload.consentRef)
    }
    await database.transaction(async (tx) => {
      if (!(await store.insertEventIfNew(tx, issuer, digest(jti), now))) return
      if (payload.kind !== 'ALERT') return
      const candidates = await consents.findAccountIdsByRef(tx, bankId, payload.accountRefs)
      const accesses = await consents.findAccess(candidates, 'alerts:read', tx)
      const sharedAccountIds = new Set(accesses.map(({ accountId }) => accountId))
      const { type, severity, requestedAction, occurredAt } = payload
      const alerts = candidates
        .filter((accountId) => sharedAccountIds.has(accountId))
        .map((accountId): Alert & { accountId: string } => ({
          id: newId('alrt', world.randomness),
          accountId,
          type,
          severity,
          requestedAction,
          occurredAt,
        }))
      await store.add(tx, alerts, now)
      for (const { id, accountId } of alerts) {
        await outbox.enqueue(tx, 'alert.received', id)
        await ledger.record(tx, { action: 'ALERT_RECEIVED', accountIds: [accountId], subjectId: id })
      }
      const customerIds = [...new Set(accesses.map(({ grant }) => grant.customerId))]
      if (customerIds.length > 0) await signals.publish(tx, { kind: 'ALERTS_CHANGED', customerIds })
    })
  }

  const polling = createPolling({ world, banks, rejectedEvents, receive })

  return {
    /** Whether a forged event of this connector is what a certification run asked its bank for. */
    expectsForgedEvent: (connectorId: string): boolean => banks.expectsForgery(connectorId),

    /** Whether events of this connector are accepted at the moment. Asks the database only after something changed. */
    acceptsEvents: (connectorId: string): boolean | Promise<boolean> => banks.acceptsEventsOf(connectorId),

    /**
     * Takes one pushed event: verified by the connector's standard, remembered once, and stored with its promise to
     * tell and its ledger line in one transaction before this returns. A repeated event changes nothing. An alert about
     * an account that nobody shares is not kept. Throws `NOT_FOUND` or `EVENT_REJECTED`.
     */
    receive,

    ...polling,

    /** Forgets the events that are too old to be taken again anyway; returns how many. */
    deleteExpiredEvents: (): Promise<number> =>
      store.deleteEventsBefore(subtractMs(world.clock.now(), EVENT_RETENTION_MS)),

    find: (id: string): Promise<Alert | null> => store.find(id),

    /**
     * Alerts of the accounts that the caller's customer shares, since they share them, newest first; at most 1,000. Throws
     * `INVALID_INPUT` for a range that ends before it begins.
     */
    listNewest(caller: CustomerCaller, filter?: AlertFilter | null): MaybePromise<readonly AlertView[]> {
      const { since, until } = filter?.occurred ?? {}
      if (since && until && new Date(since) > new Date(until))
        throwInvalidInput(['filter', 'occurred'], 'must end after it begins')
      const selectActive = ({ alerts, expiresAt }: CachedAlerts): readonly AlertView[] => {
        const now = world.clock.now()
        // A consent's time can be over without a word of it having been said yet.
        const active =
          expiresAt > now
            ? alerts
            : alerts.filter(({ alert, grant }) => grant.open('alerts:read', alert.accountId!, now) !== undefined)
        return filter ? active.filter((row) => matchesFilter(filter, row)) : active
      }
      const key = `${caller.clientId}/${caller.customerId}`
      return chain(
        alertCache.get(key, () => loadAlerts(caller), cacheTagsOf(key)),
        selectActive,
      )
    },

    /** The alert with this public ID among those that the caller's customer shares. Noted in the ledger as their list is. */
    async findShared(caller: CustomerCaller, context: RequestContext, publicId: string): Promise<AlertView | null> {
      await this.recordSharedRead(caller, context)
      return (await this.listNewest(caller)).find((view) => view.publicId === publicId) ?? null
    },

    /** Records that alerts of one account are read, under each of its grants that has the scope. */
    recordAccountRead(context: RequestContext, { account, grants }: SharedRow): void {
      const now = world.clock.now()
      for (const grant of grants) {
        const access = grant.open('alerts:read', account.id, now)
        if (access) ledger.addRead(context, { action: 'READ_ALERTS', access })
      }
    },

    /** Notes that alerts of all that the caller's customer shares are read. */
    async recordSharedRead(caller: CustomerCaller, context: RequestContext): Promise<void> {
      const { grants } = await consents.findShared(caller)
      const now = world.clock.now()
      for (const grant of grants)
        for (const access of grant.openAll('alerts:read', now))
          ledger.addRead(context, { action: 'READ_ALERTS', access })
    },

    /** An alert with the customer whose account it is about: the only one who can be told of it. */
    findWithCustomer: (alertId: string): Promise<{ alert: Alert; customerId: string } | null> =>
      store.findWithCustomer(alertId),

    /** The alert as the caller's customer shares it, or nothing; for live listeners. Noted in the ledger. */
    async viewFor(caller: CustomerCaller, context: RequestContext, alert: Alert): Promise<AlertView | undefined> {
      const { accountId } = alert
      if (accountId === null) return undefined
      const { grants } = await consents.findShared(caller)
      const now = world.clock.now()
      const [access] = grants.flatMap((grant) => grant.open('alerts:read', accountId, now) ?? [])
      // A stream stands on the consent that its token was issued for, whatever else the customer shares.
      if (!access || !grants.some(({ consentId }) => consentId === caller.consentId)) return undefined
      ledger.addRead(context, { action: 'READ_ALERTS', access, subjectId: alert.id })
      return toView(alert, access)
    },

    /** The alert as the client of this access sees it. */
    viewUnder: (alert: Alert, access: AccountAccess): AlertView => toView(alert, access),
  }
}

/** The tags of the alerts that a client reads of a customer, by `CLIENT/CUSTOMER`. */
function cacheTagsOf(key: string): string[] {
  const [client, customer] = key.split('/')
  return [`client/${client}`, `customer/${customer}`]
}

const matchesFilter = (
  { types, severities, accountIds, occurred }: AlertFilter,
  { alert, publicAccountId }: AlertView,
): boolean =>
  (types?.includes(alert.type) ?? true) &&
  (severities?.includes(alert.severity) ?? true) &&
  (!accountIds || (publicAccountId !== null && accountIds.includes(publicAccountId))) &&
  (occurred?.since ? alert.occurredAt >= new Date(occurred.since) : true) &&
  (occurred?.until ? alert.occurredAt < new Date(occurred.until) : true)
