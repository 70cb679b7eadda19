import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import type { WebhookEndpoint } from './model.ts'

/** An endpoint with its signing secret, sealed. */
export type StoredWebhookEndpoint = WebhookEndpoint & { readonly sealedSigningSecret: string }

interface EndpointRow {
  id: string
  clientId: string
  url: string
  status: string
}

const endpointFields = { id: true, clientId: true, url: true, status: true } as const
const toEndpoint = (row: EndpointRow): WebhookEndpoint => ({ ...row, status: row.status as WebhookEndpoint['status'] })

/** Webhook endpoints. */
export const webhookEndpointStore = (database: Database) => ({
  /** False if the client already has an endpoint with this URL. */
  async add(tx: Transaction, endpoint: StoredWebhookEndpoint): Promise<boolean> {
    return (await tablesIn(tx).webhookEndpoint.createMany({ data: [endpoint], skipDuplicates: true })).count === 1
  },

  /** The endpoints that match, oldest first. */
  async list(
    where: { clientId?: string | { in: string[] }; status?: WebhookEndpoint['status'] },
    tx?: Transaction,
  ): Promise<WebhookEndpoint[]> {
    const { webhookEndpoint } = tx ? tablesIn(tx) : database.tables
    const rows = await webhookEndpoint.findMany({ where, select: endpointFields, orderBy: { createdAt: 'asc' } })
    return rows.map(toEndpoint)
  },

  async find(id: string): Promise<StoredWebhookEndpoint | null> {
    const row = await database.tables.webhookEndpoint.findUnique({
      where: { id },
      select: { ...endpointFields, sealedSigningSecret: true },
    })
    return row && { ...toEndpoint(row), sealedSigningSecret: row.sealedSigningSecret }
  },

  async setStatus(tx: Transaction, id: string, status: WebhookEndpoint['status']): Promise<void> {
    await tablesIn(tx).webhookEndpoint.update({ where: { id }, data: { status } })
  },
})

/** The store of webhook endpoints. */
export type WebhookEndpointStore = ReturnType<typeof webhookEndpointStore>
