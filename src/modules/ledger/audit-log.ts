import { timeRangeFaults } from '../../kernel/time-range.ts'
import { connectionFromStore, type Connection, type PageArguments } from '../../kernel/pagination.ts'
import { GatewayError, type InputFault } from '../../kernel/errors.ts'
import { faultAt } from '../../kernel/input-faults.ts'
import type { Database } from '../../storage/database.ts'
import type { Seal } from '../../storage/seal.ts'
import { auditLogStore, type EntrySearch, type StoredEntry } from './audit-log-store.ts'
import { createEntryIdCodec } from './entry-id.ts'
import type { LedgerAction } from './model.ts'

/** The audit log: the ledger for the operator and, for its own entries, each organization. */
export type AuditLog = ReturnType<typeof createAuditLog>

/** An entry without its customer and accounts, which no scope authorizes. */
export interface AuditLogEntry extends Omit<StoredEntry, 'sequence'> {
  /** Opaque ID. */
  readonly id: string
}

/** The reader. Without `canSeeAll`, it sees only actions by and on the clients of its own organization. */
export interface AuditLogReader {
  readonly clientId: string
  readonly canSeeAll: boolean
}

/** A filter of entries. Every given condition must match. */
export interface AuditLogFilter {
  readonly actions?: readonly LedgerAction[] | null | undefined
  readonly clientIds?: readonly string[] | null | undefined
  readonly subjectIds?: readonly string[] | null | undefined
  readonly since?: Date | undefined
  readonly until?: Date | undefined
}

/** A search without its page. */
type Search = Omit<EntrySearch, 'afterSequence' | 'beforeSequence' | 'direction' | 'limit'>

const MAX_FILTER_IDS = 50
const ID_PREFIX = 'ldgr_'
/** The subject of these actions is the internal ID of an alert, which clients never see. */
const ACTIONS_WITH_HIDDEN_SUBJECT: ReadonlySet<LedgerAction> = new Set([
  'READ_ALERTS',
  'ALERT_RECEIVED',
  'ALERT_DELIVERED',
])

/** Creates the reader of the audit log. It writes nothing. */
export function createAuditLog({ database, seal }: { database: Database; seal: Pick<Seal, 'digest'> }) {
  const store = auditLogStore(database)
  const entryIds = createEntryIdCodec(seal)

  const findVisibleClientIds = async ({
    clientId,
    canSeeAll,
  }: AuditLogReader): Promise<readonly string[] | undefined> =>
    canSeeAll ? undefined : store.clientIdsOfSameOrganization(clientId)

  /** Removes what the reader may not see. Only the operator sees actors outside of the reader's organization. */
  function redactEntry(
    { sequence, ...entry }: StoredEntry,
    ownClientIds: readonly string[] | undefined,
  ): AuditLogEntry {
    const canSeeActor = ownClientIds === undefined || (entry.clientId !== null && ownClientIds.includes(entry.clientId))
    return {
      ...entry,
      id: `${ID_PREFIX}${entryIds.encode(sequence)}`,
      clientId: canSeeActor ? entry.clientId : null,
      subjectId: ACTIONS_WITH_HIDDEN_SUBJECT.has(entry.action) ? null : entry.subjectId,
    }
  }

  /** Returns the faults of a filter. */
  function findFaults({ since, until, ...filter }: AuditLogFilter): InputFault[] {
    const isTooLong = (name: 'clientIds' | 'subjectIds') => (filter[name]?.length ?? 0) > MAX_FILTER_IDS
    return [
      ...(['clientIds', 'subjectIds'] as const)
        .filter(isTooLong)
        .map((name) => faultAt(['filter', name], `must have at most ${MAX_FILTER_IDS} items`)),
      ...timeRangeFaults({ since, until }, ['filter', 'occurred']),
    ]
  }

  /** Returns a page of the entries that match the result of `loadSearch`, which is called only if the request has no faults. */
  const pageOf = (
    loadSearch: () => Search | Promise<Search>,
    direction: 'ASC' | 'DESC',
    page: PageArguments,
    otherFaults: readonly InputFault[],
  ): Promise<Connection<AuditLogEntry>> =>
    connectionFromStore<AuditLogEntry, bigint>(page, {
      idOf: ({ id }) => id,
      findCursor: (cursor) => entryIds.decode(stripIdPrefix(cursor)),
      otherFaults,
      async read({ after, before, isBackward, limit }) {
        const [afterSequence, beforeSequence] = direction === 'ASC' ? [after, before] : [before, after]
        const search = await loadSearch()
        const rows = await store.search({
          ...search,
          afterSequence,
          beforeSequence,
          direction: isBackward === (direction === 'ASC') ? 'DESC' : 'ASC',
          limit,
        })
        return rows.map((row) => redactEntry(row, search.visibleToClientIds))
      },
    })

  return {
    /** A page of entries. Throws `INVALID_INPUT` with every fault. */
    page(
      reader: AuditLogReader,
      filter: AuditLogFilter,
      direction: 'ASC' | 'DESC',
      page: PageArguments,
    ): Promise<Connection<AuditLogEntry>> {
      const search = async () => {
        const ownClientIds = await findVisibleClientIds(reader)
        return {
          visibleToClientIds: ownClientIds,
          actions: filter.actions ?? undefined,
          clientIds: restrictClientIds(filter.clientIds, ownClientIds),
          subjectIds: filter.subjectIds ?? undefined,
          since: filter.since,
          until: filter.until,
        }
      }
      return pageOf(search, direction, page, findFaults(filter))
    },

    /**
     * A page of all entries about one subject, newest first, with their actors. Only for callers that may see everything about
     * the subject, such as a partner about its own connector. Throws `INVALID_INPUT` with every fault.
     */
    pageAbout: (subjectId: string, page: PageArguments): Promise<Connection<AuditLogEntry>> =>
      pageOf(() => ({ subjectIds: [subjectId] }), 'DESC', page, []),

    /** The entry with this ID if `isVisible` allows its subject; null otherwise. */
    async findAbout(id: string, isVisible: (subjectId: string) => Promise<boolean>): Promise<AuditLogEntry | null> {
      const entry = await findEntry(id, undefined)
      return entry?.subjectId && (await isVisible(entry.subjectId)) ? entry : null
    },

    /** The entry with this ID; null if there is none or the reader may not see it. */
    find: async (reader: AuditLogReader, id: string): Promise<AuditLogEntry | null> =>
      findEntry(id, await findVisibleClientIds(reader)),
  }

  async function findEntry(id: string, ownClientIds: readonly string[] | undefined): Promise<AuditLogEntry | null> {
    const sequence = entryIds.decode(stripIdPrefix(id))
    if (sequence === undefined) return null
    const [row] = await store.search({
      visibleToClientIds: ownClientIds,
      afterSequence: sequence - 1n,
      beforeSequence: sequence + 1n,
      direction: 'ASC',
      limit: 1,
    })
    return row ? redactEntry(row, ownClientIds) : null
  }
}

/** Removes the prefix of an ID. Returns other texts unchanged. */
const stripIdPrefix = (id: string): string => (id.startsWith(ID_PREFIX) ? id.slice(ID_PREFIX.length) : id)

/** Restricts a filter to the reader's own clients. A search for other clients could reveal the hidden actors of visible entries. */
const restrictClientIds = (
  clientIds: readonly string[] | null | undefined,
  ownClientIds: readonly string[] | undefined,
): readonly string[] | undefined =>
  ownClientIds && clientIds ? clientIds.filter((id) => ownClientIds.includes(id)) : (clientIds ?? undefined)

/** The reader for a caller. Throws `FORBIDDEN` for customer tokens. */
export function readerOf(caller: { kind: string; clientId?: string; scopes: ReadonlySet<string> }): AuditLogReader {
  if (caller.kind !== 'CLIENT' || caller.clientId === undefined) throw new GatewayError('FORBIDDEN')
  return { clientId: caller.clientId, canSeeAll: caller.scopes.has('clients:manage') }
}
