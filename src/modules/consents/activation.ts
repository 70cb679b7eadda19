import { GatewayError } from '../../kernel/errors.ts'
import { newId } from '../../kernel/ids.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import type { Receipt } from './model.ts'
import type { Stores } from './stores.ts'

/** Stores what makes an OAuth answer redeemable, in the transaction that it is given. */
type StoreArtifact = (tx: Transaction) => Promise<void>

/**
 * Ties a consent's state to the authorization server's: ACTIVE with the authorization code, and for good with the first
 * token. There is no moment at which a consent is ACTIVE and nobody can redeem it.
 */
export function createActivation(
  { database, world, banks, ledger, outbox, signals }: ConsentsDependencies,
  { consents, connections, receipts }: Stores,
  hasEndedAtBank: (connectionId: string) => Promise<boolean>,
) {
  return {
    /**
     * Makes the consent of this grant ACTIVE, with its receipts, ledger entry and messages, in the same transaction in which
     * `storeCode` stores the authorization code (RFC 6749, 4.1.2). Where nobody redeems it until `redeemBy`, the consent
     * ends. Throws `INTERACTION_EXPIRED`, and stores no code, where the consent is not PENDING any more.
     */
    async activate(oauthGrantId: string, redeemBy: Date, storeCode: StoreArtifact): Promise<void> {
      const now = world.clock.now()
      const pending = await consents.findByOauthGrant(oauthGrantId)
      const { id, clientId, bankId, customerId, connectionId, purposes } = pending ?? {}
      if (!id || !clientId || !bankId || !customerId || !connectionId || !purposes)
        throw new GatewayError('INTERACTION_EXPIRED', { internalMessage: 'no consent for this grant' })
      const { connectorId } = (await connections.findMany([connectionId]))[0]!
      const connector = await banks.findConnector(connectorId)
      const endsOlderConsents = connector !== null && banks.newConsentEndsEarlier(connector)
      const endedConnectionIds = endsOlderConsents
        ? await filterEndedAtBank(await connections.findOlder(customerId, connectorId, connectionId))
        : []
      await database.transaction(async (tx) => {
        await consents.lockCustomer(tx, customerId)
        if (!(await consents.transition(tx, id, 'PENDING', 'ACTIVE', { activatedAt: now, redeemBy })))
          throw new GatewayError('INTERACTION_EXPIRED', { internalMessage: 'the consent is not pending' })
        await storeCode(tx)
        await consents.moveToConnection(tx, customerId, endedConnectionIds, connectionId)
        for (const olderConnectionId of endedConnectionIds)
          await outbox.enqueue(tx, 'connection.end', olderConnectionId, bankId)
        // Of other customers: the same person whom nothing has proved, whose consents the bank may have ended as well.
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
     * Stores a token of this grant while its consent is ACTIVE. With a refresh token the consent counts as redeemed: an access
     * token alone would end in minutes and leave a consent that nobody can use. Throws `NOT_CONSENTED`, and stores no token,
     * where the consent is not ACTIVE.
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
   * Those connections that the bank has ended because of the new one. The bank is asked: the other holder of a joint account is
   * another person there, whose consent ends nobody else's.
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
