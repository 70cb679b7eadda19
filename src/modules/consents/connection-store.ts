import type { Transaction } from '../../kernel/transaction.ts'
import { within, type Database } from '../../storage/database.ts'

/** What a bank gave us for a customer, as far as it is needed to go there. */
export interface ConnectionRow {
  readonly id: string
  readonly customerId: string
  readonly connectorId: string
  readonly sealedAccess: string | null
  readonly tokenExpiresAt: Date
}
const CONNECTIONS = `
  select id, customer_id as "customerId", connector_id as "connectorId", sealed_access as "sealedAccess",
    token_expires_at as "tokenExpiresAt"
  from connection where id = any($1::text[])`
/** Connections: what banks gave us, sealed, and who is renewing it. */
export const connectionStore = (database: Database) => ({
  async addConnection(
    tx: Transaction,
    connection: {
      id: string
      customerId: string
      connectorId: string
      sealedAccess: string
      consentDigest: string
      customerDigest: string | null
      tokenExpiresAt: Date
    },
  ): Promise<void> {
    await within(tx).connection.create({ data: { ...connection, state: 'OPEN' } })
  },

  /** Gives a new connection to a customer; the one that it was made under is deleted where it is another. */
  async giveConnection(
    tx: Transaction,
    { id, customerId: madeUnder }: Pick<ConnectionRow, 'id' | 'customerId'>,
    customerId: string,
  ): Promise<void> {
    if (customerId === madeUnder) return
    await within(tx).connection.update({ where: { id }, data: { customerId } })
    await within(tx).customer.delete({ where: { id: madeUnder } })
  },

  /** Those of these ids, in no order. */
  connections: (ids: readonly string[]): Promise<ConnectionRow[]> =>
    database.remember<ConnectionRow>('connections', CONNECTIONS, [ids]),

  connectionByConsent: (connectorId: string, consentDigest: string) =>
    database.tables.connection.findUnique({ where: { connectorId_consentDigest: { connectorId, consentDigest } } }),

  /**
   * Claims the renewal of tokens that are still those that were read, until a time; false where somebody else renews them or
   * did so already. Told by when they end and not by the sealed text, which a rotation changes at any time.
   */
  async claimRenewal({ id, tokenExpiresAt }: ConnectionRow, now: Date, until: Date): Promise<boolean> {
    const { count } = await database.tables.connection.updateMany({
      where: {
        id,
        tokenExpiresAt,
        sealedAccess: { not: null },
        OR: [{ renewingUntil: null }, { renewingUntil: { lt: now } }],
      },
      data: { renewingUntil: until },
    })
    return count === 1
  },

  /** Replaces the tokens and lets go of the claim, while both are there. */
  async replaceAccess(id: string, claimedUntil: Date, sealedAccess: string, tokenExpiresAt: Date): Promise<boolean> {
    const { count } = await database.tables.connection.updateMany({
      where: { id, renewingUntil: claimedUntil, sealedAccess: { not: null } },
      data: { sealedAccess, tokenExpiresAt, renewingUntil: null },
    })
    return count === 1
  },

  /** Forgets tokens that the bank takes no more, unless somebody else renews them by now. */
  async loseAccess(id: string, claimedUntil: Date): Promise<void> {
    await database.tables.connection.updateMany({
      where: { id, renewingUntil: claimedUntil, sealedAccess: { not: null } },
      data: { state: 'RECONNECT', sealedAccess: null, renewingUntil: null },
    })
  },

  /** Lets go of a claim that came to nothing. */
  async releaseRenewal(id: string, claimedUntil: Date): Promise<void> {
    await database.tables.connection.updateMany({
      where: { id, renewingUntil: claimedUntil },
      data: { renewingUntil: null },
    })
  },

  async endConnection(id: string, at: Date): Promise<void> {
    await database.tables.connection.update({
      where: { id },
      data: { state: 'ENDED', endedAt: at, sealedAccess: null },
    })
  },
})
