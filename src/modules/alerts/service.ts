import type { CollectEvents, DeliveredEvent, SettledEvents } from '../../connectors/index.ts'
import { DAY_MS, later, SECOND_MS } from '../../kernel/clock.ts'
import { asGatewayError, whyOf } from '../../kernel/errors.ts'
import { digest, newId } from '../../kernel/ids.ts'
import { createMemory } from '../../kernel/memory.ts'
import type { CustomerCaller, RequestContext } from '../../kernel/request.ts'
import type { Tally } from '../../kernel/tally.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Banks } from '../banks/index.ts'
import type { Consents, Grant } from '../consents/index.ts'
import type { WebhookMessage } from '../deliveries/index.ts'
import type { Ledger } from '../ledger/index.ts'
import type { Outbox } from '../outbox/index.ts'
import type { Alert, AlertFilter, OpenedAlert } from './model.ts'
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
  /** Events that were not acceptable, whoever brought them. */
  refusedEvents: Tally
}

/** So many can be paged through; older ones are told no more. */
const NEWEST = 1_000
const REMEMBERED = { maxBytes: 16_777_216, ttlMs: 30 * SECOND_MS }
/** An alert with its names for one client, and the texts that are made of it, measured. */
const ALERT_BYTES = 1_024
/** Of what one bank keeps, so many times fifty are taken in one turn. */
const MAX_ROUNDS = 20
/** So many of one answer may fail to be stored before the turn ends. */
const MAX_LEFT = 3
/** A day longer than the oldest event that is still taken. */
const REMEMBERED_MS = 8 * DAY_MS

/** What a customer shares of alerts, and when the first of the consents ends that open it. */
interface Newest {
  readonly rows: readonly OpenedAlert[]
  readonly until: Date
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
  refusedEvents,
}: AlertsDependencies) {
  const store = alertStore(database)
  const collecting = new Map<string, Promise<unknown>>()
  const newest = createMemory<Newest>({
    clock: world.clock,
    ...REMEMBERED,
    bytesOf: ({ rows }) => 256 + rows.length * ALERT_BYTES,
    tagsOf: (_alerts, key) => readers(key),
    trusted: outbox.hearing,
  })
  outbox.onSignal((signal) => {
    if (signal.kind === 'CLIENT') newest.forgetTagged(`client/${signal.id}`)
    if (signal.kind === 'CONSENT' && signal.customerId !== null) newest.forgetTagged(`customer/${signal.customerId}`)
    if (signal.kind === 'ALERTS_CHANGED')
      for (const customerId of signal.customerIds) newest.forgetTagged(`customer/${customerId}`)
  })

  const opened = (alert: Alert, grant: Grant): OpenedAlert => ({
    publicId: `alert_${seal.digest('public', 'alert', grant.clientId, alert.id)}`,
    publicAccountId: `account_${seal.digest('public', 'account', grant.clientId, alert.accountId)}`,
    bankId: grant.bankId,
    alert,
    occurredAt: alert.occurredAt.toISOString(),
    grant,
  })

  async function newestOf(caller: CustomerCaller): Promise<Newest> {
    const since = new Map<string, Grant>()
    for (const grant of (await consents.sharedWith(caller)).grants)
      if (grant.allows('alerts:read'))
        for (const accountId of grant.accountIds) {
          const known = since.get(accountId)
          if (!known || grant.since < known.since) since.set(accountId, grant)
        }
    const rows = await store.newest(
      [...since].map(([accountId, grant]) => ({ accountId, since: grant.since })),
      NEWEST,
    )
    const ends = [...since.values()].map(({ expiresAt }) => expiresAt.getTime())
    return {
      rows: rows.map((alert) => opened(alert, since.get(alert.accountId)!)),
      until: new Date(Math.min(...ends, 8.64e15)),
    }
  }

  async function receive(connectorId: string, delivered: DeliveredEvent): Promise<void> {
    const { bankId, event } = await banks.readEvent(connectorId, delivered)
    const { notice, issuer, jti } = event
    const now = world.clock.now()
    if (notice.kind === 'CONSENT_DOUBTED') {
      // Anybody can say so: of what nobody knows nothing is kept, and a bank is not asked as often as somebody likes.
      const connectionId = await consents.connectionBehind(connectorId, notice.consentRef)
      if (connectionId === undefined) return
      // Asking the bank follows from the commit, so that no answer of the bank, and no end of this process, loses it.
      await database.transaction(async (tx) => {
        if (await store.remember(tx, issuer, digest(jti), now))
          await outbox.promise(tx, 'connection.check', connectionId, bankId)
      })
      return
    }
    if (notice.kind === 'IGNORED') return
    if (notice.kind === 'CONSENT_REVOKED') {
      // Ending twice is harmless, so the event is remembered only once it has had its effect.
      await consents.revokedAtBank(connectorId, notice.consentRef)
    }
    const customerIds = await database.transaction(async (tx): Promise<string[]> => {
      if (!(await store.remember(tx, issuer, digest(jti), now))) return []
      if (notice.kind !== 'ALERT') return []
      const candidates = await consents.accountIdsByRef(tx, bankId, notice.accountRefs)
      const holders = await consents.holdersOf(candidates, 'alerts:read', tx)
      const shared = new Set(holders.flatMap(({ accountIds }) => accountIds))
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
      await store.add(tx, alerts, now)
      for (const { id, accountId } of alerts) {
        await outbox.promise(tx, 'alert.received', id)
        await ledger.record(tx, { kind: 'ALERT_RECEIVED', accountIds: [accountId], subjectId: id })
      }
      const concerned = [...new Set(holders.map(({ customerId }) => customerId))]
      await outbox.signal({ kind: 'ALERTS_CHANGED', customerIds: concerned }, tx)
      return concerned
    })
    if (customerIds.length > 0) outbox.echo({ kind: 'ALERTS_CHANGED', customerIds })
  }

  /**
   * Until the bank has nothing that could be taken, and knows what became of all that was. One that cannot be stored is
   * left there, and holds back none of those behind it.
   */
  async function collectFrom(connectorId: string, collect: CollectEvents): Promise<void> {
    let settled: SettledEvents = { taken: [], refused: [] }
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const given = await collect(settled)
      const [taken, refused]: [string[], string[]] = [[], []]
      settled = { taken, refused }
      let left = 0
      for (const { id, delivered } of given)
        try {
          await receive(connectorId, delivered)
          taken.push(id)
        } catch (error) {
          const { code } = asGatewayError(error)
          if (code === 'EVENT_REJECTED') {
            refusedEvents.count({ connectorId, code })
            refused.push(id)
            continue
          }
          world.log.warn('event.left', { connectorId, code })
          // Where several come to nothing, it is not they that are at fault.
          if (++left === MAX_LEFT) throw error
        }
      if (taken.length + refused.length === 0) return
    }
  }

  return {
    /** Whether a forged event of this connector is what a certification run asked its bank for. */
    expectsForgery: (connectorId: string): boolean => banks.expectsForgery(connectorId),

    /** Whether events of this connector are accepted at the moment. Asks the database only after something changed. */
    hears: (connectorId: string): boolean | Promise<boolean> => banks.hears(connectorId),

    /**
     * Takes one pushed event: verified by the connector's standard, remembered once, and stored with its promise to
     * tell and its ledger line in one transaction before this returns. A repeated event changes nothing. An alert about
     * an account that nobody shares is not kept. Throws `NOT_FOUND` or `EVENT_REJECTED`.
     */
    receive,

    /**
     * Begins to ask the banks that keep their events for us, each for itself, so that none waits for another; what they give
     * is taken as if it had been delivered. What could not be stored is not acknowledged, so that the bank gives it again.
     */
    async collect(): Promise<void> {
      for (const { connectorId, collect } of await banks.keepingEvents()) {
        if (collecting.has(connectorId)) continue
        const run = collectFrom(connectorId, collect)
          .catch((error: unknown) => {
            world.log.warn('events.not_collected', { connectorId, ...whyOf(error) })
          })
          .finally(() => collecting.delete(connectorId))
        collecting.set(connectorId, run)
      }
    },

    /** Resolves once all that is being asked for is taken. */
    async collected(): Promise<void> {
      await Promise.all(collecting.values())
    },

    /** Forgets the events that are too old to be taken again anyway; returns how many. */
    forgetEvents: (): Promise<number> => store.forgetEvents(later(world.clock.now(), -REMEMBERED_MS)),

    find: (id: string): Promise<Alert | null> => store.find(id),

    /** The newest alerts of the accounts that the caller's customer shares, since they share them; the newest first. */
    newest(
      caller: CustomerCaller,
      filter?: AlertFilter | null,
    ): readonly OpenedAlert[] | Promise<readonly OpenedAlert[]> {
      const choose = ({ rows, until }: Newest): readonly OpenedAlert[] => {
        const now = world.clock.now()
        // A consent's time can be over without a word of it having been said yet.
        const open = until > now ? rows : rows.filter(({ grant }) => grant.expiresAt > now)
        return filter ? open.filter((row) => fits(filter, row)) : open
      }
      const key = `${caller.clientId}/${caller.customerId}`
      const all = newest.get(key, () => newestOf(caller), readers(key))
      return all instanceof Promise ? all.then(choose) : choose(all)
    },

    /** Notes that alerts of one account are read, under each of the grants that opens them. */
    noteRead(context: RequestContext, grants: readonly Grant[], accountId: string): void {
      for (const grant of grants)
        if (grant.allows('alerts:read')) ledger.note(context, { kind: 'READ_ALERTS', grant }, [accountId])
    },

    /** Notes that alerts of all that the caller's customer shares are read. */
    async noteReads(caller: CustomerCaller, context: RequestContext): Promise<void> {
      for (const grant of (await consents.sharedWith(caller)).grants)
        if (grant.allows('alerts:read')) ledger.note(context, { kind: 'READ_ALERTS', grant }, grant.accountIds)
    },

    /** An alert with the customer whose account it is about: the only one who can be told of it. */
    withCustomer: (alertId: string): Promise<{ alert: Alert; customerId: string } | null> =>
      store.withCustomer(alertId),

    /** The alert as the caller's customer shares it, or nothing; for live listeners. Noted in the ledger. */
    async openFor(caller: CustomerCaller, context: RequestContext, alert: Alert): Promise<OpenedAlert | undefined> {
      const { grants } = await consents.sharedWith(caller)
      const grant = grants.find((one) => one.allows('alerts:read') && one.accountIds.includes(alert.accountId))
      // A stream stands on the consent that its token was issued for, whatever else the customer shares.
      if (!grant || !grants.some(({ consentId }) => consentId === caller.consentId)) return undefined
      ledger.note(context, { kind: 'READ_ALERTS', grant, subjectId: alert.id }, [alert.accountId])
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

/** The tags of the alerts that a client reads of a customer, by `CLIENT/CUSTOMER`. */
function readers(key: string): string[] {
  const [client, customer] = key.split('/')
  return [`client/${client}`, `customer/${customer}`]
}

const fits = (
  { types, severities, accountIds, since }: AlertFilter,
  { alert, publicAccountId }: OpenedAlert,
): boolean =>
  (types?.includes(alert.type) ?? true) &&
  (severities?.includes(alert.severity) ?? true) &&
  (accountIds?.includes(publicAccountId) ?? true) &&
  (since ? alert.occurredAt >= new Date(since) : true)
