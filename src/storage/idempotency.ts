import type { Clock } from '../kernel/clock.ts'
import { GatewayError } from '../kernel/errors.ts'
import { digest } from '../kernel/ids.ts'
import type { Transaction } from '../kernel/transaction.ts'
import { deleteInBatches } from './batch-delete.ts'
import { tablesIn, type Database } from './database.ts'

/** A mutation request that may carry an idempotency key. */
export interface IdempotentRequest {
  readonly clientId: string
  readonly mutation: string
  /** The caller's idempotency key. Without one, every request is executed. */
  readonly key: string | null | undefined
  readonly input: unknown
}

/** Executes requests with the same idempotency key only once. */
export interface Idempotency {
  /**
   * Runs `work`, which returns the id of the object that it created, or another text that its result can be read from. If an
   * earlier request had the same key, returns its text without running `work`. A concurrent second request waits for the
   * first. Throws `IDEMPOTENCY_KEY_REUSED` if the input differs.
   */
  runOnce(tx: Transaction, request: IdempotentRequest, work: () => Promise<string>): Promise<string>
  /** Deletes the results of requests before this time. Returns their number. */
  deleteOlderThan(before: Date): Promise<number>
}

/** Stores results by (client, mutation, key), in the transaction of the request. */
export const createIdempotency = (database: Database, clock: Clock): Idempotency => ({
  async runOnce(tx, { clientId, mutation, key, input }, work) {
    if (!key) return work()
    const inputDigest = digest(JSON.stringify(input))
    const id = { clientId, mutation, idempotencyKey: key }
    // Waits here while a concurrent request with the same key holds its row.
    const { count } = await tablesIn(tx).idempotencyRecord.createMany({
      data: [{ ...id, inputDigest, resultId: '', createdAt: clock.now() }],
      skipDuplicates: true,
    })
    const where = { clientId_mutation_idempotencyKey: id }
    if (count === 0) {
      const earlier = await tablesIn(tx).idempotencyRecord.findUniqueOrThrow({ where })
      if (earlier.inputDigest !== inputDigest)
        throw new GatewayError('IDEMPOTENCY_KEY_REUSED', { path: ['idempotencyKey'] })
      return earlier.resultId
    }
    const resultId = await work()
    await tablesIn(tx).idempotencyRecord.update({ where, data: { resultId } })
    return resultId
  },

  async deleteOlderThan(before) {
    const where = 'created_at < $1'
    return deleteInBatches(database, { table: 'idempotency_record', where, orderBy: 'created_at', values: [before] })
  },
})
