import { timeRangeFaults } from '../../kernel/time-range.ts'
import { connectionFromStore, type Connection, type PageArguments } from '../../kernel/pagination.ts'
import { GatewayError, type InputFault } from '../../kernel/errors.ts'
import { faultAt } from '../../kernel/input-faults.ts'
import type { Database } from '../../storage/database.ts'
import type { Seal } from '../../storage/seal.ts'
import { auditLogStore, type EntrySearch, type StoredEntry } from './audit-log-store.ts'
import { createEntryIdCodec } from './entry-id.ts'
import type { LedgerAction } from './model.ts'

/** The ledger as those read it who run the gateway, and each organization its own part of it. */
export type AuditLog = ReturnType<typeof createAuditLog>

/** An entry without the customer and the accounts that it is about: no scope opens those to anybody but the customer. */
export interface AuditLogEntry extends Omit<StoredEntry, 'sequence'> {
  /** Opaque. */
  readonly id: string
}

/** Who reads. A reader who does not see all sees what the clients of its own organization did, and what was done to them. */
export interface AuditLogReader {
  readonly clientId: string
  readonly canSeeAll: boolean
}

/** Which entries are wanted; each condition that is given must hold. */
export interface AuditLogFilter {
  readonly actions?: readonly LedgerAction[] | null | undefined
  readonly clientIds?: readonly string[] | null | undefined
  readonly subjectIds?: readonly string[] | null | undefined
  readonly since?: Date | undefined
  readonly until?: Date | undefined
}

/** What is searched for, apart from the page. */
type Search = Omit<EntrySearch, 'afterSequence' | 'beforeSequence' | 'direction' | 'limit'>

const MAX_FILTER_IDS = 50
const ID_PREFIX = 'ldgr_'
/** Their subject is an alert by its own id, which no client is ever told. */
const ACTIONS_WITH_HIDDEN_SUBJECT: ReadonlySet<LedgerAction> = new Set([
  'READ_ALERTS',
  'ALERT_RECEIVED',
  'ALERT_DELIVERED',
])

/** Reads entries; nothing here writes one. */
export function createAuditLog({ database, seal }: { database: Database; seal: Pick<Seal, 'digest'> }) {
  const store = auditLogStore(database)
  const entryIds = createEntryIdCodec(seal)

  const findVisibleClientIds = async ({
    clientId,
    canSeeAll,
  }: AuditLogReader): Promise<readonly string[] | undefined> =>
    canSeeAll ? undefined : store.clientIdsOfSameOrganization(clientId)

  /** What the reader may know of an entry: who else acted on an organization's client is the operator's own matter. */
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

  /** What is wrong with a filter. */
  function findFaults({ since, until, ...filter }: AuditLogFilter): InputFault[] {
    const isTooLong = (name: 'clientIds' | 'subjectIds') => (filter[name]?.length ?? 0) > MAX_FILTER_IDS
    return [
      ...(['clientIds', 'subjectIds'] as const)
        .filter(isTooLong)
        .map((name) => faultAt(['filter', name], `must have at most ${MAX_FILTER_IDS} items`)),
      ...timeRangeFaults({ since, until }, ['filter', 'occurred']),
    ]
  }

  /** A page of the entries that `loadSearch` names, once the request has no fault. */
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
     * A page of all entries about one thing, newest first, with the client that did each. For callers that may see all of
     * it, such as a partner of its own connector. Throws `INVALID_INPUT` with every fault.
     */
    pageAbout: (subjectId: string, page: PageArguments): Promise<Connection<AuditLogEntry>> =>
      pageOf(() => ({ subjectIds: [subjectId] }), 'DESC', page, []),

    /** The entry of this id if it is about something that `isVisible` allows; null otherwise. */
    async findAbout(id: string, isVisible: (subjectId: string) => Promise<boolean>): Promise<AuditLogEntry | null> {
      const entry = await findEntry(id, undefined)
      return entry?.subjectId && (await isVisible(entry.subjectId)) ? entry : null
    },

    /** The entry of this id, or nothing where there is none or the reader may not see it. */
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

/** What follows the prefix; the text as it is where that is another. */
const stripIdPrefix = (id: string): string => (id.startsWith(ID_PREFIX) ? id.slice(ID_PREFIX.length) : id)

/** Whom a reader may ask about: a search for others would tell who did what was done to the reader's own clients. */
const restrictClientIds = (
  clientIds: readonly string[] | null | undefined,
  ownClientIds: readonly string[] | undefined,
): readonly string[] | undefined =>
  ownClientIds && clientIds ? clientIds.filter((id) => ownClientIds.includes(id)) : (clientIds ?? undefined)

/** Who reads, by the scopes that they hold. Throws `FORBIDDEN` for a token that stands for a customer. */
export function readerOf(caller: { kind: string; clientId?: string; scopes: ReadonlySet<string> }): AuditLogReader {
  if (caller.kind !== 'CLIENT' || caller.clientId === undefined) throw new GatewayError('FORBIDDEN')
  return { clientId: caller.clientId, canSeeAll: caller.scopes.has('clients:manage') }
}
