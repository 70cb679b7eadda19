import type { Clock } from '../kernel/clock.ts'
import { GatewayError } from '../kernel/errors.ts'
import { digest } from '../kernel/ids.ts'
import type { Transaction } from '../kernel/transaction.ts'
import { deleteInBatches } from './batch-delete.ts'
import { tablesIn, type Database } from './database.ts'

/** One attempt of a caller to make something. */
export interface IdempotentRequest {
  readonly clientId: string
  readonly mutation: string
  /** The caller's own name for the attempt; without one, every request makes something. */
  readonly key: string | null | undefined
  readonly input: unknown
}

/** What keeps a repeated request from making a second thing. */
export interface Idempotency {
  /**
   * Runs `work`, which gives the id of what it made; or gives that of an earlier request with the same key, without
   * running anything. Of two at the same moment the second waits for the first. Throws `IDEMPOTENCY_KEY_REUSED` where
   * the input was another.
   */
  runOnce(tx: Transaction, request: IdempotentRequest, work: () => Promise<string>): Promise<string>
  /** Forgets what was made before; returns how many. */
  deleteOlderThan(before: Date): Promise<number>
}

/** Remembers by (client, mutation, key) what was made, in the transaction that makes it. */
export const createIdempotency = (database: Database, clock: Clock): Idempotency => ({
  async runOnce(tx, { clientId, mutation, key, input }, work) {
    if (!key) return work()
    const inputDigest = digest(JSON.stringify(input))
    const id = { clientId, mutation, key }
    // The row of one who is at it is locked until they are done.
    const { count } = await tablesIn(tx).idempotentResult.createMany({
      data: [{ ...id, inputDigest, resultId: '', createdAt: clock.now() }],
      skipDuplicates: true,
    })
    const where = { clientId_mutation_key: id }
    if (count === 0) {
      const earlier = await tablesIn(tx).idempotentResult.findUniqueOrThrow({ where })
      if (earlier.inputDigest !== inputDigest)
        throw new GatewayError('IDEMPOTENCY_KEY_REUSED', { path: ['idempotencyKey'] })
      return earlier.resultId
    }
    const resultId = await work()
    await tablesIn(tx).idempotentResult.update({ where, data: { resultId } })
    return resultId
  },

  async deleteOlderThan(before) {
    const where = 'created_at < $1'
    return deleteInBatches(database, { table: 'idempotent_result', where, orderBy: 'created_at', values: [before] })
  },
})
