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
  /** Customers whom the bank knows as another person. */
  readonly otherAtBank: readonly string[]
  /** Customers who have shared every one of these accounts. The other holder of a joint account may be among them. */
  readonly accountHolders: readonly string[]
}

/** To whom the accounts belong, and whether that customer's own pages may be opened in this browser. */
export interface ProvenCustomer {
  /** `undefined`: somebody new. */
  readonly customerId: string | undefined
  readonly opensSession: boolean
  /**
   * Whether the bank's name for this person stands for the customer from now on: only where the bank proved it or the customer
   * is new, so that a join by anything else teaches the gateway nothing.
   */
  readonly identifies: boolean
  /** Whether only the session of the browser proves the customer, so that nothing does once that has ended. */
  readonly bySession?: true
}

/**
 * Decides to whom the accounts of a bank sign-in belong (decision 11). A session cookie alone joins nothing, because it can
 * have been planted; an `id_token_hint` alone joins nothing, because whoever holds an old ID token can send it; an account alone
 * joins nothing, because two people can hold it, and beside a cookie or a hint it joins only what was shared already. Nothing
 * joins against the word of the bank. Returns `UNEXPECTED` where the platform expects somebody whom nothing proves.
 */
export function provenCustomer(evidence: SignInEvidence): ProvenCustomer | 'UNEXPECTED' {
  const { session, expected, saysSame, sameAtBank, otherAtBank, accountHolders } = evidence
  /** Whether the bank says that this person is somebody else than the customer. */
  const isDenied = (customerId: string): boolean => sameAtBank.length > 0 || otherAtBank.includes(customerId)
  if (expected !== undefined) {
    if (sameAtBank.includes(expected)) return { customerId: expected, opensSession: true, identifies: true }
    if (isDenied(expected)) return 'UNEXPECTED'
    if (session === expected) return { customerId: expected, opensSession: true, identifies: false, bySession: true }
    // The other holder of a joint account gets this far, too, and must not see what else the expected customer shares.
    if (accountHolders.includes(expected)) return { customerId: expected, opensSession: false, identifies: false }
    return 'UNEXPECTED'
  }
  if (session !== undefined) {
    if (sameAtBank.includes(session)) return { customerId: session, opensSession: true, identifies: true }
    if (saysSame && accountHolders.includes(session) && !isDenied(session))
      return { customerId: session, opensSession: true, identifies: false, bySession: true }
  }
  return { customerId: sameAtBank[0], opensSession: true, identifies: true }
}
