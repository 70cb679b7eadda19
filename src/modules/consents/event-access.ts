import type { Sql } from '../../storage/database.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import { findActiveConsents } from './event-access-store.ts'
import type { Grant } from './grant.ts'
import { mintGrant } from './shared-access.ts'

/** Finds who may receive events about consents, for many consents in one statement. */
export const createEventAccess = ({ world }: Pick<ConsentsDependencies, 'world'>) => ({
  /**
   * The grants of those of these consents that are active now, of active clients that the bank serves, by the ID of the consent.
   * They cover no account: an event about a consent has nothing of one.
   */
  async findGrants(sql: Sql, consentIds: readonly string[]): Promise<ReadonlyMap<string, Grant>> {
    if (consentIds.length === 0) return new Map()
    const consents = await findActiveConsents(sql, consentIds, world.clock.now())
    const grants = consents.flatMap((consent) => mintGrant({ ...consent, accountIds: [] }))
    return new Map(grants.map((grant) => [grant.consentId, grant]))
  },
})
