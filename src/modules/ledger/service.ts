import { expiredBefore } from '../../kernel/retention.ts'
import type { RequestContext } from '../../kernel/request-context.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { World } from '../../kernel/world.ts'
import type { Database, Sql } from '../../storage/database.ts'
import type { LedgerEntry, ReadRecord } from './model.ts'
import { ledgerStore } from './store.ts'

/** The record of who read or changed what, when and why. */
export type Ledger = ReturnType<typeof createLedger>

type ReadGrant = ReadRecord['access']['grant']

interface PendingWrite {
  /** Entries as JSON. */
  readonly entries: readonly string[]
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

interface PendingRead {
  readonly read: ReadRecord
  readonly accountIds: Set<string>
  /** ISO 8601. */
  readonly at: string
}

/** The reads of one request that are not committed yet. */
interface RequestReads {
  readonly readsByKey: Map<string, PendingRead>
  /** The reads without a subject, by their grant object. */
  readonly readsByGrant: Map<ReadGrant, PendingRead[]>
  isFlushScheduled: boolean
  committed: Promise<unknown> | undefined
}

/** The minimum time between two statements of one process that write reads. */
const MIN_WRITE_INTERVAL_MS = 3

/** Creates the ledger, which adds entries and never changes any. */
export function createLedger({ database, world }: { database: Database; world: World }) {
  const store = ledgerStore(database)
  const readsByRequest = new WeakMap<RequestContext, RequestReads>()
  let pendingWrites: PendingWrite[] = []
  let isWriting = false
  let lastWriteMs = -MIN_WRITE_INTERVAL_MS

  /** Writes pending entries until there are none. Entries that arrive while a statement runs are written together by the next one. */
  async function writePending(): Promise<void> {
    isWriting = true
    while (pendingWrites.length > 0) {
      // Under load, a short delay combines many writes into one statement.
      const delayMs = lastWriteMs + MIN_WRITE_INTERVAL_MS - world.timers.monotonicMs()
      if (delayMs > 0) await world.timers.sleep(delayMs)
      lastWriteMs = world.timers.monotonicMs()
      const batch = pendingWrites
      pendingWrites = []
      try {
        await store.addReads(batch.flatMap(({ entries }) => entries))
        for (const { resolve: done } of batch) done()
      } catch (error) {
        for (const { reject } of batch) reject(error)
      }
    }
    isWriting = false
  }

  /** Writes entries of reads. Resolves once they are committed. */
  function writeReads(entries: readonly string[]): Promise<void> {
    return new Promise((resolve, reject) => {
      pendingWrites.push({ entries, resolve, reject })
      if (!isWriting) void writePending()
    })
  }

  return {
    /** Records a change in its own transaction. */
    record: (tx: Transaction, entry: LedgerEntry): Promise<void> => store.add([entry], world.clock.now(), tx),

    /** Records several entries of one change in its transaction. */
    recordAll: (tx: Transaction, entries: readonly LedgerEntry[]): Promise<void> =>
      store.add(entries, world.clock.now(), tx),

    /** Records several entries, without changes, in a transaction without Prisma. */
    recordEntries: (sql: Sql, entries: readonly Omit<LedgerEntry, 'changes'>[]): Promise<void> =>
      store.addEntries(sql, entries, world.clock.now()),

    /**
     * Adds a read of customer data for this request. `commitReads` writes it, before any response is sent. Reads with the same
     * action, detail and subject under the same consent become one entry.
     */
    addRead(context: RequestContext, read: ReadRecord): void {
      let requestReads = readsByRequest.get(context)
      if (!requestReads)
        readsByRequest.set(
          context,
          (requestReads = {
            readsByKey: new Map(),
            readsByGrant: new Map(),
            committed: undefined,
            isFlushScheduled: false,
          }),
        )
      // A list adds the same reads for each of its rows, so comparing them costs less than building a key for each.
      const { action, detail, subjectId } = read
      const { accountId, grant } = read.access
      const readsOfGrant = subjectId === undefined ? requestReads.readsByGrant.get(grant) : undefined
      const sameRead = readsOfGrant?.find((other) => other.read.action === action && other.read.detail === detail)
      if (sameRead) {
        sameRead.accountIds.add(accountId)
        return
      }
      const key = `${action}/${grant.consentId}/${detail ?? ''}/${subjectId ?? ''}`
      let pendingRead = requestReads.readsByKey.get(key)
      if (pendingRead) pendingRead.accountIds.add(accountId)
      else {
        pendingRead = { read, accountIds: new Set([accountId]), at: world.clock.now().toISOString() }
        requestReads.readsByKey.set(key, pendingRead)
      }
      if (readsOfGrant) readsOfGrant.push(pendingRead)
      else if (subjectId === undefined) requestReads.readsByGrant.set(grant, [pendingRead])
    },

    /**
     * Writes all reads of this request. Resolves once they are committed; undefined if there are none. Must be awaited before a bank
     * is called or data is returned. If writing fails, this call and all later calls for the request throw.
     */
    commitReads(context: RequestContext): Promise<unknown> | undefined {
      const requestReads = readsByRequest.get(context)
      if (!requestReads) return undefined
      if (requestReads.readsByKey.size > 0 && !requestReads.isFlushScheduled) {
        requestReads.isFlushScheduled = true
        // Written in the next microtask, so that reads of several rows become the same entry.
        const commitPromise = Promise.resolve().then(() => writeReads(drainEntries(requestReads, context.requestId)))
        requestReads.committed = requestReads.committed
          ? Promise.all([requestReads.committed, commitPromise]).then(noop)
          : commitPromise
        // The caller may have failed for another reason and not await this promise.
        requestReads.committed.catch(noop)
      }
      return requestReads.committed
    },

    /** Deletes expired entries. Returns their number. The database refuses to delete others. */
    deleteExpired: (): Promise<number> => store.deleteBefore(expiredBefore('ledger_entry', world.clock.now())),

    /** The newest entries about a customer, newest first. */
    ofCustomer: (customerId: string, limit: number) => store.ofCustomer(customerId, limit),
  }
}

/** Returns the entries of all added reads and clears them. */
function drainEntries(requestReads: RequestReads, requestId: string): string[] {
  const entries = [...requestReads.readsByKey.values()].map((pendingRead) => entryJson(pendingRead, requestId))
  requestReads.readsByKey.clear()
  requestReads.readsByGrant.clear()
  requestReads.isFlushScheduled = false
  return entries
}

const noop = (): void => undefined

/** The members of an entry that follow from the grant, as JSON. Cached for the lifetime of the grant object. */
const grantJsonCache = new WeakMap<object, string>()
function grantJson(grant: ReadGrant): string {
  let json = grantJsonCache.get(grant)
  if (json === undefined) {
    const { clientId, customerId, consentId, purposes } = grant
    json = JSON.stringify({ clientId, customerId, consentId, purposes }).slice(1, -1)
    grantJsonCache.set(grant, json)
  }
  return json
}

/** An entry as JSON. All values are IDs or enum values, so none needs escaping. */
function entryJson(
  { read: { action, access, detail, subjectId }, accountIds, at }: PendingRead,
  requestId: string,
): string {
  const accounts = `"${[...accountIds].join('","')}"`
  const rest = (detail === undefined ? '' : `,"detail":"${detail}"`) + (subjectId ? `,"subjectId":"${subjectId}"` : '')
  return `{"action":"${action}","requestId":"${requestId}","occurredAt":"${at}",${grantJson(access.grant)},"accountIds":[${accounts}]${rest}}`
}
