import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import type { BankAndClient, PlatformAccess } from './model.ts'

/** The SQL condition that a row `bank` serves the organization of a row `client`. */
export const SERVES_CLIENT_SQL = `(bank.platform_access_mode = 'ALL'
  or (client.organization_id = any(bank.platform_organization_ids)) = (bank.platform_access_mode = 'ONLY'))`

const toPlatformAccess = (row: { mode: string; organizationIds: string[] }): PlatformAccess => ({
  mode: row.mode as PlatformAccess['mode'],
  organizationIds: row.organizationIds,
})

/** Which platforms banks serve. */
export const platformAccessStore = (database: Database) => ({
  /** Which platforms the bank serves. */
  async platformAccess(bankId: string): Promise<PlatformAccess> {
    const row = await database.tables.bank.findUniqueOrThrow({
      where: { id: bankId },
      select: { platformAccessMode: true, platformOrganizationIds: true },
    })
    return toPlatformAccess({ mode: row.platformAccessMode, organizationIds: row.platformOrganizationIds })
  },

  /** Which platforms the bank serves. It stays so until `tx` ends; EXCLUSIVE is for the transaction that changes it. */
  async lockPlatformAccess(tx: Transaction, bankId: string, lock: 'SHARED' | 'EXCLUSIVE'): Promise<PlatformAccess> {
    const select = `select platform_access_mode as mode, platform_organization_ids as "organizationIds" from bank where id = $1`
    // Rows that refer to a bank can be added during either lock.
    const clause = lock === 'SHARED' ? 'for share' : 'for no key update'
    const [row] = await tablesIn(tx).$queryRawUnsafe<{ mode: string; organizationIds: string[] }[]>(
      `${select} ${clause}`,
      bankId,
    )
    return toPlatformAccess(row!)
  },

  async setPlatformAccess(tx: Transaction, bankId: string, { mode, organizationIds }: PlatformAccess): Promise<void> {
    const data = { platformAccessMode: mode, platformOrganizationIds: [...organizationIds] }
    await tablesIn(tx).bank.update({ where: { id: bankId }, data })
  },

  /** The IDs of the banks that do not serve an organization. */
  async bankIdsNotServing(organizationId: string): Promise<string[]> {
    const rows = await database.tables.bank.findMany({
      where: {
        OR: [
          { platformAccessMode: 'ONLY', NOT: { platformOrganizationIds: { has: organizationId } } },
          { platformAccessMode: 'ALL_EXCEPT', platformOrganizationIds: { has: organizationId } },
        ],
      },
      select: { id: true },
    })
    return rows.map(({ id }) => id)
  },

  /** Those of the pairs of a bank and a client whose organization the bank does not serve. */
  async findNotServed(pairs: readonly BankAndClient[], tx?: Transaction): Promise<BankAndClient[]> {
    return (tx ? tablesIn(tx) : database.tables).$queryRawUnsafe(
      `select bank.id as "bankId", client.id as "clientId" from unnest($1::text[], $2::text[]) as pair (bank_id, client_id)
       join bank on bank.id = pair.bank_id join client on client.id = pair.client_id where not ${SERVES_CLIENT_SQL}`,
      pairs.map(({ bankId }) => bankId),
      pairs.map(({ clientId }) => clientId),
    )
  },
})
/** The store of platform access. */
export type PlatformAccessStore = ReturnType<typeof platformAccessStore>
