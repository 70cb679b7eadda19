import { ERROR_CODES, GatewayError, type InputFault } from '../../kernel/errors.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import type { Ending } from './ending.ts'
import type { Consent, ConsentActor } from './model.ts'
import type { Rejection } from './rejection.ts'
import type { Stores } from './stores.ts'
import type { Tokens } from './tokens.ts'

const RETIRED_CLIENT_BATCH_SIZE = 100

/** Whose consents are withdrawn. */
interface ConsentParties {
  readonly customerId: string
  readonly clientId: string
}

/** Ends consents because the customer, the client, the bank or an admin wants it. `ending.ts` has what follows from it. */
export function createRevocation(
  { database, world, seal, banks, outbox, signals }: ConsentsDependencies,
  { consents, connections }: Stores,
  rejection: Rejection,
  ending: Ending,
  tokens: Tokens,
) {
  return {
    /** Ends a consent. False if it was not ACTIVE. */
    async revoke(consentId: string, by: ConsentActor): Promise<boolean> {
      const consent = await consents.find(consentId)
      return consent !== null && revokeConsent(consent, by)
    },

    /** Ends the consent of a grant of the authorization server. False if it was not ACTIVE. */
    async revokeByOauthGrant(oauthGrantId: string, by: ConsentActor): Promise<boolean> {
      const consent = await consents.findByOauthGrant(oauthGrantId)
      return consent !== null && revokeConsent(consent, by)
    },

    /** Ends consents of a retired client, up to 100 at a time: if more may be left, the message is enqueued again. */
    async revokeAllOfClient(clientId: string): Promise<void> {
      const active = await consents.findActiveByClient(clientId, RETIRED_CLIENT_BATCH_SIZE)
      for (const consent of active) await revokeConsent(consent, 'ADMIN')
      if (active.length === RETIRED_CLIENT_BATCH_SIZE)
        await database.transaction((tx) => outbox.enqueue(tx, 'client.retired', clientId))
    },

    /** Ends every consent that depends on this bank-side consent; returns how many. */
    async revokeByBankConsent(connectorId: string, consentRef: string): Promise<number> {
      const consentDigest = seal.digest('bank-consent', connectorId, consentRef)
      const connection = await connections.findByBankConsent(connectorId, consentDigest)
      if (!connection) return 0
      const ended = await Promise.all((await consents.findByConnection(connection.id)).map(endByBank))
      return ended.filter(Boolean).length
    },

    /** Ends the consents of a connection if the bank says that its own consent has ended. Throws the bank's error. */
    async checkConnection(connectionId: string): Promise<void> {
      if (!(await hasEndedAtBank(connectionId))) return
      for (const consent of await consents.findByConnection(connectionId)) await endByBank(consent)
    },

    hasEndedAtBank,
    withdraw,
  }

  function revokeConsent(consent: Consent, endedBy: ConsentActor): Promise<boolean> {
    return ending.end(consent, { status: 'REVOKED', endedBy })
  }

  /** Handles both statuses, because a consent that was read as PENDING can be ACTIVE by now. */
  async function endByBank(consent: Consent): Promise<boolean> {
    return (
      (consent.status === 'PENDING' && (await rejection.reject(consent.id, { code: 'REVOKED_AT_BANK' }))) ||
      revokeConsent(consent, 'CUSTOMER_AT_BANK')
    )
  }

  /** Whether the bank says that its consent of this connection has ended. False if its standard cannot tell. */
  async function hasEndedAtBank(connectionId: string): Promise<boolean> {
    const connection = await tokens.findConnection(connectionId)
    if (!connection?.sealedAccess) return false
    const { access } = await tokens.read(connectionId)
    const bank = await banks.getActiveBank(connection.connectorId)
    return (await bank.isConsentEnded?.(access.consentRef)) ?? false
  }

  /**
   * Withdraws consents of a customer with one client in one transaction: those with these IDs, or all, including PENDING ones
   * whose customer has returned from the bank. Returns the named consents, or all that ended, as they are afterwards. Throws
   * `NOT_FOUND` with a fault for each ID that is not theirs, and ends nothing.
   */
  async function withdraw({ customerId, clientId }: ConsentParties, ids?: readonly string[]): Promise<Consent[]> {
    const now = world.clock.now()
    const { named, ended } = await database.transaction(async (tx) => {
      const own = await consents.lockByCustomer(tx, customerId, clientId)
      const ownIds = new Set(own.map(({ id }) => id))
      const faults = (ids ?? []).flatMap((id, index) => (ownIds.has(id) ? [] : [unknownConsentFault(index)]))
      if (faults.length > 0) throw new GatewayError('NOT_FOUND', { faults })
      const named = ids ? own.filter(({ id }) => ids.includes(id)) : own
      const ended = new Map<string, Consent>()
      for (const consent of named) {
        const changed = await withdrawInTransaction(tx, consent, now)
        if (changed) ended.set(consent.id, changed)
      }
      return { named, ended }
    })
    for (const { id, status } of named)
      if (ended.has(id) && status === 'PENDING') rejection.logRejected(id, { code: 'INTERACTION_ENDED' })
    return ids ? named.map((consent) => ended.get(consent.id) ?? consent) : [...ended.values()]
  }

  /** The consent as it is afterwards. Undefined if it had ended before. */
  async function withdrawInTransaction(tx: Transaction, consent: Consent, now: Date): Promise<Consent | undefined> {
    const end = { endedAt: now, endedBy: 'CUSTOMER_AT_GATEWAY' } as const
    if (consent.status === 'PENDING' && (await rejection.rejectInTransaction(tx, consent.id, end.endedBy, now))) {
      await signals.publish(tx, { kind: 'CONSENT', id: consent.id, customerId: consent.customerId })
      return { ...consent, ...end, status: 'REJECTED', customerId: null }
    }
    if (consent.status === 'ACTIVE' && (await ending.endInTransaction(tx, consent, { ...end, status: 'REVOKED' })))
      return { ...consent, ...end, status: 'REVOKED' }
    return undefined
  }
}

const unknownConsentFault = (index: number): InputFault => ({
  path: ['consentIds', String(index)],
  message: ERROR_CODES.NOT_FOUND.message,
})
