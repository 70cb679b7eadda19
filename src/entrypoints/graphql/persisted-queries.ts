import { z } from 'zod'
import { bytesOfText, createBoundedCache } from '../../kernel/cache.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { throwInvalidInput } from '../../kernel/input-faults.ts'
import { digest } from '../../kernel/ids.ts'
import type { Caller } from '../../kernel/request-context.ts'
import { hashDocument, type Clients } from '../../modules/clients/index.ts'

/** Gives the text that a request asks, whether it brings the text or its hash. */
export interface PersistedQueries {
  /**
   * Throws `PERSISTED_QUERY_NOT_FOUND` for a hash that is not known, `INVALID_INPUT` for one that is not the text's, and
   * `OPERATION_NOT_REGISTERED` where the client may ask only what it registered.
   */
  resolveQuery(request: QueryRequest, caller: Caller): Promise<string>
  /** Stores a text that was found valid, for the caller's client, where the request brought its hash with it. */
  save(request: QueryRequest, caller: Caller): void
}

/** A request's text, or the hash that stands for it (automatic persisted queries, version 1). */
export interface QueryRequest {
  readonly query?: string | null | undefined
  readonly extensions?: Readonly<Record<string, unknown>> | null | undefined
}

const persistedQuery = z.object({ version: z.literal(1), sha256Hash: z.string().regex(/^[0-9a-f]{64}$/) })
const PERSISTED_QUERY = ['extensions', 'persistedQuery']
/** Texts that clients have sent beside their hash. */
const CACHE_OPTIONS = { maxBytes: 8_388_608, maxBytesPerOwner: 2_097_152, bytesOf: bytesOfText }

/**
 * Texts by hash: what a client registered, from the table; what it sent beside a hash, in memory, to itself alone. A
 * caller without a token can make nothing be remembered.
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
