import type { Database } from '../../storage/database.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Snapshot } from './model.ts'

type Kept = Pick<Snapshot, 'balances' | 'bands'>

/** The newest balances of each account, sealed; writing one overwrites the one before. */
export const snapshotStore = (database: Database, seal: Seal) => ({
  async find(accountId: string): Promise<Snapshot | undefined> {
    const row = await database.tables.snapshot.findUnique({ where: { accountId } })
    if (!row) return undefined
    const kept = (await seal.open(`snapshot:${accountId}`, row.sealed)) as Kept
    return { ...kept, fetchedAt: row.fetchedAt }
  },

  async keep(accountId: string, { balances, bands, fetchedAt }: Snapshot): Promise<void> {
    const kept: Kept = { balances, bands }
    const sealed = await seal.seal(`snapshot:${accountId}`, kept)
    await database.tables.snapshot.upsert({
      where: { accountId },
      create: { accountId, sealed, fetchedAt },
      update: { sealed, fetchedAt },
    })
  },
})
