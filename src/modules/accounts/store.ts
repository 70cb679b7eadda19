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
    // An answer that comes back from the bank after the customer stopped sharing is not kept.
    await database.tables.$executeRaw`
      insert into snapshot (account_id, sealed, fetched_at)
      select ${accountId}, ${sealed}, ${fetchedAt}
      where exists (
        select 1 from consent_account shared join consent on consent.id = shared.consent_id
        where shared.account_id = ${accountId} and consent.state = 'ACTIVE')
      on conflict (account_id) do update set sealed = excluded.sealed, fetched_at = excluded.fetched_at`
  },
})
