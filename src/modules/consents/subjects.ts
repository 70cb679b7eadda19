import { bytesOfText, createBoundedCache } from '../../kernel/cache.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import type { Stores } from './stores.ts'

/** Never stale, because a subject never changes. */
const CACHE_OPTIONS = { maxBytes: 4_194_304, bytesOf: bytesOfText }

/** Derives pairwise subjects (OpenID Connect Core 1.0, section 8.1). */
export type Subjects = ReturnType<typeof createSubjects>

/** Derives pairwise subjects, and finds customers by them. */
export function createSubjects({ seal }: ConsentsDependencies, { customers }: Stores) {
  const cache = createBoundedCache<string>(CACHE_OPTIONS)

  return {
    /** The `sub` of a customer for one client. Always the same; no other client can link it to the customer. */
    subjectOf(clientId: string, customerId: string): string {
      const key = `${clientId}/${customerId}`
      const cached = cache.get(key)
      if (cached !== undefined) return cached
      const subject = seal.digest('subject', clientId, customerId)
      cache.set(key, subject)
      return subject
    },

    /** The ID of the customer whom a client knows by `sub`. Undefined if there is none. */
    findCustomerBySubject: (clientId: string, sub: string): Promise<string | undefined> =>
      customers.findBySubject(clientId, sub),
  }
}
