import { SECOND_MS } from '../../kernel/clock.ts'
import type { ClientsDependencies } from './dependencies.ts'
import { createLookup } from './lookup.ts'
import { createNotices } from './notices.ts'
import { createOrganizations } from './organizations.ts'
import { createQuotas } from './quota.ts'
import { createRegisteredOperations } from './registered-operations.ts'
import { createClientRegistration } from './registration.ts'
import { clientStore, quotaStore, usageStore } from './store.ts'
import { createUsage } from './usage.ts'

/** Organizations and their OAuth clients. */
export type Clients = ReturnType<typeof createClients>

const CACHE_LIMITS = { maxBytes: 4_194_304, ttlMs: 30 * SECOND_MS }

/** Creates the service from its parts. */
export function createClients(dependencies: ClientsDependencies) {
  const { database, world, signals } = dependencies
  const store = clientStore(database)
  const cacheOptions = { clock: world.clock, ...CACHE_LIMITS, coherence: signals.coherence }
  const organizations = createOrganizations(dependencies)
  const usage = createUsage(usageStore(database), world)
  const lookup = createLookup({ store, organizations, signals, cacheOptions })
  return {
    ...lookup,
    ...createClientRegistration({ ...dependencies, store, organizations, lookup }),
    ...createRegisteredOperations({ ...dependencies, store, cacheOptions }),
    organizations,
    /** The points that each caller may spend per minute. */
    quotas: createQuotas(quotaStore(database), world, usage),
    usage,
    notices: createNotices(database, world, dependencies.mail),
  }
}
