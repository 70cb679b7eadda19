import type { Slice } from '../../kernel/pagination.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import { keysetQuery } from '../../storage/keyset.ts'
import { containsText, type Organization, type OrganizationFilter } from './model.ts'

const fields = { id: true, kind: true, name: true } as const
const toOrganization = (row: { id: string; kind: string; name: string }): Organization => ({
  ...row,
  kind: row.kind as Organization['kind'],
})

/** Organizations. */
export const organizationStore = (database: Database) => ({
  /** False if an organization of that name exists. */
  async add(tx: Transaction, organization: Organization): Promise<boolean> {
    const { count } = await tablesIn(tx).organization.createMany({ data: [organization], skipDuplicates: true })
    return count === 1
  },

  async find(id: string): Promise<Organization | null> {
    const row = await database.tables.organization.findUnique({ where: { id }, select: fields })
    return row && toOrganization(row)
  },

  async findMany(ids: readonly string[]): Promise<Organization[]> {
    const rows = await database.tables.organization.findMany({ where: { id: { in: [...ids] } }, select: fields })
    return rows.map(toOrganization)
  },

  async findByName(name: string, tx?: Transaction): Promise<Organization | null> {
    const { organization } = tx ? tablesIn(tx) : database.tables
    const row = await organization.findUnique({ where: { name }, select: fields })
    return row && toOrganization(row)
  },

  /** A slice of all organizations, by name. */
  async list({ kinds, search }: OrganizationFilter, slice: Slice<Organization>): Promise<Organization[]> {
    const { conditions, orderBy, take } = keysetQuery({ field: 'name', tieBreaker: 'id', direction: 'ASC' }, slice)
    const rows = await database.tables.organization.findMany({
      where: {
        AND: [kinds ? { kind: { in: [...kinds] } } : {}, search ? { name: containsText(search) } : {}, ...conditions],
      },
      orderBy,
      take,
      select: fields,
    })
    return rows.map(toOrganization)
  },

  /** The organization, locked until the transaction ends. */
  async lock(tx: Transaction, id: string): Promise<Organization | undefined> {
    const [row] = await tablesIn(tx).$queryRaw<
      Organization[]
    >`select id, kind, name from organization where id = ${id} for update`
    return row
  },

  /** Throws a unique violation if another organization has the name. */
  async rename(tx: Transaction, { id, name }: Pick<Organization, 'id' | 'name'>): Promise<void> {
    await tablesIn(tx).organization.update({ where: { id }, data: { name } })
  },
})
