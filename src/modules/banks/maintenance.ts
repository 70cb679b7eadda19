import { HOUR_MS } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { newId } from '../../kernel/ids.ts'
import type { LoadingCache } from '../../kernel/loading-cache.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Idempotency } from '../../storage/idempotency.ts'
import type { Ledger } from '../ledger/index.ts'
import type { Outbox } from '../outbox/index.ts'
import type { Bank, Connector, MaintenanceWindow } from './model.ts'
import type { BankStore } from './store.ts'

/** How long a bank may announce that it will not answer. */
const MAX_WINDOW_HOURS = 48

/** Throws `INVALID_INPUT` for a window that is over, ends before it begins, or is too long. */
function assertValidWindow({ from, to }: Pick<MaintenanceWindow, 'from' | 'to'>, now: Date): void {
  if (to > now && to > from && to.getTime() - from.getTime() <= MAX_WINDOW_HOURS * HOUR_MS) return
  throw new GatewayError('INVALID_INPUT', {
    faults: [
      {
        path: ['to'],
        message: `\`to\` must be in the future, later than \`from\`, and at most ${MAX_WINDOW_HOURS} hours after it.`,
      },
    ],
  })
}

/** What announcements depend on. */
export interface MaintenanceDependencies {
  readonly store: BankStore
  readonly database: Database
  readonly world: World
  readonly ledger: Ledger
  readonly outbox: Outbox
  readonly idempotency: Idempotency
  /** What this process caches of each bank's announcements. */
  readonly outageCache: LoadingCache<readonly MaintenanceWindow[]>
  /** The connector, or `NOT_FOUND`. */
  readonly requireConnector: (id: string) => Promise<Connector>
}

/** What partners announce of their banks: maintenance to come, and incidents until they are over. */
export function createMaintenance(dependencies: MaintenanceDependencies) {
  const { store, database, world, ledger, outbox, idempotency, outageCache, requireConnector } = dependencies
  return {
    /** What banks announced and is not over, the nearest first. */
    maintenance: (bankIds: readonly string[]): Promise<MaintenanceWindow[]> =>
      store.maintenance(bankIds, world.clock.now()),

    /** Announces that the connector's bank will not answer. Throws `INVALID_INPUT` for a window that is none. */
    async announceMaintenance(
      actorClientId: string,
      id: string,
      { from, to, kind }: Pick<MaintenanceWindow, 'from' | 'to' | 'kind'>,
      idempotencyKey?: string | null,
    ): Promise<Bank> {
      const { bankId } = await requireConnector(id)
      assertValidWindow({ from, to }, world.clock.now())
      const idempotentRequest = {
        clientId: actorClientId,
        mutation: 'announceMaintenance',
        key: idempotencyKey,
        input: { id, from, to, kind },
      }
      await database.transaction((tx) =>
        idempotency.runOnce(tx, idempotentRequest, async () => {
          const window = { id: newId('mtnc', world.randomness), bankId, kind, from, to }
          await store.addMaintenance(tx, window)
          await ledger.record(tx, {
            kind: 'MAINTENANCE_ANNOUNCED',
            clientId: actorClientId,
            subjectId: bankId,
            detail: kind,
            changes: [{ field: 'window', before: [], after: [from.toISOString(), to.toISOString()] }],
          })
          await outbox.publish({ kind: 'BANK', id: bankId }, tx)
          return window.id
        }),
      )
      outbox.publishLocal({ kind: 'BANK', id: bankId })
      return (await store.bank(bankId))!
    },

    /** Ends the incidents that the connector's bank announced, as of now. */
    async endIncident(actorClientId: string, id: string): Promise<Bank> {
      const { bankId } = await requireConnector(id)
      await database.transaction(async (tx) => {
        if ((await store.endIncidents(tx, bankId, world.clock.now())) === 0) throw new GatewayError('STATE_CONFLICT')
        await ledger.record(tx, { kind: 'INCIDENT_ENDED', clientId: actorClientId, subjectId: bankId })
        await outbox.publish({ kind: 'BANK', id: bankId }, tx)
      })
      outbox.publishLocal({ kind: 'BANK', id: bankId })
      return (await store.bank(bankId))!
    },

    /** What the bank announced for this moment, if anything; at once where this process remembers it. */
    currentOutage(bankId: string): MaintenanceWindow | null | Promise<MaintenanceWindow | null> {
      const now = world.clock.now()
      const findCurrent = (windows: readonly MaintenanceWindow[]): MaintenanceWindow | null =>
        windows.find(({ from, to }) => from <= now && to > now) ?? null
      const windows = outageCache.get(bankId, () => store.maintenance([bankId], now))
      return windows instanceof Promise ? windows.then(findCurrent) : findCurrent(windows)
    },
  }
}
