import type { Database } from './database.ts'
import type { Seal } from './seal.ts'

/**
 * Returns the secret `name` that all processes of this installation share. If it does not exist, `create` makes it and it is
 * stored sealed; concurrent callers all receive the same one.
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
