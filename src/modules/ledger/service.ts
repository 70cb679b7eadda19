import type { RequestContext } from '../../kernel/request.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { LedgerEntry, ReadNote } from './model.ts'
import { ledgerStore } from './store.ts'

/** Who read or changed what, when and why. */
export type Ledger = ReturnType<typeof createLedger>

interface Waiting {
  /** Entries as JSON. */
  readonly entries: readonly string[]
  readonly done: () => void
  readonly failed: (error: unknown) => void
}

interface Noted {
  readonly read: ReadNote
  readonly accountIds: Set<string>
  /** ISO 8601. */
  readonly at: string
}

/** What one request reads, until and while it is written. */
interface Page {
  readonly notes: Map<string, Noted>
  last: Noted | undefined
  isClosing: boolean
  written: Promise<unknown> | undefined
}

/** Entries of reads are written at most this often by one process; the first at once. */
const BETWEEN_WRITES_MS = 3

/** Adds lines and reads them; nothing here changes one. */
export function createLedger({ database, world }: { database: Database; world: World }) {
  const store = ledgerStore(database)
  const pages = new WeakMap<RequestContext, Page>()
  let waiting: Waiting[] = []
  let writing = false
  let lastWriteMs = -BETWEEN_WRITES_MS

  /** What came while the last statement ran goes into the next one together; each waits until its own is committed. */
  async function write(): Promise<void> {
    writing = true
    while (waiting.length > 0) {
      // Under load, a moment's patience makes one statement of many.
      const restMs = lastWriteMs + BETWEEN_WRITES_MS - performance.now()
      if (restMs > 0) await new Promise((resolve) => setTimeout(resolve, restMs))
      lastWriteMs = performance.now()
      const batch = waiting
      waiting = []
      try {
        await store.addReads(batch.flatMap(({ entries }) => entries))
        for (const { done } of batch) done()
      } catch (error) {
        for (const { failed } of batch) failed(error)
      }
    }
    writing = false
  }

  /** Writes entries of reads; resolves once they are committed. */
  function commit(entries: readonly string[]): Promise<void> {
    return new Promise((done, failed) => {
      waiting.push({ entries, done, failed })
      if (!writing) void write()
    })
  }

  return {
    /** Writes in the transaction of the change that the entry tells of. */
    record: (tx: Transaction, entry: LedgerEntry): Promise<void> => store.add([entry], world.clock.now(), tx),

    /**
     * Notes that something of a customer is read for this request. It is written by `settle`, without which no answer
     * leaves; reads of the same kind under the same consent become one entry.
     */
    note(context: RequestContext, read: ReadNote, accountIds: readonly string[]): void {
      let page = pages.get(context)
      if (!page)
        pages.set(context, (page = { notes: new Map(), written: undefined, last: undefined, isClosing: false }))
      const { last } = page
      // A list notes the same of one row after the other.
      if (last?.read.grant === read.grant && last.read.kind === read.kind && last.read.detail === read.detail)
        if (read.subjectId === undefined && last.read.subjectId === undefined) {
          for (const id of accountIds) last.accountIds.add(id)
          return
        }
      const key = `${read.kind}/${read.grant.consentId}/${read.detail ?? ''}/${read.subjectId ?? ''}`
      const note = page.notes.get(key)
      if (note) for (const id of accountIds) note.accountIds.add(id)
      else {
        page.last = { read, accountIds: new Set(accountIds), at: world.clock.now().toISOString() }
        page.notes.set(key, page.last)
      }
    },

    /**
     * Writes what was noted; resolves once all of it is committed. To be awaited before a bank is asked or anybody outside
     * learns of what was read. Throws where it could not be written, then and every time after for the same request.
     */
    settle(context: RequestContext): Promise<unknown> | undefined {
      const page = pages.get(context)
      if (!page) return undefined
      if (page.notes.size > 0 && !page.isClosing) {
        page.isClosing = true
        // A list asks of one row after the other: what is noted in the same breath goes into the same entries.
        const now = Promise.resolve().then(() => commit(closed(page, context.requestId)))
        page.written = page.written ? Promise.all([page.written, now]).then(nothing) : now
        // Whoever asked may have failed by something else before they looked at this.
        page.written.catch(nothing)
      }
      return page.written
    },

    /** The newest entries about one thing, such as a connector, newest first. */
    ofSubject: (subjectId: string, limit: number) => store.ofSubject(subjectId, limit),

    /** The newest entries about one customer, newest first. */
    ofCustomer: (customerId: string, limit: number) => store.ofCustomer(customerId, limit),
  }
}

/** The entries of all that was noted; what is noted from now on goes into others. */
function closed(page: Page, requestId: string): string[] {
  const entries = [...page.notes.values()].map((note) => entryText(note, requestId))
  page.notes.clear()
  page.last = undefined
  page.isClosing = false
  return entries
}

const nothing = (): void => undefined

/** What a grant says of who read, as JSON members: made once for as long as the grant is remembered. */
const grantTexts = new WeakMap<object, string>()
function grantText(grant: ReadNote['grant']): string {
  let text = grantTexts.get(grant)
  if (text === undefined) {
    const { clientId, customerId, consentId, purposes } = grant
    text = JSON.stringify({ clientId, customerId, consentId, purposes }).slice(1, -1)
    grantTexts.set(grant, text)
  }
  return text
}

/** An entry as JSON. Every value is an id or a word of our own, so that none needs escaping. */
function entryText({ read: { kind, grant, detail, subjectId }, accountIds, at }: Noted, requestId: string): string {
  const accounts = accountIds.size === 0 ? '' : `"${[...accountIds].join('","')}"`
  const rest = (detail === undefined ? '' : `,"detail":"${detail}"`) + (subjectId ? `,"subjectId":"${subjectId}"` : '')
  return `{"kind":"${kind}","requestId":"${requestId}","at":"${at}",${grantText(grant)},"accountIds":[${accounts}]${rest}}`
}
