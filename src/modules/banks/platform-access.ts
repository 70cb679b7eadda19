import { GatewayError } from '../../kernel/errors.ts'
import { faultAt, invalidInputError } from '../../kernel/input-faults.ts'
import { createLoadingCache, type LoadingCacheOptions } from '../../kernel/loading-cache.ts'
import { chain, type MaybePromise } from '../../kernel/maybe-promise.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { Database } from '../../storage/database.ts'
import type { Signals } from '../../storage/signals.ts'
import type { Clients, Organization } from '../clients/index.ts'
import type { Change, Ledger } from '../ledger/index.ts'
import type { Outbox } from '../outbox/index.ts'
import { servesOrganization, type BankAndClient, type Connector, type PlatformAccess } from './model.ts'
import type { PlatformAccessStore } from './platform-access-store.ts'

const MAX_ORGANIZATIONS = 500

/** A new setting, as `PlatformAccessInput` states it: exactly one member is given. */
export interface PlatformAccessChoice {
  readonly all?: boolean | null | undefined
  readonly only?: readonly string[] | null | undefined
  readonly allExcept?: readonly string[] | null | undefined
}

/** The dependencies of platform access. */
export interface PlatformAccessDependencies {
  readonly store: PlatformAccessStore
  /** Whether the client registered the bank. */
  readonly isPartnerOf: (clientId: string, bankId: string) => Promise<boolean>
  readonly clients: Pick<Clients, 'find' | 'organizations'>
  readonly database: Database
  readonly ledger: Ledger
  readonly outbox: Pick<Outbox, 'enqueue'>
  readonly signals: Signals
  readonly cacheOptions: LoadingCacheOptions<unknown>
  /** Returns the connector or throws `NOT_FOUND`. */
  readonly requireConnector: (id: string) => Promise<Connector>
}

/** Which platforms each bank serves. A bank decides for itself; nothing of it is disclosed to a platform that it does not serve. */
export function createPlatformAccess(dependencies: PlatformAccessDependencies) {
  const { store, clients, database, ledger, outbox, signals, cacheOptions } = dependencies
  const cache = createLoadingCache<PlatformAccess>(cacheOptions)
  signals.onSignal((signal) => {
    if (signal.kind === 'BANK') cache.invalidate(signal.id)
  })

  const servesOrganizationOf = (access: PlatformAccess, clientId: string): MaybePromise<boolean> =>
    access.mode === 'ALL' ||
    chain(clients.find(clientId), (client) => client !== null && servesOrganization(access, client.organizationId))

  /** Parses a choice. Throws `INVALID_INPUT` with every fault, each at its path in the input of the mutation. */
  async function parseChoice({ all, only, allExcept }: PlatformAccessChoice): Promise<PlatformAccess> {
    if (all === false) throw invalidInputError([faultAt(['access', 'all'], 'must be true')])
    if (only) return { mode: 'ONLY', organizationIds: await parseOrganizationIds(only, ['access', 'only']) }
    if (allExcept)
      return { mode: 'ALL_EXCEPT', organizationIds: await parseOrganizationIds(allExcept, ['access', 'allExcept']) }
    return { mode: 'ALL', organizationIds: [] }
  }

  async function parseOrganizationIds(ids: readonly string[], path: readonly string[]): Promise<readonly string[]> {
    if (ids.length === 0) throw invalidInputError([faultAt(path, 'must have at least 1 item')])
    if (ids.length > MAX_ORGANIZATIONS)
      throw invalidInputError([faultAt(path, `must have at most ${MAX_ORGANIZATIONS} items`)])
    const platformIds = new Set(
      (await clients.organizations.findMany(ids)).filter(({ kind }) => kind === 'PLATFORM').map(({ id }) => id),
    )
    const faults = ids.flatMap((id, index) => {
      // One message for an unknown ID and for an organization of another kind, which the caller may not see.
      const rule = !platformIds.has(id)
        ? 'must be the ID of an organization of kind PLATFORM'
        : ids.indexOf(id) < index && 'must be listed once'
      return rule ? [faultAt([...path, String(index)], rule)] : []
    })
    if (faults.length > 0) throw invalidInputError(faults)
    return [...ids].sort()
  }

  return {
    /** Which platforms the bank serves, as it is stored now. */
    platformAccessOf: (bankId: string): Promise<PlatformAccess> => store.platformAccess(bankId),

    /** The listed organizations of a setting, by name. */
    async listedPlatforms({ organizationIds }: PlatformAccess): Promise<Organization[]> {
      const found = organizationIds.length === 0 ? [] : await clients.organizations.findMany(organizationIds)
      return found.sort((one, other) => one.name.localeCompare(other.name, 'en'))
    },

    /** Whether the bank serves the client's organization. Synchronous if it is cached. */
    servesClient: (bankId: string, clientId: string): MaybePromise<boolean> =>
      chain(
        cache.get(bankId, () => store.platformAccess(bankId)),
        (access) => servesOrganizationOf(access, clientId),
      ),

    /** Throws `PLATFORM_NOT_ALLOWED` unless the bank serves the client's organization, which stays so until `tx` ends. */
    async requireServed(tx: Transaction, { bankId, clientId }: BankAndClient): Promise<void> {
      if (!(await servesOrganizationOf(await store.lockPlatformAccess(tx, bankId, 'SHARED'), clientId)))
        throw new GatewayError('PLATFORM_NOT_ALLOWED')
    },

    /** Those of the clients that the bank does not serve, which stays so until `tx` ends. */
    async lockNotServedClients(tx: Transaction, bankId: string, clientIds: readonly string[]): Promise<string[]> {
      await store.lockPlatformAccess(tx, bankId, 'SHARED')
      const pairs = clientIds.map((clientId) => ({ bankId, clientId }))
      return (await store.findNotServed(pairs, tx)).map(({ clientId }) => clientId)
    },

    /** The IDs of the banks that do not serve the client's organization, as it is stored now. */
    async bankIdsNotServing(clientId: string): Promise<string[]> {
      const client = await clients.find(clientId)
      return client ? store.bankIdsNotServing(client.organizationId) : []
    },

    /**
     * Sets which platforms the connector's bank serves, with effect in every process at the commit. Throws `INVALID_INPUT`
     * with every fault, `NOT_FOUND`, or `FORBIDDEN` for a client that did not register the bank: an admin may see the
     * setting, but the bank decides. Setting what is set already changes nothing.
     */
    async setPlatformAccess(
      actorClientId: string,
      connectorId: string,
      choice: PlatformAccessChoice,
    ): Promise<Connector> {
      const connector = await dependencies.requireConnector(connectorId)
      const { bankId } = connector
      if (!(await dependencies.isPartnerOf(actorClientId, bankId)))
        throw new GatewayError('FORBIDDEN', { path: ['connectorId'], internalMessage: 'only the bank decides' })
      const after = await parseChoice(choice)
      await database.transaction(async (tx) => {
        const before = await store.lockPlatformAccess(tx, bankId, 'EXCLUSIVE')
        const changes = changesOf(before, after)
        if (changes.length === 0) return
        await store.setPlatformAccess(tx, bankId, after)
        const action = 'PLATFORM_ACCESS_CHANGED'
        await ledger.record(tx, { action, clientId: actorClientId, subjectId: bankId, changes })
        await outbox.enqueue(tx, 'bank.platform_access_changed', bankId, bankId)
        await signals.publish(tx, { kind: 'BANK', id: bankId })
      })
      return connector
    },
  }
}

const changesOf = (before: PlatformAccess, after: PlatformAccess): Change[] =>
  [
    { field: 'platformAccess.mode', before: [before.mode], after: [after.mode] },
    { field: 'platformAccess.organizationIds', before: before.organizationIds, after: after.organizationIds },
  ].filter((change) => change.before.join() !== change.after.join())
