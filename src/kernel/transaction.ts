/**
 * One database transaction, as the modules see it: something to hand to every store that takes part, and nothing to
 * look into. Only `storage` knows what it really is.
 */
export interface Transaction {
  readonly transaction: unique symbol
}

/** Runs `work` in one transaction: all of its writes commit together or none does. */
export type RunInTransaction = <T>(work: (tx: Transaction) => Promise<T>) => Promise<T>
