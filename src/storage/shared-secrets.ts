import type { Database } from './database.ts'
import type { Seal } from './seal.ts'

/**
 * The secret called `name` that every process of this installation shares: made once by `make`, sealed, and the same
 * for whoever asks first, second or at the same moment.
 */
export async function getOrCreateSharedSecret<T>(
  database: Database,
  seal: Seal,
  name: string,
  create: () => Promise<T>,
): Promise<T> {
  const context = `shared-secret:${name}` as const
  const existing = await database.tables.sharedSecret.findUnique({ where: { name } })
  if (existing) return (await seal.unseal(context, existing.sealed)) as T
  const sealed = await seal.seal(context, await create())
  await database.tables.sharedSecret.createMany({ data: [{ name, sealed }], skipDuplicates: true })
  const row = await database.tables.sharedSecret.findUniqueOrThrow({ where: { name } })
  return (await seal.unseal(context, row.sealed)) as T
}
