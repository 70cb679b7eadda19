import { z } from 'zod'
import { bytesOfText, createBoundedCache } from '../../kernel/cache.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { throwInvalidInput } from '../../kernel/input-faults.ts'
import { digest } from '../../kernel/ids.ts'
import type { Caller } from '../../kernel/request-context.ts'
import { hashDocument, type Clients } from '../../modules/clients/index.ts'

/** Finds the document of a request that has its text or its hash. */
export interface PersistedQueries {
  /**
   * Returns the text of the document. Throws `PERSISTED_QUERY_NOT_FOUND` if the hash is unknown, `INVALID_INPUT` if it is not the
   * hash of the text, and `OPERATION_NOT_REGISTERED` if the client may send only registered documents and this is not one.
   */
  resolveQuery(request: QueryRequest, caller: Caller): Promise<string>
  /** Stores a valid document for the caller's client, if the request has both its text and its hash. */
  save(request: QueryRequest, caller: Caller): void
}

/** The text or the hash of a document (automatic persisted queries, version 1). */
export interface QueryRequest {
  readonly query?: string | null | undefined
  readonly extensions?: Readonly<Record<string, unknown>> | null | undefined
}

const persistedQuery = z.object({ version: z.literal(1), sha256Hash: z.string().regex(/^[0-9a-f]{64}$/) })
const PERSISTED_QUERY = ['extensions', 'persistedQuery']
/** The cache of documents that clients sent together with their hash. */
const CACHE_OPTIONS = { maxBytes: 8_388_608, maxBytesPerOwner: 2_097_152, bytesOf: bytesOfText }

/**
 * Creates the store of documents by hash. Registered documents are in the database; documents that a client sent together with
 * their hash are cached in memory, for that client only. Requests without a token store nothing.
 */
export function createPersistedQueries(clients: Clients): PersistedQueries {
  const cache = createBoundedCache<string>(CACHE_OPTIONS)
  return {
    async resolveQuery({ query, extensions }, caller) {
      const extension = extensions?.['persistedQuery']
      const parsed = extension === undefined ? undefined : persistedQuery.safeParse(extension)
      if (parsed && !parsed.success)
        throwInvalidInput(PERSISTED_QUERY, 'must be `{ version: 1, sha256Hash }`, with a hash of 64 digits from 0 to f')
      const hash = parsed?.data.sha256Hash
      if (query && hash !== undefined && hashDocument(query) !== hash)
        throwInvalidInput([...PERSISTED_QUERY, 'sha256Hash'], 'must be the SHA-256 of `query`')

      if (caller.kind === 'ANONYMOUS') {
        if (query) return query
        throw new GatewayError(hash === undefined ? 'MALFORMED_REQUEST' : 'PERSISTED_QUERY_NOT_FOUND')
      }
      if (caller.registeredOnly) {
        const registered = await clients.findDocument(caller.clientId, hash ?? (query ? hashDocument(query) : ''))
        if (registered === null) throw new GatewayError('OPERATION_NOT_REGISTERED')
        return registered
      }
      if (hash === undefined) {
        if (query) return query
        throw new GatewayError('MALFORMED_REQUEST')
      }
      if (query) return query
      const found = cache.get(cacheKeyOf(caller.clientId, hash)) ?? (await clients.findDocument(caller.clientId, hash))
      if (found === null) throw new GatewayError('PERSISTED_QUERY_NOT_FOUND')
      return found
    },

    save({ query, extensions }, caller) {
      const hash =
        query && extensions?.['persistedQuery'] ? persistedQuery.parse(extensions['persistedQuery']).sha256Hash : ''
      if (!query || !hash || caller.kind === 'ANONYMOUS' || caller.registeredOnly) return
      const key = cacheKeyOf(caller.clientId, hash)
      if (cache.get(key) === undefined) cache.set(key, query, caller.clientId)
    },
  }
}

const cacheKeyOf = (clientId: string, hash: string): string => digest(`${clientId}/${hash}`)
