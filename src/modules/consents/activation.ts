import { GatewayError } from '../../kernel/errors.ts'
import { newId } from '../../kernel/ids.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import type { Receipt } from './model.ts'
import { firstReminderAfter } from './reminder-steps.ts'
import type { Stores } from './stores.ts'

/** Stores an authorization code or a token in the given transaction. */
type StoreArtifact = (tx: Transaction) => Promise<void>

/**
 * Activates consents together with what the authorization server issues for them: a consent becomes ACTIVE in the transaction
 * that stores its authorization code, and permanent in the one that stores its first refresh token.
 */
export function createActivation(
  { database, world, banks, ledger, outbox, signals }: ConsentsDependencies,
  { consents, connections, receipts }: Stores,
  hasEndedAtBank: (connectionId: string) => Promise<boolean>,
) {
  return {
    /**
     * Activates the PENDING consent of a grant, with its receipts and its ledger entry, in the transaction in which `storeCode`
     * stores the authorization code (RFC 6749, section 4.1.2). If the code is not redeemed by `redeemBy`, the consent ends.
     * Throws `INTERACTION_EXPIRED` if the consent is not PENDING, or `PLATFORM_NOT_ALLOWED` if the bank does not serve the client;
     * then it stores no code.
     */
    async activate(oauthGrantId: string, redeemBy: Date, storeCode: StoreArtifact): Promise<void> {
      const now = world.clock.now()
      const pending = await consents.findByOauthGrant(oauthGrantId)
      const { id, clientId, bankId, customerId, connectionId, purposes, expiresAt } = pending ?? {}
      if (!id || !clientId || !bankId || !customerId || !connectionId || !purposes || !expiresAt)
        throw new GatewayError('INTERACTION_EXPIRED', { internalMessage: 'no consent for this grant' })
      const { connectorId } = (await connections.findMany([connectionId]))[0]!
      const connector = await banks.findConnector(connectorId)
      const endsOlderConsents = connector !== null && banks.newConsentEndsEarlier(connector)
      const endedConnectionIds = endsOlderConsents
        ? await filterEndedAtBank(await connections.findOlder(customerId, connectorId, connectionId))
        : []
      await database.transaction(async (tx) => {
        // From here to the commit, the bank cannot change which platforms it serves.
        await banks.requireServed(tx, { bankId, clientId })
        await consents.lockCustomer(tx, customerId)
        const change = { activatedAt: now, redeemBy, reminderDueAt: firstReminderAfter(now, expiresAt) }
        if (!(await consents.transition(tx, id, 'PENDING', 'ACTIVE', change)))
          throw new GatewayError('INTERACTION_EXPIRED', { internalMessage: 'the consent is not pending' })
        await storeCode(tx)
        await consents.moveToConnection(tx, customerId, endedConnectionIds, connectionId)
        for (const olderConnectionId of endedConnectionIds)
          await outbox.enqueue(tx, 'connection.end', olderConnectionId, bankId)
        // Connections of other customers may belong to the same person. Then the bank has ended their consents, too.
        const overlappingConnectionIds = endsOlderConsents
          ? await connections.findOverlapping(tx, id, connectionId)
          : []
        for (const overlappingConnectionId of overlappingConnectionIds)
          if (!endedConnectionIds.includes(overlappingConnectionId))
            await outbox.enqueue(tx, 'connection.check', overlappingConnectionId, bankId)
        await receipts.add(tx, id, buildGrantReceipts(), now)
        await ledger.record(tx, { action: 'CONSENT_GRANTED', clientId, customerId, consentId: id, purposes })
        await outbox.enqueue(tx, 'consent.changed', id)
        await signals.publish(tx, { kind: 'CONSENT', id, customerId })
      })
    },

    /**
     * Stores a token of a grant whose consent is ACTIVE. Only a refresh token makes the code count as redeemed: after an access
     * token alone, the consent would soon be of no use to anybody. Throws `NOT_CONSENTED`, and stores no token, if the consent
     * is not ACTIVE.
     */
    async redeem(oauthGrantId: string, isRefreshToken: boolean, storeToken: StoreArtifact): Promise<void> {
      await database.transaction(async (tx) => {
        if (!(await consents.redeem(tx, oauthGrantId, isRefreshToken)))
          throw new GatewayError('NOT_CONSENTED', { internalMessage: 'a token for a consent that is not active' })
        await storeToken(tx)
      })
    },
  }

  /**
   * The connections whose bank-side consent the new one has ended. The bank decides, because it tells the holders of a joint
   * account apart: a consent of one ends no consent of the other. A connection whose bank does not answer is left out.
   */
  async function filterEndedAtBank(connectionIds: readonly string[]): Promise<string[]> {
    const ended = await Promise.all(connectionIds.map((id) => hasEndedAtBank(id).catch(() => false)))
    return connectionIds.filter((_id, index) => ended[index])
  }

  function buildGrantReceipts(): (Receipt & { id: string })[] {
    return (['CUSTOMER', 'CLIENT', 'BANK'] as const).map((party) => ({
      id: newId('rcpt', world.randomness),
      kind: 'GRANTED',
      party,
      result: 'DONE',
    }))
  }
}
