import type { Transaction } from '../../kernel/transaction.ts'
import { deleteInBatches } from '../../storage/batch-delete.ts'
import { tablesIn, type Database } from '../../storage/database.ts'

/** Sealed keys of an endpoint. */
export interface StoredSecret {
  readonly id: string
  readonly webhookEndpointId: string
  readonly sealed: string
  readonly createdAt: Date
}

/** The signing secrets and key pairs of webhook endpoints. */
export const webhookSecretStore = (database: Database) => ({
  async add(tx: Transaction, secret: StoredSecret): Promise<void> {
    await tablesIn(tx).webhookSecret.create({ data: secret })
  },

  find: (id: string): Promise<StoredSecret | null> => database.tables.webhookSecret.findUnique({ where: { id } }),

  /** Until when each earlier secret of the endpoint signs, if it signs after `now`; earliest first. */
  async listOverlaps(tx: Transaction, webhookEndpointId: string, now: Date): Promise<Date[]> {
    const rows = await tablesIn(tx).webhookSecret.findMany({
      where: { webhookEndpointId, signsUntil: { gt: now } },
      select: { signsUntil: true },
      orderBy: { signsUntil: 'asc' },
    })
    return rows.map(({ signsUntil }) => signsUntil!)
  },

  /** From now on, the secrets of the endpoint sign until this time at most. */
  async endAt(tx: Transaction, webhookEndpointId: string, until: Date): Promise<void> {
    await tablesIn(tx).webhookSecret.updateMany({
      where: { webhookEndpointId, OR: [{ signsUntil: null }, { signsUntil: { gt: until } }] },
      data: { signsUntil: until },
    })
  },

  /** Deletes secrets that do not sign any more. Returns their number. */
  deleteEnded: (now: Date): Promise<number> =>
    deleteInBatches(database, {
      table: 'webhook_secret',
      where: 'signs_until < $1',
      orderBy: 'signs_until',
      values: [now],
    }),
})

/** The store of secrets. */
export type WebhookSecretStore = ReturnType<typeof webhookSecretStore>
