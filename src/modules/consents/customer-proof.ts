/** What is known about the person who has just signed in at a bank. Each id is a customer's. */
export interface SignInEvidence {
  /** The customer whom this browser's own session proves, by an earlier sign-in at a bank. */
  readonly session: string | undefined
  /** Whom the platform expects (`id_token_hint`), where it says so. */
  readonly expected: string | undefined
  /** Whether the person says that it was them who shared in this browser before. */
  readonly saysSame: boolean
  /** Customers whom the bank knows as the same person, the newest first. */
  readonly sameAtBank: readonly string[]
  /** Customers who have shared every one of these accounts. The other holder of a joint account may be among them. */
  readonly accountHolders: readonly string[]
}

/** To whom the accounts belong, and whether that customer's own pages may be opened in this browser. */
export interface ProvenCustomer {
  /** `undefined`: somebody new. */
  readonly customerId: string | undefined
  readonly opensSession: boolean
}

/**
 * Decides to whom the accounts of a bank sign-in belong (decision 11). A session cookie alone joins nothing, because it can
 * have been planted; an `id_token_hint` alone joins nothing, because whoever holds an old ID token can send it; an account alone
 * joins nothing, because two people can hold it, and beside a cookie or a hint it joins only what was shared already. Returns
 * `UNEXPECTED` where the platform expects somebody whom nothing proves.
 */
export function provenCustomer(evidence: SignInEvidence): ProvenCustomer | 'UNEXPECTED' {
  const { session, expected, saysSame, sameAtBank, accountHolders } = evidence
  if (expected !== undefined) {
    if (sameAtBank.includes(expected) || session === expected) return { customerId: expected, opensSession: true }
    // The other holder of a joint account gets this far, too, and must not see what else the expected customer shares.
    if (accountHolders.includes(expected)) return { customerId: expected, opensSession: false }
    return 'UNEXPECTED'
  }
  if (session !== undefined && (sameAtBank.includes(session) || (saysSame && accountHolders.includes(session))))
    return { customerId: session, opensSession: true }
  return { customerId: sameAtBank[0], opensSession: true }
}
