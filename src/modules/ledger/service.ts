import type { RequestContext } from '../../kernel/request-context.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { LedgerEntry, ReadRecord } from './model.ts'
import { ledgerStore } from './store.ts'

/** Who read or changed what, when and why. */
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

/** What one request reads, until and while it is written. */
interface RequestReads {
  readonly readsByKey: Map<string, PendingRead>
  /** Reads of `readsByKey` that name no subject, by the grant object that they were added with. */
  readonly readsByGrant: Map<ReadGrant, PendingRead[]>
  isFlushScheduled: boolean
  committed: Promise<unknown> | undefined
}

/** Entries of reads are written at most this often by one process; the first at once. */
const MIN_WRITE_INTERVAL_MS = 3

/** Adds lines and reads them; nothing here changes one. */
export function createLedger({ database, world }: { database: Database; world: World }) {
  const store = ledgerStore(database)
  const readsByRequest = new WeakMap<RequestContext, RequestReads>()
  let pendingWrites: PendingWrite[] = []
  let isWriting = false
  let lastWriteMs = -MIN_WRITE_INTERVAL_MS

  /** What came while the last statement ran goes into the next one together; each waits until its own is committed. */
  async function writePending(): Promise<void> {
    isWriting = true
    while (pendingWrites.length > 0) {
      // Under load, a moment's patience makes one statement of many.
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

  /** Writes entries of reads; resolves once they are committed. */
  function writeReads(entries: readonly string[]): Promise<void> {
    return new Promise((resolve, reject) => {
      pendingWrites.push({ entries, resolve, reject })
      if (!isWriting) void writePending()
    })
  }

  return {
    /** Writes in the transaction of the change that the entry tells of. */
    record: (tx: Transaction, entry: LedgerEntry): Promise<void> => store.add([entry], world.clock.now(), tx),

    /** The same for several entries of one change. */
    recordAll: (tx: Transaction, entries: readonly LedgerEntry[]): Promise<void> =>
      store.add(entries, world.clock.now(), tx),

    /**
     * Notes that something of a customer is read for this request. It is written by `settle`, without which no answer
     * leaves; reads of the same action under the same consent become one entry.
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
      // A list adds the same few kinds of reads for each of its rows. Building and hashing a key each time would cost more.
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
     * Writes what was noted; resolves once all of it is committed. To be awaited before a bank is asked or anybody outside
     * learns of what was read. Throws where it could not be written, then and every time after for the same request.
     */
    commitReads(context: RequestContext): Promise<unknown> | undefined {
      const requestReads = readsByRequest.get(context)
      if (!requestReads) return undefined
      if (requestReads.readsByKey.size > 0 && !requestReads.isFlushScheduled) {
        requestReads.isFlushScheduled = true
        // A list asks of one row after the other: what is noted in the same breath goes into the same entries.
        const commitPromise = Promise.resolve().then(() => writeReads(drainEntries(requestReads, context.requestId)))
        requestReads.committed = requestReads.committed
          ? Promise.all([requestReads.committed, commitPromise]).then(noop)
          : commitPromise
        // Whoever asked may have failed by something else before they looked at this.
        requestReads.committed.catch(noop)
      }
      return requestReads.committed
    },

    /** The newest entries about one customer, newest first. */
    ofCustomer: (customerId: string, limit: number) => store.ofCustomer(customerId, limit),
  }
}

/** The entries of all that was noted; what is noted from now on goes into others. */
function drainEntries(requestReads: RequestReads, requestId: string): string[] {
  const entries = [...requestReads.readsByKey.values()].map((pendingRead) => entryJson(pendingRead, requestId))
  requestReads.readsByKey.clear()
  requestReads.readsByGrant.clear()
  requestReads.isFlushScheduled = false
  return entries
}

const noop = (): void => undefined

/** What a grant says of who read, as JSON members: made once for as long as the grant is remembered. */
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

/** An entry as JSON. Every value is an id or a word of our own, so that none needs escaping. */
function entryJson(
  { read: { action, access, detail, subjectId }, accountIds, at }: PendingRead,
  requestId: string,
): string {
  const accounts = `"${[...accountIds].join('","')}"`
  const rest = (detail === undefined ? '' : `,"detail":"${detail}"`) + (subjectId ? `,"subjectId":"${subjectId}"` : '')
  return `{"action":"${action}","requestId":"${requestId}","occurredAt":"${at}",${grantJson(access.grant)},"accountIds":[${accounts}]${rest}}`
}
