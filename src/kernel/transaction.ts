/**
 * A database transaction as an opaque handle, to pass to every store that takes part. Only `storage` knows its
 * implementation.
 */
export interface Transaction {
  readonly transaction: unique symbol
}

/** Runs `work` in one transaction: all of its writes commit, or none does. */
export type RunInTransaction = <T>(work: (tx: Transaction) => Promise<T>) => Promise<T>
