import { GatewayError } from '../../kernel/errors.ts'
import { newId } from '../../kernel/ids.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { LedgerAction } from '../ledger/index.ts'
import { findLostRequirement, canAdminister, keepAuthenticatedKids } from './admin-requirements.ts'
import { changesOf } from './changes.ts'
import type { ClientsDependencies } from './dependencies.ts'
import { parseClientChange, parseContactEmail, parseNewClient } from './input.ts'
import type { ClientLookup } from './lookup.ts'
import { kidsOf, DEFAULT_QUOTA, type Client, type ClientChange, type NewClient } from './model.ts'
import type { Organizations } from './organizations.ts'
import type { ClientStore } from './store.ts'

/** The dependencies of registering and changing clients. */
export interface ClientRegistrationDependencies extends ClientsDependencies {
  readonly store: ClientStore
  readonly organizations: Organizations
  readonly lookup: ClientLookup
}

/** How a client is registered. */
export interface ClientRegistrationOptions {
  readonly id?: string
  readonly idempotencyKey?: string | null
  /** Whether the caller made the keys, so that the client is known to hold them. */
  readonly areKeysAuthenticated?: boolean
}

/** One change of a client. */
interface StatusChange {
  readonly action: LedgerAction
  readonly changes: Partial<Client>
  /** The statuses in which it is allowed. */
  readonly from: readonly Client['status'][]
}

/** Registers clients and changes them. Every change is in the ledger, with the values before and after. */
export function createClientRegistration(dependencies: ClientRegistrationDependencies) {
  const { store, database, world, ledger, outbox, signals, idempotency, organizations, lookup, isBearerAllowed } =
    dependencies

  /**
   * Makes one change with its ledger entry. When it returns, the change has effect in every process. Throws `NOT_FOUND`,
   * `STATE_CONFLICT`, or `LAST_ADMIN` if no client would be left that could undo it. Clients that could are locked together, so
   * that of two concurrent changes the second sees the first.
   */
  async function change(
    actorClientId: string,
    id: string,
    { action, changes, from }: StatusChange,
    inSameTransaction: (tx: Transaction) => Promise<unknown> = () => Promise.resolve(),
  ): Promise<Client> {
    await database.transaction(async (tx) => {
      const locked = await store.lockWithAdmins(tx, id)
      const before = locked.find((client) => client.id === id)
      if (!before) throw new GatewayError('NOT_FOUND', { path: ['clientId'] })
      if (!from.includes(before.status)) throw new GatewayError('STATE_CONFLICT', { path: ['clientId'] })
      const allChanges = {
        ...changes,
        ...(changes.jwks && { authenticatedKids: keepAuthenticatedKids(before, changes.jwks) }),
      }
      const after = { ...before, ...allChanges }
      const lostRequirement = findLostRequirement(before, after, isBearerAllowed)
      if (lostRequirement && !locked.some((other) => other.id !== id && canAdminister(other, isBearerAllowed)))
        throw new GatewayError('LAST_ADMIN', { path: [lostRequirement] })
      await store.updateClient(tx, id, allChanges)
      await ledger.record(tx, { action, clientId: actorClientId, subjectId: id, changes: changesOf(before, after) })
      await inSameTransaction(tx)
      await signals.publish(tx, { kind: 'CLIENT', id })
    })
    return lookup.load(id)
  }

  return {
    /** Registers a client. It can authenticate when this returns. Throws `INVALID_INPUT` with every fault. */
    async register(actorClientId: string, input: NewClient, options: ClientRegistrationOptions = {}): Promise<Client> {
      const { id = newId('clnt', world.randomness), idempotencyKey, areKeysAuthenticated = false } = options
      const organization = await organizations.find(input.organizationId)
      const parsed = parseNewClient(input, organization, world.http, isBearerAllowed)
      const client: Client = {
        id,
        ...parsed,
        status: 'ACTIVE',
        authenticatedKids: areKeysAuthenticated ? kidsOf(parsed.jwks) : [],
        ...DEFAULT_QUOTA,
        operationPolicy: 'ANY',
        contactEmail: null,
      }
      const idempotentRequest = { clientId: actorClientId, mutation: 'registerClient', key: idempotencyKey, input }
      const registeredId = await database.transaction((tx) =>
        idempotency.runOnce(tx, idempotentRequest, async () => {
          await store.addClient(tx, client)
          const changes = changesOf(undefined, client)
          await ledger.record(tx, { action: 'CLIENT_REGISTERED', clientId: actorClientId, subjectId: id, changes })
          await signals.publish(tx, { kind: 'CLIENT', id })
          return id
        }),
      )
      return lookup.load(registeredId)
    },

    /** Changes the given fields by the rules of registration. Throws `INVALID_INPUT` with every fault, or `LAST_ADMIN`. */
    update: (actorClientId: string, id: string, input: ClientChange): Promise<Client> =>
      change(actorClientId, id, {
        action: 'CLIENT_CHANGED',
        changes: parseClientChange(input, world.http),
        from: ['ACTIVE', 'SUSPENDED'],
      }),

    /** Sets the contact of the calling client, or removes it with null. Throws `INVALID_INPUT`. */
    setContact: (clientId: string, contactEmail: string | null): Promise<Client> =>
      change(clientId, clientId, {
        action: 'CLIENT_CHANGED',
        changes: { contactEmail: contactEmail === null ? null : parseContactEmail(contactEmail) },
        from: ['ACTIVE'],
      }),

    /** When this returns, no token of the client authorizes anything and none is issued. Throws `LAST_ADMIN`. */
    suspend: (actorClientId: string, id: string): Promise<Client> =>
      change(actorClientId, id, { action: 'CLIENT_SUSPENDED', changes: { status: 'SUSPENDED' }, from: ['ACTIVE'] }),
    resume: (actorClientId: string, id: string): Promise<Client> =>
      change(actorClientId, id, { action: 'CLIENT_RESUMED', changes: { status: 'ACTIVE' }, from: ['SUSPENDED'] }),

    /**
     * Ends a client permanently. When this returns, its tokens authorize nothing; the consents that customers gave it are revoked
     * soon after. Throws `LAST_ADMIN`.
     */
    retire: (actorClientId: string, id: string): Promise<Client> =>
      change(
        actorClientId,
        id,
        { action: 'CLIENT_RETIRED', changes: { status: 'RETIRED' }, from: ['ACTIVE', 'SUSPENDED'] },
        (tx) => outbox.enqueue(tx, 'client.retired', id),
      ),

    /** Records that the client has authenticated with this key, so it holds the private part. */
    async recordAuthenticatedKey(id: string, kid: string): Promise<void> {
      const client = await lookup.find(id)
      if (!client || client.authenticatedKids.includes(kid)) return
      await database.transaction(async (tx) => {
        if (await store.addAuthenticatedKey(tx, id, kid)) await signals.publish(tx, { kind: 'CLIENT', id })
      })
    },
  }
}
