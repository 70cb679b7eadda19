import type { AlertAnswer } from '../../kernel/alert-vocabulary.ts'
import { SECOND_MS, subtractMs } from '../../kernel/clock.ts'
import { invalidInputError } from '../../kernel/input-faults.ts'
import { createLoadingCache } from '../../kernel/loading-cache.ts'
import { chain, type MaybePromise } from '../../kernel/maybe-promise.ts'
import type { CustomerCaller, RequestContext } from '../../kernel/request-context.ts'
import { RETENTION } from '../../kernel/retention.ts'
import { parseTimeRange, timeRangeFaults, type TimeRange } from '../../kernel/time-range.ts'
import type { World } from '../../kernel/world.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Signals } from '../../storage/signals.ts'
import {
  publicAccountIdOf,
  sharesBands,
  sharedKeyOf,
  sharedTagsOf,
  type AccountAccess,
  type Consents,
  type Grant,
  type SharedAccess,
} from '../consents/index.ts'
import type { Ledger } from '../ledger/index.ts'
import type { Alert, AlertFilter, AlertView } from './model.ts'
import type { ReadStateStore } from './read-state-store.ts'
import type { CustomerResponse } from './responses/model.ts'
import { unavailabilityOf } from './responses/question.ts'
import type { ResponseStore } from './responses/store.ts'
import type { AlertStore } from './store.ts'

/** What a client and the customer have done with an alert so far, and whether they can respond. */
export interface AlertState {
  readonly readAt?: Date | null | undefined
  readonly responses?: readonly CustomerResponse[] | undefined
  readonly canRespond?: boolean | undefined
}

/** Opens alerts to clients. */
export type SharedAlerts = ReturnType<typeof createSharedAlerts>

/** The dependencies of shared alerts. */
export interface SharedAlertsDependencies {
  readonly world: Pick<World, 'clock'>
  readonly seal: Seal
  readonly consents: Consents
  readonly ledger: Ledger
  readonly signals: Signals
}

/** The newest alerts of a customer from one bank that a client can page through. */
const MAX_ALERTS_PER_BANK = 1_000
const CACHE_OPTIONS = { maxBytes: 16_777_216, ttlMs: 30 * SECOND_MS }
/** Measured: an alert with its IDs for one client, and the response texts that are cached with it. */
const BYTES_PER_ALERT = 1_024
/** How long alerts are listed. */
const LISTED_MS = RETENTION.alert.afterMs
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
  readStates: Pick<ReadStateStore, 'find'>,
  responses: ResponseStore,
) {
  const cache = createLoadingCache<CachedAlerts>({
    clock: world.clock,
    ...CACHE_OPTIONS,
    bytesOf: ({ alerts }) => 256 + alerts.length * BYTES_PER_ALERT,
    tagsOf: (_alerts, key) => tagsOf(key),
    coherence: signals.coherence,
  })
  signals.onSignal((signal) => {
    if (signal.kind === 'CLIENT') cache.invalidateTag(`client/${signal.id}`)
    if (signal.kind === 'CONSENT' && signal.customerId !== null) cache.invalidateTag(`customer/${signal.customerId}`)
    // Not those of other clients: the time that their next list takes would tell that the customer reads.
    if (signal.kind === 'ALERTS_READ') cache.invalidateTag(`read/${sharedKeyOf(signal)}`)
    if (signal.kind === 'ALERTS_CHANGED')
      for (const customerId of signal.customerIds) cache.invalidateTag(`customer/${customerId}`)
    if (signal.kind === 'ALERTS_SHOWN')
      for (const { customerId } of signal.alerts) cache.invalidateTag(`customer/${customerId}`)
  })

  const viewUnder = (
    alert: Alert,
    grant: Grant,
    { readAt = null, responses: given = [], canRespond = false }: AlertState = {},
  ): AlertView => ({
    publicId: `alert_${seal.digest('public', 'alert', grant.clientId, alert.id)}`,
    publicAccountId: alert.accountId && publicAccountIdOf(seal, grant.clientId, alert.accountId),
    bankId: grant.bankId,
    alert,
    occurredAt: alert.occurredAt.toISOString(),
    readAt,
    grant,
    responses: given,
    canRespond,
  })

  async function loadAlerts(caller: CustomerCaller): Promise<CachedAlerts> {
    const now = world.clock.now()
    const { grants } = await consents.findShared(caller)
    const accesses = oldestAccesses(grants, now)
    const oldest = subtractMs(now, LISTED_MS)
    const rows = await store.findNewest(
      caller,
      accesses.map(({ accountId, grant: { bankId, grantedAt } }) => ({
        accountId,
        bankId,
        since: grantedAt > oldest ? grantedAt : oldest,
      })),
      now,
      MAX_ALERTS_PER_BANK,
    )
    const readTimes = await readStates.find(
      caller.clientId,
      rows.map(({ id }) => id),
    )
    const answerable = rows.filter(({ question }) => question !== null).map(({ id }) => id)
    const responsesByAlert = Map.groupBy(await responses.responsesTo(answerable), ({ alertId }) => alertId)
    const expiryTimes = accesses.map(({ grant }) => grant.expiresAt.getTime())
    return {
      alerts: rows.flatMap((alert) => {
        const access =
          alert.clientId === null
            ? accesses.find((one) => opens(one, alert))
            : grants.flatMap((grant) => grant.openAll('alerts:read', now)).find((one) => opens(one, alert))
        if (!access) return []
        const canRespond =
          alert.question !== null &&
          grants.some((grant) => grant.openAll('alerts:respond', now).some((one) => opens(one, alert)))
        const state = { readAt: readTimes.get(alert.id), responses: responsesByAlert.get(alert.id), canRespond }
        return [viewUnder(alert, access.grant, state)]
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
        expiresAt > now ? alerts : alerts.filter(({ grant }) => grant.openAll('alerts:read', now).length > 0)
      return filter ? active.filter((view) => matchesFilter(filter, occurred, view)) : active
    }
    return chain(consents.findShared(caller), (shared) => {
      const key = `${sharedKeyOf(caller)}/${shared.suspended.map(({ consentId }) => consentId).join()}`
      return chain(
        cache.get(key, () => loadAlerts(caller), tagsOf(key)),
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
    /** The alert as the client of this grant sees it; neither read nor answered, unless the state says so. */
    viewUnder,

    /** The answers that the customer can give now through the client of the view. */
    availableResponses({ alert: { question }, canRespond, responses: given }: AlertView): readonly AlertAnswer[] {
      if (!question || !canRespond) return []
      const earlier = given.map(({ answer }) => answer)
      const now = world.clock.now()
      return question.options.filter((option) => unavailabilityOf(question, option, earlier, now) === undefined)
    },

    /**
     * The alerts of the last 90 days of the accounts that the caller's customer shares, newest first: of each bank the newest 1,000.
     * Alerts from before the consent are not included. Throws `INVALID_INPUT` for a time range that does not end after it begins. Does not
     * record the read.
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
      const { grants } = await consents.findShared(caller)
      const now = world.clock.now()
      const [access] = grants
        .filter(({ bankId }) => bankId === alert.bankId)
        .flatMap((grant) => grant.openAll('alerts:read', now))
        .filter((one) => opens(one, alert))
      // A subscription ends with the consent of its token, even if other consents cover the account.
      if (!access || !grants.some(({ consentId }) => consentId === caller.consentId)) return undefined
      ledger.addRead(context, { action: 'READ_ALERTS', access, subjectId: alert.id })
      return viewUnder(alert, access.grant)
    },
  }
}

/** For each account, the access by the oldest grant. */
function oldestAccesses(grants: readonly Grant[], now: Date): readonly AccountAccess[] {
  const byAccount = new Map<string, AccountAccess>()
  for (const grant of grants)
    for (const access of grant.openAll('alerts:read', now)) {
      const existing = byAccount.get(access.accountId)
      if (!existing || grant.grantedAt < existing.grant.grantedAt) byAccount.set(access.accountId, access)
    }
  return [...byAccount.values()]
}

/** Whether an access opens an alert. One about a line needs the client of the line, and a grant that shares the balance, too. */
const opens = ({ accountId, grant }: AccountAccess, alert: Alert): boolean =>
  grant.bankId === alert.bankId &&
  grant.grantedAt <= alert.createdAt &&
  (alert.accountId === null || accountId === alert.accountId) &&
  (alert.clientId === null || (alert.clientId === grant.clientId && sharesBands(grant)))

/** The cache tags of a list, by its key, which begins with the `sharedKeyOf` of the customer. */
function tagsOf(key: string): string[] {
  const [clientId, customerId] = key.split('/') as [string, string]
  return [...sharedTagsOf(key), `read/${sharedKeyOf({ clientId, customerId })}`]
}

const matchesFilter = (
  { types, severities, accountIds, read }: AlertFilter,
  { since, until }: TimeRange,
  { alert, publicAccountId, readAt }: AlertView,
): boolean =>
  (types?.includes(alert.type) ?? true) &&
  (severities?.includes(alert.severity) ?? true) &&
  (!accountIds || (publicAccountId !== null && accountIds.includes(publicAccountId))) &&
  (!since || alert.occurredAt >= since) &&
  (!until || alert.occurredAt < until) &&
  (typeof read !== 'boolean' || read === (readAt !== null))
