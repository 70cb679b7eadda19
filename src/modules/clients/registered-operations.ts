import { createHash } from 'node:crypto'
import { throwInvalidInput } from '../../kernel/input-faults.ts'
import { createLoadingCache, type LoadingCacheOptions } from '../../kernel/loading-cache.ts'
import type { MaybePromise } from '../../kernel/maybe-promise.ts'
import { connectionFromStore, type Connection, type PageArguments } from '../../kernel/pagination.ts'
import type { Database } from '../../storage/database.ts'
import type { Signals } from '../../storage/signals.ts'
import type { Ledger } from '../ledger/index.ts'
import type { RegisteredOperation } from './model.ts'
import type { ClientStore } from './store.ts'

/** The dependencies of registered operations. */
export interface RegisteredOperationsDependencies {
  readonly store: ClientStore
  readonly database: Database
  readonly ledger: Ledger
  readonly signals: Signals
  readonly cacheOptions: LoadingCacheOptions<unknown>
}

const DOCUMENT_CACHE_BYTES = 8_388_608
const MAX_OPERATIONS = 1_000

/** Operations that a client has registered and sends by their hash. */
export function createRegisteredOperations(dependencies: RegisteredOperationsDependencies) {
  const { store, database, ledger, signals, cacheOptions } = dependencies
  const documentCache = createLoadingCache<string | null>({
    ...cacheOptions,
    maxBytes: DOCUMENT_CACHE_BYTES,
    tagsOf: (_document, key) => [key.slice(0, key.indexOf('/'))],
  })
  signals.onSignal((signal) => {
    if (signal.kind === 'CLIENT') documentCache.invalidateTag(signal.id)
  })

  return {
    /** A page of the client's operations, newest first. Throws `INVALID_INPUT` with every fault. */
    registeredOperations: (clientId: string, page: PageArguments): Promise<Connection<RegisteredOperation>> =>
      connectionFromStore<RegisteredOperation, RegisteredOperation>(page, {
        idOf: ({ hash }) => hash,
        findCursor: async (cursor) => (await store.findOperations(clientId, [cursor]))[0],
        read: (slice) => store.registeredOperations(clientId, slice),
      }),

    /** The text of a document that the client has registered, or null. */
    findDocument: (clientId: string, hash: string): MaybePromise<string | null> =>
      documentCache.get(`${clientId}/${hash}`, () => store.document(clientId, hash)),

    /**
     * Registers documents that are valid for the schema and returns their operations, each once, in the order of the documents.
     * Throws `INVALID_INPUT` if the client would have more than 1,000.
     */
    async registerOperations(clientId: string, documentTexts: readonly string[]): Promise<RegisteredOperation[]> {
      const operations = documentTexts.map((document) => ({ hash: hashDocument(document), document }))
      await database.transaction(async (tx) => {
        const count = await store.addOperations(tx, clientId, operations)
        if (count > MAX_OPERATIONS)
          throwInvalidInput(['documents'], `must bring the client to at most ${MAX_OPERATIONS} registered documents`)
        await ledger.record(tx, { action: 'OPERATIONS_REGISTERED', clientId })
        await signals.publish(tx, { kind: 'CLIENT', id: clientId })
      })
      const hashes = [...new Set(operations.map(({ hash }) => hash))]
      const registered = new Map((await store.findOperations(clientId, hashes)).map((one) => [one.hash, one]))
      return hashes.map((hash) => registered.get(hash)!)
    },
  }
}

/** The SHA-256 of a document's text, in hexadecimal. */
export const hashDocument = (document: string): string => createHash('sha256').update(document).digest('hex')
