import { cursorFault, sliceOf, sliced, type Connection, type PageArguments } from '../../kernel/connection.ts'
import { GatewayError, type InputFault } from '../../kernel/errors.ts'
import { faultAt } from '../../kernel/faults.ts'
import type { Database } from '../../storage/database.ts'
import type { Seal } from '../../storage/seal.ts'
import { auditLogStore, type StoredEntry } from './audit-log-store.ts'
import { createEntryIds } from './entry-id.ts'
import type { LedgerKind } from './model.ts'

/** The ledger as those read it who run the gateway, and each platform its own part of it. */
export type AuditLog = ReturnType<typeof createAuditLog>

/** An entry without the customer and the accounts that it is about: no scope opens those to anybody but the customer. */
export interface AuditLogEntry extends Omit<StoredEntry, 'sequence' | 'at'> {
  /** Opaque. */
  readonly id: string
  readonly occurredAt: Date
}

/** Who reads. A reader who does not see all sees what the clients of its own platform did, and what was done to them. */
export interface AuditLogReader {
  readonly clientId: string
  readonly seesAll: boolean
}

/** Which entries are wanted; each condition that is given must hold. */
export interface AuditLogFilter {
  readonly actions?: readonly LedgerKind[] | null | undefined
  readonly clientIds?: readonly string[] | null | undefined
  readonly subjectIds?: readonly string[] | null | undefined
  readonly since?: Date | undefined
  readonly until?: Date | undefined
}

const MAX_IDS = 50
const ID_PREFIX = 'ldgr_'
/** Their subject is an alert by its own id, which no client is ever told. */
const HIDDEN_SUBJECTS: ReadonlySet<LedgerKind> = new Set(['READ_ALERTS', 'ALERT_RECEIVED', 'ALERT_DELIVERED'])

/** Reads entries; nothing here writes one. */
export function createAuditLog({ database, seal }: { database: Database; seal: Pick<Seal, 'digest'> }) {
  const store = auditLogStore(database)
  const ids = createEntryIds(seal)

  const visibleTo = async ({ clientId, seesAll }: AuditLogReader): Promise<readonly string[] | undefined> =>
    seesAll ? undefined : store.clientsBeside(clientId)

  /** What the reader may know of an entry: who else acted on a platform's client is the operator's own matter. */
  function shown({ sequence, at, ...entry }: StoredEntry, own: readonly string[] | undefined): AuditLogEntry {
    const isActorShown = own === undefined || (entry.clientId !== null && own.includes(entry.clientId))
    return {
      ...entry,
      id: `${ID_PREFIX}${ids.nameOf(sequence)}`,
      occurredAt: at,
      clientId: isActorShown ? entry.clientId : null,
      subjectId: HIDDEN_SUBJECTS.has(entry.kind) ? null : entry.subjectId,
    }
  }

  const placeOf = (cursor: string | null | undefined): bigint | undefined =>
    cursor === null || cursor === undefined ? undefined : ids.sequenceOf(nameIn(cursor))

  /** What is wrong with a request for a page, apart from its size. */
  function faultsOf({ since, until, ...filter }: AuditLogFilter, page: PageArguments): InputFault[] {
    const isTooLong = (name: 'clientIds' | 'subjectIds') => (filter[name]?.length ?? 0) > MAX_IDS
    const isUnknown = (name: 'after' | 'before') => typeof page[name] === 'string' && placeOf(page[name]) === undefined
    return [
      ...(['after', 'before'] as const).filter(isUnknown).map(cursorFault),
      ...(['clientIds', 'subjectIds'] as const)
        .filter(isTooLong)
        .map((name) => faultAt(['filter', name], `must have at most ${MAX_IDS} items`)),
      ...(since && until && since > until ? [faultAt(['filter', 'occurred'], 'must end after it begins')] : []),
    ]
  }

  return {
    /** A page of entries. Throws `INVALID_INPUT` with every fault. */
    async page(
      reader: AuditLogReader,
      filter: AuditLogFilter,
      direction: 'ASC' | 'DESC',
      page: PageArguments,
    ): Promise<Connection<AuditLogEntry>> {
      const { size, isBackward } = sliceOf(page, faultsOf(filter, page))
      const [after, before] = [placeOf(page.after), placeOf(page.before)]
      const [above, below] = direction === 'ASC' ? [after, before] : [before, after]
      const own = await visibleTo(reader)
      const rows = await store.search({
        visibleTo: own,
        kinds: filter.actions ?? undefined,
        clientIds: askable(filter.clientIds, own),
        subjectIds: filter.subjectIds ?? undefined,
        since: filter.since,
        until: filter.until,
        above,
        below,
        direction: isBackward === (direction === 'ASC') ? 'DESC' : 'ASC',
        limit: size + 1,
      })
      return sliced(
        rows.map((row) => shown(row, own)),
        page,
        ({ id }) => id,
      )
    },

    /** The entry of this id, or nothing where there is none or the reader may not see it. */
    async find(reader: AuditLogReader, id: string): Promise<AuditLogEntry | null> {
      const sequence = ids.sequenceOf(nameIn(id))
      if (sequence === undefined) return null
      const own = await visibleTo(reader)
      const [row] = await store.search({
        visibleTo: own,
        above: sequence - 1n,
        below: sequence + 1n,
        direction: 'ASC',
        limit: 1,
      })
      return row ? shown(row, own) : null
    },
  }
}

/** What follows the prefix; the text as it is where that is another. */
const nameIn = (id: string): string => (id.startsWith(ID_PREFIX) ? id.slice(ID_PREFIX.length) : id)

/** Whom a reader may ask about: a search for others would tell who did what was done to the reader's own clients. */
const askable = (
  clientIds: readonly string[] | null | undefined,
  own: readonly string[] | undefined,
): readonly string[] | undefined =>
  own && clientIds ? clientIds.filter((id) => own.includes(id)) : (clientIds ?? undefined)

/** Who reads, by the scopes that they hold. Throws `FORBIDDEN` for a token that stands for a customer. */
export function readerOf(caller: { kind: string; clientId?: string; scopes: ReadonlySet<string> }): AuditLogReader {
  if (caller.kind !== 'CLIENT' || caller.clientId === undefined) throw new GatewayError('FORBIDDEN')
  return { clientId: caller.clientId, seesAll: caller.scopes.has('clients:manage') }
}
