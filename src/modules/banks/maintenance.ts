import { chain, type MaybePromise } from '../../kernel/maybe-promise.ts'
import { HOUR_MS } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { faultAt, invalidInputError } from '../../kernel/input-faults.ts'
import { newId } from '../../kernel/ids.ts'
import { createLoadingCache, type LoadingCacheOptions } from '../../kernel/loading-cache.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Idempotency } from '../../storage/idempotency.ts'
import type { Signals } from '../../storage/signals.ts'
import type { Ledger } from '../ledger/index.ts'
import type { Connector, Outage } from './model.ts'
import type { OutageStore } from './outage-store.ts'

const MAX_OUTAGE_HOURS = 48
const MAX_LISTED_OUTAGES = 20

/** Throws `INVALID_INPUT` for a period that is over, ends before it begins, or is too long. */
function assertValidSpan({ startsAt, endsAt }: Pick<Outage, 'startsAt' | 'endsAt'>, now: Date): void {
  if (endsAt > now && endsAt > startsAt && endsAt.getTime() - startsAt.getTime() <= MAX_OUTAGE_HOURS * HOUR_MS) return
  const rule = `must be in the future, later than \`startsAt\`, and at most ${MAX_OUTAGE_HOURS} hours after it`
  throw invalidInputError([faultAt(['endsAt'], rule)])
}

/** Dependencies of outages. */
export interface MaintenanceDependencies {
  readonly store: OutageStore
  readonly database: Database
  readonly world: World
  readonly ledger: Ledger
  readonly signals: Signals
  readonly idempotency: Idempotency
  readonly cacheOptions: LoadingCacheOptions<unknown>
  /** The connector, or `NOT_FOUND`. */
  readonly requireConnector: (id: string) => Promise<Connector>
}

/** Creates the outages of banks: announced maintenance and incidents. */
export function createMaintenance(dependencies: MaintenanceDependencies) {
  const { store, database, world, ledger, signals, idempotency, cacheOptions, requireConnector } = dependencies
  const outageCache = createLoadingCache<readonly Outage[]>(cacheOptions)
  signals.onSignal((signal) => {
    if (signal.kind === 'BANK') outageCache.invalidate(signal.id)
  })
  return {
    /** Current and future outages of these banks, earliest first, at most 20 per bank. */
    async outagesOf(bankIds: readonly string[]): Promise<Outage[]> {
      const outages = await store.notOver(bankIds, world.clock.now())
      return [...Map.groupBy(outages, ({ bankId }) => bankId).values()].flatMap((ofBank) =>
        ofBank.slice(0, MAX_LISTED_OUTAGES),
      )
    },

    /** The outage with this ID, even if it is over. */
    findOutage: (id: string): Promise<Outage | null> => store.find(id),

    /** Announces that the connector's bank is unavailable in a period. Throws `INVALID_INPUT` or `NOT_FOUND`. */
    async announceOutage(
      actorClientId: string,
      connectorId: string,
      { startsAt, endsAt, kind }: Pick<Outage, 'startsAt' | 'endsAt' | 'kind'>,
      idempotencyKey?: string | null,
    ): Promise<Outage> {
      const { bankId } = await requireConnector(connectorId)
      assertValidSpan({ startsAt, endsAt }, world.clock.now())
      const idempotentRequest = {
        clientId: actorClientId,
        mutation: 'announceOutage',
        key: idempotencyKey,
        input: { connectorId, startsAt, endsAt, kind },
      }
      const outageId = await database.transaction((tx) =>
        idempotency.runOnce(tx, idempotentRequest, async () => {
          const outage = { id: newId('outg', world.randomness), bankId, kind, startsAt, endsAt }
          await store.add(tx, outage)
          await ledger.record(tx, {
            action: 'OUTAGE_ANNOUNCED',
            clientId: actorClientId,
            subjectId: bankId,
            detail: kind,
            changes: [
              { field: 'startsAt', before: [], after: [startsAt.toISOString()] },
              { field: 'endsAt', before: [], after: [endsAt.toISOString()] },
            ],
          })
          await signals.publish(tx, { kind: 'BANK', id: bankId })
          return outage.id
        }),
      )
      return (await store.find(outageId))!
    },

    /**
     * Ends an outage now, or cancels it if it has not begun: its end is then equal to its start. Throws `NOT_FOUND`, or
     * `STATE_CONFLICT` if it is over.
     */
    async endOutage(actorClientId: string, outageId: string): Promise<Outage> {
      const before = await store.find(outageId)
      if (!before) throw new GatewayError('NOT_FOUND', { path: ['outageId'] })
      const { bankId } = before
      const ended = await database.transaction(async (tx) => {
        const outage = await store.end(tx, outageId, world.clock.now())
        if (!outage) throw new GatewayError('STATE_CONFLICT', { path: ['outageId'] })
        await ledger.record(tx, {
          action: 'OUTAGE_ENDED',
          clientId: actorClientId,
          subjectId: bankId,
          detail: outage.kind,
          changes: [{ field: 'endsAt', before: [before.endsAt.toISOString()], after: [outage.endsAt.toISOString()] }],
        })
        await signals.publish(tx, { kind: 'BANK', id: bankId })
        return outage
      })
      return ended
    },

    /** The bank's current outage, if any. Synchronous if this process has it cached. */
    currentOutage(bankId: string): MaybePromise<Outage | null> {
      const now = world.clock.now()
      const findCurrent = (outages: readonly Outage[]): Outage | null =>
        outages.find(({ startsAt, endsAt }) => startsAt <= now && endsAt > now) ?? null
      return chain(
        outageCache.get(bankId, () => store.notOver([bankId], now)),
        findCurrent,
      )
    },
  }
}
