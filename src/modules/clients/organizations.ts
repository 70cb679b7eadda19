import { isUniqueViolation } from '../../kernel/database-errors.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { newId } from '../../kernel/ids.ts'
import { connectionFromStore, type Connection, type PageArguments } from '../../kernel/pagination.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Idempotency } from '../../storage/idempotency.ts'
import type { Ledger } from '../ledger/index.ts'
import { organizationChangesOf } from './changes.ts'
import { findSearchFaults, parseName } from './input.ts'
import type { Organization, OrganizationFilter } from './model.ts'
import { organizationStore } from './organization-store.ts'

/** Dependencies of organizations. */
export interface OrganizationsDependencies {
  readonly database: Database
  readonly world: Pick<World, 'randomness'>
  readonly ledger: Ledger
  readonly idempotency: Idempotency
}

/** Organizations, which own clients. */
export type Organizations = ReturnType<typeof createOrganizations>

/** Creates the service. Every change is in the ledger. Organizations are not cached. */
export function createOrganizations({ database, world, ledger, idempotency }: OrganizationsDependencies) {
  const store = organizationStore(database)

  return {
    find: (id: string): Promise<Organization | null> => store.find(id),
    findMany: (ids: readonly string[]): Promise<Organization[]> => store.findMany(ids),
    findByName: (name: string): Promise<Organization | null> => store.findByName(name),

    /** A page of all organizations, by name. Throws `INVALID_INPUT` with every fault. */
    list: (filter: OrganizationFilter, page: PageArguments): Promise<Connection<Organization>> =>
      connectionFromStore<Organization, Organization>(page, {
        idOf: ({ id }) => id,
        findCursor: (cursor) => store.find(cursor),
        read: (slice) => store.list(filter, slice),
        otherFaults: findSearchFaults(filter),
      }),

    /** Registers an organization. Throws `STATE_CONFLICT` if the name is taken, and `INVALID_INPUT` if it is not allowed. */
    async register(
      actorClientId: string,
      { kind, name }: Pick<Organization, 'kind' | 'name'>,
      idempotencyKey?: string | null,
    ): Promise<Organization> {
      const organization = { id: newId('org', world.randomness), kind, name: parseName(name) }
      const id = await database.transaction((tx) =>
        idempotency.runOnce(
          tx,
          {
            clientId: actorClientId,
            mutation: 'registerOrganization',
            key: idempotencyKey,
            input: { kind, name },
          },
          async () => {
            if (!(await store.add(tx, organization))) throw new GatewayError('STATE_CONFLICT', { path: ['name'] })
            await ledger.record(tx, {
              action: 'ORGANIZATION_REGISTERED',
              clientId: actorClientId,
              subjectId: organization.id,
              changes: organizationChangesOf(undefined, organization),
            })
            return organization.id
          },
        ),
      )
      return (await store.find(id))!
    },

    /**
     * Renames an organization, by the rules of its registration; the next page of every process shows the new name. Throws
     * `INVALID_INPUT`, `NOT_FOUND`, or `STATE_CONFLICT` if another organization has the name.
     */
    async update(actorClientId: string, id: string, name: string): Promise<Organization> {
      const newName = parseName(name)
      try {
        return await database.transaction(async (tx) => {
          const before = await store.lock(tx, id)
          if (!before) throw new GatewayError('NOT_FOUND', { path: ['organizationId'] })
          const after = { ...before, name: newName }
          await store.rename(tx, after)
          const changes = organizationChangesOf(before, after)
          await ledger.record(tx, { action: 'ORGANIZATION_CHANGED', clientId: actorClientId, subjectId: id, changes })
          return after
        })
      } catch (error) {
        throw isUniqueViolation(error) ? new GatewayError('STATE_CONFLICT', { path: ['name'] }) : error
      }
    },
  }
}
