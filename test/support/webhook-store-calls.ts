import type { Transaction } from '../../src/kernel/transaction.ts'
import { endpointHealthStore, webhookEndpointStore } from '../../src/modules/deliveries/webhook-endpoint-store.ts'
import { webhookSecretStore } from '../../src/modules/deliveries/webhook-secret-store.ts'
import type { Database } from '../../src/storage/database.ts'

/** Calls every function of the stores of webhook endpoints and their secrets. `undone` rolls back what it runs. */
export async function runWebhookStores(
  database: Database,
  undone: (work: (tx: Transaction) => Promise<unknown>) => Promise<void>,
  { clientId, endpointId }: { readonly clientId: string; readonly endpointId: string },
): Promise<void> {
  const now = new Date()
  const endpoints = webhookEndpointStore(database)
  await undone(async (tx) => {
    await endpoints.lockList(tx, clientId)
    const [endpoint] = await endpoints.lock(tx, clientId)
    await endpoints.update(tx, endpoint!)
  })
  const secrets = webhookSecretStore(database)
  await secrets.find('whsc_none')
  await secrets.deleteEnded(new Date(0))
  await undone(async (tx) => {
    await secrets.listOverlaps(tx, endpointId, now)
    await secrets.endAt(tx, endpointId, now)
    await endpoints.setKeys(tx, endpointId, { publicKey: null, secretOverlapEndsAt: null })
  })
  const unknown = { webhookEndpointId: 'whep_none', url: '', acceptedAt: null, failedAt: now, failedCount: 1 }
  await endpointHealthStore.recordOutcomes(database.delivery, [unknown])
  const failing = { before: now, minAttempts: 1 }
  await endpointHealthStore.disable(database.delivery, ['whep_none'], { status410: [], failing, now })
}
