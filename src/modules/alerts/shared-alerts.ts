import { SECOND_MS } from '../../kernel/clock.ts'
import { invalidInputError } from '../../kernel/input-faults.ts'
import { createLoadingCache } from '../../kernel/loading-cache.ts'
import { chain, type MaybePromise } from '../../kernel/maybe-promise.ts'
import type { CustomerCaller, RequestContext } from '../../kernel/request-context.ts'
import { parseTimeRange, timeRangeFaults, type TimeRange } from '../../kernel/time-range.ts'
import type { World } from '../../kernel/world.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Signals } from '../../storage/signals.ts'
import {
  publicAccountIdOf,
  sharedKeyOf,
  sharedTagsOf,
  type AccountAccess,
  type Consents,
  type SharedAccess,
} from '../consents/index.ts'
import type { Ledger } from '../ledger/index.ts'
import type { Alert, AlertFilter, AlertView } from './model.ts'
import type { AlertStore } from './store.ts'

/** The dependencies of shared alerts. */
export interface SharedAlertsDependencies {
  readonly world: Pick<World, 'clock'>
  readonly seal: Seal
  readonly consents: Consents
  readonly ledger: Ledger
  readonly signals: Signals
}

/** The newest alerts of a customer that a client can page through. */
const MAX_ALERTS = 1_000
const CACHE_OPTIONS = { maxBytes: 16_777_216, ttlMs: 30 * SECOND_MS }
/** Measured: an alert with its IDs for one client, and the response texts that are cached with it. */
const BYTES_PER_ALERT = 1_024
/** The largest time of a `Date`. */
const MAX_DATE_MS = 8.64e15

/** An account in a list, with the grants that cover it. */
interface SharedRow {
  readonly account: SharedAccess['accounts'][number]
  readonly grants: SharedAccess['grants']
}

/** The alerts that one client sees of one customer. */
interface CachedAlerts {
  readonly alerts: readonly AlertView[]
  /** When the first of their consents expires. */
  readonly expiresAt: Date
}

/** Opens alerts to clients by the customer's consents, and records each read in the ledger. */
export function createSharedAlerts(
  { world, seal, consents, ledger, signals }: SharedAlertsDependencies,
  store: AlertStore,
) {
  const cache = createLoadingCache<CachedAlerts>({
    clock: world.clock,
    ...CACHE_OPTIONS,
    bytesOf: ({ alerts }) => 256 + alerts.length * BYTES_PER_ALERT,
    tagsOf: (_alerts, key) => sharedTagsOf(key),
    coherence: signals.coherence,
  })
  signals.onSignal((signal) => {
    if (signal.kind === 'CLIENT') cache.invalidateTag(`client/${signal.id}`)
    if (signal.kind === 'CONSENT' && signal.customerId !== null) cache.invalidateTag(`customer/${signal.customerId}`)
    if (signal.kind === 'ALERTS_CHANGED')
      for (const customerId of signal.customerIds) cache.invalidateTag(`customer/${customerId}`)
  })

  const viewUnder = (alert: Alert, { grant }: AccountAccess): AlertView => ({
    publicId: `alert_${seal.digest('public', 'alert', grant.clientId, alert.id)}`,
    publicAccountId: alert.accountId && publicAccountIdOf(seal, grant.clientId, alert.accountId),
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
        return access ? [viewUnder(alert, access)] : []
      }),
      expiresAt: new Date(Math.min(...expiryTimes, MAX_DATE_MS)),
    }
  }

  function listNewest(caller: CustomerCaller, filter?: AlertFilter | null): MaybePromise<readonly AlertView[]> {
    const occurred = parseTimeRange(filter?.occurred)
    const faults = timeRangeFaults(occurred, ['filter', 'occurred'])
    if (faults.length > 0) throw invalidInputError(faults)
    const selectActive = (cached: CachedAlerts, { suspended }: SharedAccess): readonly AlertView[] => {
      const { expiresAt } = cached
      // They can have been loaded a moment before the bank stopped serving the client.
      const alerts = cached.alerts.some(({ bankId }) => suspended.some((consent) => consent.bankId === bankId))
        ? cached.alerts.filter(({ bankId }) => !suspended.some((consent) => consent.bankId === bankId))
        : cached.alerts
      const now = world.clock.now()
      // The signal of an expired consent can be late by a minute.
      const active =
        expiresAt > now
          ? alerts
          : alerts.filter(({ alert, grant }) => grant.open('alerts:read', alert.accountId!, now) !== undefined)
      return filter ? active.filter((view) => matchesFilter(filter, occurred, view)) : active
    }
    return chain(consents.findShared(caller), (shared) => {
      const key = `${sharedKeyOf(caller)}/${shared.suspended.map(({ consentId }) => consentId).join()}`
      return chain(
        cache.get(key, () => loadAlerts(caller), sharedTagsOf(key)),
        (cached) => selectActive(cached, shared),
      )
    })
  }

  async function recordSharedRead(caller: CustomerCaller, context: RequestContext): Promise<void> {
    const { grants } = await consents.findShared(caller)
    const now = world.clock.now()
    for (const grant of grants)
      for (const access of grant.openAll('alerts:read', now)) ledger.addRead(context, { action: 'READ_ALERTS', access })
  }

  return {
    /** The alert as the client of this access sees it. */
    viewUnder,

    /**
     * The newest 1,000 alerts of the accounts that the caller's customer shares, newest first. Alerts from before the consent
     * are not included. Throws `INVALID_INPUT` for a time range that does not end after it begins. Does not record the read.
     */
    listNewest,

    /** The shared alert with this public ID, or null. Records a read of all shared alerts. */
    async findShared(caller: CustomerCaller, context: RequestContext, publicId: string): Promise<AlertView | null> {
      await recordSharedRead(caller, context)
      return (await listNewest(caller)).find((view) => view.publicId === publicId) ?? null
    },

    /** Records that the alerts of one account are read, for each of its grants that opens them. */
    recordAccountRead(context: RequestContext, { account, grants }: SharedRow): void {
      const now = world.clock.now()
      for (const grant of grants) {
        const access = grant.open('alerts:read', account.id, now)
        if (access) ledger.addRead(context, { action: 'READ_ALERTS', access })
      }
    },

    /** Records that all alerts that the caller's customer shares are read. */
    recordSharedRead,

    /** The alert as a subscriber sees it, or `undefined` if it is not shared with the subscriber. Records the read. */
    async viewFor(caller: CustomerCaller, context: RequestContext, alert: Alert): Promise<AlertView | undefined> {
      const { accountId } = alert
      if (accountId === null) return undefined
      const { grants } = await consents.findShared(caller)
      const now = world.clock.now()
      const [access] = grants.flatMap((grant) => grant.open('alerts:read', accountId, now) ?? [])
      // A subscription ends with the consent of its token, even if other consents cover the account.
      if (!access || !grants.some(({ consentId }) => consentId === caller.consentId)) return undefined
      ledger.addRead(context, { action: 'READ_ALERTS', access, subjectId: alert.id })
      return viewUnder(alert, access)
    },
  }
}

const matchesFilter = (
  { types, severities, accountIds }: AlertFilter,
  { since, until }: TimeRange,
  { alert, publicAccountId }: AlertView,
): boolean =>
  (types?.includes(alert.type) ?? true) &&
  (severities?.includes(alert.severity) ?? true) &&
  (!accountIds || (publicAccountId !== null && accountIds.includes(publicAccountId))) &&
  (!since || alert.occurredAt >= since) &&
  (!until || alert.occurredAt < until)
